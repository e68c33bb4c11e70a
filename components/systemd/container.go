package systemd

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/llmhost/llmhost/internal/unitfile"
)

// KindContainer is a Podman quadlet: a container of which Podman's generator makes a service
// (podman-systemd.unit(5)). It has the sections of a service beside its own.
const KindContainer Kind = "container"

// ContainerSection is the [Container] section.
type ContainerSection struct {
	Image         Keyword
	ContainerName Keyword
	Entrypoint    Keyword
	Exec          Arguments
	Environment   Environment
	Pull          Keyword

	// Identity.
	User     Keyword
	Group    Keyword
	GroupAdd Keyword
	UserNS   Keyword

	// Privileges.
	ReadOnly        Bool
	ReadOnlyTmpfs   Bool
	NoNewPrivileges Bool
	DropCapability  Words
	SeccompProfile  Path
	AddDevice       Settings

	// File system.
	Volume   Settings
	Tmpfs    Settings
	Timezone Settings
	ShmSize  Settings

	// Network.
	Network     Settings
	PublishPort Settings

	// Resources.
	PidsLimit  *Count
	Ulimit     Settings
	PodmanArgs Arguments

	// Life.
	HealthCmd         Arguments
	HealthInterval    Settings
	HealthTimeout     Settings
	HealthRetries     *Count
	HealthStartPeriod Settings
	Notify            Keyword
	StopTimeout       *Count
	LogDriver         Keyword
}

// Arguments are a program's arguments, given to it as they are: nothing in them is expanded.
type Arguments []string

func (a Arguments) assignments() ([]string, error) {
	if len(a) == 0 {
		return nil, nil
	}
	var words []string
	for _, arg := range a {
		if err := onLine(arg); err != nil {
			return nil, err
		}
		words = append(words, quote(escapeVariables(escapeSpecifiers(arg))))
	}
	return []string{strings.Join(words, " ")}, nil
}

func (a *Arguments) read(values []string) error {
	*a = nil
	for _, v := range sinceReset(values) {
		split, err := unitfile.Command(v)
		if err != nil {
			return err
		}
		for _, w := range split {
			text, err := plain(w.Text)
			if err == nil {
				text, err = unescape(text, '$', "the variable %s is systemd's to expand, and a field holds what is meant")
			}
			if err != nil {
				return err
			}
			*a = append(*a, text)
		}
	}
	return written(*a)
}

// Settings are values of a directive that may be repeated, one on each line. Podman's generator
// takes a line as it is, and how it is quoted for systemd then isn't promised, so that a value has
// no character that would need it.
type Settings []string

var setting = regexp.MustCompile(`^[A-Za-z0-9/_.:,=@+-]+$`)

func (s Settings) assignments() ([]string, error) {
	for _, v := range s {
		if !setting.MatchString(v) {
			return nil, fmt.Errorf("%q holds characters that can't be written in a quadlet: use letters, digits and any of / _ . : , = @ + -", v)
		}
	}
	return s, nil
}

func (s *Settings) read(values []string) error {
	values = sinceReset(values)
	if len(values) == 0 {
		return errors.New("it has no value")
	}
	*s = append(Settings{}, values...)
	return written(*s)
}
