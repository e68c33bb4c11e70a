package systemd

import (
	"cmp"
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
	Image         Setting
	ContainerName Keyword
	Entrypoint    Path
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
	Timezone Setting
	ShmSize  Setting

	// Network.
	Network     Setting
	PublishPort Settings

	// Resources.
	PidsLimit  *Count
	Ulimit     Settings
	PodmanArgs Arguments

	// Life.
	HealthCmd         Text // as a JSON array; else a shell runs it, which an image need not have
	HealthInterval    Setting
	HealthTimeout     Setting
	HealthRetries     *Count
	HealthStartPeriod Setting
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

// Setting is a value that Podman's generator takes as it is. How it is quoted for systemd then isn't
// promised, so that it has no character that would need it.
type Setting string

var setting = regexp.MustCompile(`^[A-Za-z0-9/_.:,=@+-]+$`)

func (s Setting) assignments() ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if !setting.MatchString(string(s)) {
		return nil, fmt.Errorf("%q holds characters that can't be written in a quadlet: use letters, digits and any of / _ . : , = @ + -", string(s))
	}
	return []string{string(s)}, nil
}

func (s *Setting) read(values []string) error {
	v, err := one(values)
	*s = Setting(v)
	return cmp.Or(err, written(*s))
}

// Settings are values of a directive that may be repeated, one on each line.
type Settings []Setting

func (s Settings) assignments() ([]string, error) {
	var lines []string
	for _, v := range s {
		line, err := v.assignments()
		if err != nil {
			return nil, err
		}
		lines = append(lines, line...)
	}
	return lines, nil
}

func (s *Settings) read(values []string) error {
	values = sinceReset(values)
	if len(values) == 0 {
		return errors.New("it has no value")
	}
	*s = nil
	for _, v := range values {
		*s = append(*s, Setting(v))
	}
	return written(*s)
}
