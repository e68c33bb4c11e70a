package systemd

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is what a directive can hold.
type value interface {
	// assignments returns the right-hand sides, one for each line of the directive. None
	// means that the directive isn't there and systemd's default holds.
	assignments() ([]string, error)
}

// Text is free text for people.
type Text string

func (t Text) assignments() ([]string, error) {
	if t == "" {
		return nil, nil
	}
	if s := string(t); strings.TrimSpace(s) != s {
		return nil, errors.New("systemd would strip the space at its begin or end")
	}
	if strings.HasSuffix(string(t), `\`) {
		return nil, errors.New("a backslash at the end would join it with the next line")
	}
	if err := onLine(string(t)); err != nil {
		return nil, err
	}
	return []string{escapeSpecifiers(string(t))}, nil
}

// Texts is free text for people, one on each line.
type Texts []Text

func (t Texts) assignments() ([]string, error) {
	var lines []string
	for _, line := range t {
		a, err := line.assignments()
		if err != nil {
			return nil, err
		}
		lines = append(lines, a...)
	}
	return lines, nil
}

// Keyword is one of the words that a directive knows, or a name.
type Keyword string

var keyword = regexp.MustCompile(`^[A-Za-z0-9@_.:-]+$`)

func (k Keyword) assignments() ([]string, error) {
	if k == "" {
		return nil, nil
	}
	if !keyword.MatchString(string(k)) {
		return nil, fmt.Errorf("%q isn't a single plain word", string(k))
	}
	return []string{string(k)}, nil
}

// Bool is a boolean that may be left to systemd's default.
type Bool uint8

// The values of Bool.
const (
	Unset Bool = iota
	Yes
	No
)

func (b Bool) assignments() ([]string, error) {
	switch b {
	case Unset:
		return nil, nil
	case Yes:
		return []string{"yes"}, nil
	case No:
		return []string{"no"}, nil
	}
	return nil, fmt.Errorf("%d isn't one of Unset, Yes, No", b)
}

// Duration is a time span. Zero leaves it to systemd's default.
type Duration time.Duration

func (d Duration) assignments() ([]string, error) {
	span := time.Duration(d)
	switch {
	case span == 0:
		return nil, nil
	case span < 0:
		return nil, fmt.Errorf("the time span %s is negative", span)
	case span%time.Millisecond != 0:
		return nil, fmt.Errorf("the time span %s is finer than a millisecond", span)
	case span%time.Second == 0:
		return []string{strconv.FormatInt(int64(span/time.Second), 10) + "s"}, nil
	}
	return []string{strconv.FormatInt(int64(span/time.Millisecond), 10) + "ms"}, nil
}

// Bytes is a size in bytes.
type Bytes uint64

// assignments writes the largest unit that states the size exactly. systemd's K, M, G and T
// are powers of 1024.
func (b Bytes) assignments() ([]string, error) {
	n, unit := uint64(b), ""
	for _, u := range []string{"K", "M", "G", "T"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return []string{strconv.FormatUint(n, 10) + unit}, nil
}

// Count is a number of things.
type Count uint64

func (c Count) assignments() ([]string, error) {
	return []string{strconv.FormatUint(uint64(c), 10)}, nil
}

// Mode is a set of permission bits or a mask of them. An empty one leaves it to systemd.
type Mode string

var mode = regexp.MustCompile(`^[0-7]{4}$`)

func (m Mode) assignments() ([]string, error) {
	if m == "" {
		return nil, nil
	}
	if !mode.MatchString(string(m)) {
		return nil, fmt.Errorf("%q isn't four octal digits", string(m))
	}
	return []string{string(m)}, nil
}

// Words is a list on one line. A list that is empty but not nil is written as an empty
// assignment: for a capability set, that means none at all.
type Words []string

func (w Words) assignments() ([]string, error) {
	if w == nil {
		return nil, nil
	}
	escaped := make([]string, len(w))
	for i, word := range w {
		if err := onLine(word); err != nil {
			return nil, err
		}
		if word == "" || strings.ContainsAny(word, " \t\"'\\") {
			return nil, fmt.Errorf("%q isn't a single plain word", word)
		}
		escaped[i] = escapeSpecifiers(word)
	}
	return []string{strings.Join(escaped, " ")}, nil
}

// Lines is a list whose elements are whole assignments, in order: for SystemCallFilter an
// allow list, and what is then taken out of it.
type Lines []Words

func (l Lines) assignments() ([]string, error) {
	var all []string
	for _, line := range l {
		a, err := line.assignments()
		if err != nil {
			return nil, err
		}
		all = append(all, a...)
	}
	return all, nil
}

// Path is an absolute path.
type Path string

func (p Path) assignments() ([]string, error) {
	if p == "" {
		return nil, nil
	}
	if err := absolute(string(p)); err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(p)) != string(p) {
		return nil, fmt.Errorf("systemd would strip the space at the end of %q", string(p))
	}
	// It is read to the end of the line, so that it needs no quotes.
	return []string{escapeSpecifiers(string(p))}, nil
}

// Environment holds variables, rendered by name.
type Environment map[string]string

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func (e Environment) assignments() ([]string, error) {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if !variable.MatchString(name) {
			return nil, fmt.Errorf("%q isn't the name of a variable", name)
		}
		if err := onLine(e[name]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		lines = append(lines, quote(escapeSpecifiers(name+"="+e[name])))
	}
	return lines, nil
}

// Command is a program and its arguments, given to it as they are: nothing in them is
// expanded.
type Command []string

func (c Command) assignments() ([]string, error) {
	if len(c) == 0 {
		return nil, nil
	}
	// The program's own name has rules of its own: prefixes such as "-" and "+" change how
	// it is run, and a dollar can't be escaped there.
	if err := absolute(c[0]); err != nil {
		return nil, fmt.Errorf("the program: %w", err)
	}
	if strings.ContainsAny(c[0], "$ ") {
		return nil, fmt.Errorf("the program's path %q holds a space or a dollar", c[0])
	}
	words := []string{escapeSpecifiers(c[0])}
	for _, arg := range c[1:] {
		if err := onLine(arg); err != nil {
			return nil, err
		}
		words = append(words, quote(escapeVariables(escapeSpecifiers(arg))))
	}
	return []string{strings.Join(words, " ")}, nil
}

// Commands are run one after the other, one on each line.
type Commands []Command

func (c Commands) assignments() ([]string, error) {
	var lines []string
	for _, command := range c {
		line, err := command.assignments()
		if err != nil {
			return nil, err
		}
		lines = append(lines, line...)
	}
	return lines, nil
}

// Bind makes a path of the host visible in the unit's file system.
type Bind struct {
	Source string // on the host
	Target string // in the unit; empty means the same path
	// Optional lets the unit start without it when the host doesn't have the source.
	Optional bool
}

// Binds is a list of Bind, one on each line.
type Binds []Bind

func (b Binds) assignments() ([]string, error) {
	var lines []string
	for _, bind := range b {
		text := bind.Source
		if bind.Target != "" {
			text += ":" + bind.Target
		}
		for _, p := range []string{bind.Source, cmp.Or(bind.Target, bind.Source)} {
			if err := absolute(p); err != nil {
				return nil, err
			}
			if strings.Contains(p, ":") {
				return nil, fmt.Errorf("the path %q holds a colon, which separates source and target", p)
			}
		}
		if bind.Optional {
			text = "-" + text
		}
		lines = append(lines, quote(escapeSpecifiers(text)))
	}
	return lines, nil
}

// TemporaryFileSystem is an empty file system in memory.
type TemporaryFileSystem struct {
	Path    string
	Options []string // of mount(8), such as "ro" or "size=64M"
}

// TemporaryFileSystems is a list of TemporaryFileSystem, one on each line.
type TemporaryFileSystems []TemporaryFileSystem

func (t TemporaryFileSystems) assignments() ([]string, error) {
	var lines []string
	for _, fs := range t {
		if err := absolute(fs.Path); err != nil {
			return nil, err
		}
		if strings.Contains(fs.Path, ":") {
			return nil, fmt.Errorf("the path %q holds a colon, which separates path and options", fs.Path)
		}
		text := fs.Path
		if len(fs.Options) > 0 {
			text += ":" + strings.Join(fs.Options, ",")
		}
		if err := onLine(text); err != nil {
			return nil, err
		}
		if strings.ContainsAny(text, "\"'\\") {
			return nil, fmt.Errorf("the mount options of %s hold a quote or a backslash", fs.Path)
		}
		lines = append(lines, quote(escapeSpecifiers(text)))
	}
	return lines, nil
}

// DeviceAllowed opens a device node or a class of devices to a unit.
type DeviceAllowed struct {
	Device string // "/dev/…", or a class of /proc/devices as "char-NAME" or "block-NAME"
	Access string // of "r" read, "w" write, "m" mknod
}

// DevicesAllowed is a list of DeviceAllowed, one on each line.
type DevicesAllowed []DeviceAllowed

var (
	device = regexp.MustCompile(`^(/dev/|char-|block-)[A-Za-z0-9/_.:-]+$`)
	access = regexp.MustCompile(`^r?w?m?$`)
)

func (d DevicesAllowed) assignments() ([]string, error) {
	var lines []string
	for _, allowed := range d {
		if !device.MatchString(allowed.Device) {
			return nil, fmt.Errorf("%q is neither a path below /dev nor a class such as char-nvidia", allowed.Device)
		}
		if allowed.Access == "" || !access.MatchString(allowed.Access) {
			return nil, fmt.Errorf("the access %q to %s isn't made of r, w and m in this order", allowed.Access, allowed.Device)
		}
		lines = append(lines, allowed.Device+" "+allowed.Access)
	}
	return lines, nil
}

// absolute refuses paths that systemd would not take as they are.
func absolute(p string) error {
	if err := onLine(p); err != nil {
		return err
	}
	if !path.IsAbs(p) || path.Clean(p) != p {
		return fmt.Errorf("%q isn't a clean absolute path", p)
	}
	// Directives disagree on whether a backslash escapes, so no path needs one.
	if strings.ContainsAny(p, "\t\"'\\") {
		return fmt.Errorf("the path %q holds a tab, a quote or a backslash", p)
	}
	return nil
}

// Integer is a number that may be negative.
type Integer int64

func (i Integer) assignments() ([]string, error) {
	return []string{strconv.FormatInt(int64(i), 10)}, nil
}

// Percent is a share of one processor: 200 is all the time of two. Zero leaves it to systemd's
// default.
type Percent uint64

func (p Percent) assignments() ([]string, error) {
	if p == 0 {
		return nil, nil
	}
	return []string{strconv.FormatUint(uint64(p), 10) + "%"}, nil
}

// Paths is a list of absolute paths, one on each line.
type Paths []Path

func (p Paths) assignments() ([]string, error) {
	var lines []string
	for _, one := range p {
		if one == "" {
			return nil, errors.New("a path is empty")
		}
		line, err := one.assignments()
		if err != nil {
			return nil, err
		}
		lines = append(lines, line...)
	}
	return lines, nil
}

// Condition is what must be true of a path.
type Condition struct {
	Path string
	Not  bool // it must not be true
}

// Conditions is a list of Condition, one on each line. All of them have to be met.
type Conditions []Condition

func (c Conditions) assignments() ([]string, error) {
	var lines []string
	for _, condition := range c {
		if err := absolute(condition.Path); err != nil {
			return nil, err
		}
		if strings.TrimSpace(condition.Path) != condition.Path {
			return nil, fmt.Errorf("systemd would strip the space at the end of %q", condition.Path)
		}
		text := escapeSpecifiers(condition.Path)
		if condition.Not {
			text = "!" + text
		}
		lines = append(lines, text)
	}
	return lines, nil
}

// Credential is a secret that a service gets as a file, by its name.
type Credential struct {
	Name string
	Path string // of the file on the host; empty: it is searched for by its name, in credstore folders
}

// Credentials is a list of Credential, one on each line.
type Credentials []Credential

var credential = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

func credentialName(name string) error {
	if !credential.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("%q isn't the name of a credential: letters, digits and any of _ . -", name)
	}
	return nil
}

func (c Credentials) assignments() ([]string, error) {
	var lines []string
	for _, one := range c {
		if err := credentialName(one.Name); err != nil {
			return nil, err
		}
		text := one.Name
		if one.Path != "" {
			if err := absolute(one.Path); err != nil {
				return nil, err
			}
			if strings.Contains(one.Path, " ") {
				return nil, fmt.Errorf("the path %q of a credential holds a space", one.Path)
			}
			text += ":" + one.Path
		}
		lines = append(lines, escapeSpecifiers(text))
	}
	return lines, nil
}

// SealedCredential is a secret that only the host can open, as systemd-creds(1) writes it.
type SealedCredential struct {
	Name   string
	Base64 string
}

// SealedCredentials is a list of SealedCredential, one on each line.
type SealedCredentials []SealedCredential

var base64Text = regexp.MustCompile(`^[A-Za-z0-9+/]+=*$`)

func (s SealedCredentials) assignments() ([]string, error) {
	var lines []string
	for _, one := range s {
		if err := credentialName(one.Name); err != nil {
			return nil, err
		}
		if !base64Text.MatchString(one.Base64) {
			return nil, fmt.Errorf("the credential %s isn't one line of base64", one.Name)
		}
		lines = append(lines, one.Name+":"+one.Base64)
	}
	return lines, nil
}

// Listeners are addresses that a socket listens on, one on each line: an absolute path, or an IP
// address with a port. A port alone would be open to every network.
type Listeners []string

func (l Listeners) assignments() ([]string, error) {
	var lines []string
	for _, address := range l {
		if path.IsAbs(address) {
			if err := absolute(address); err != nil {
				return nil, err
			}
			if strings.Contains(address, " ") {
				return nil, fmt.Errorf("the socket's path %q holds a space", address)
			}
			lines = append(lines, escapeSpecifiers(address))
			continue
		}
		if to, err := netip.ParseAddrPort(address); err != nil || to.Port() == 0 || to.Addr().Zone() != "" {
			return nil, fmt.Errorf("%q is neither an absolute path nor an IP address with a port", address)
		}
		lines = append(lines, address)
	}
	return lines, nil
}

// Profile is the name of a loaded AppArmor profile.
type Profile string

var profile = regexp.MustCompile(`^[A-Za-z0-9_./@-]+$`)

func (p Profile) assignments() ([]string, error) {
	if p == "" {
		return nil, nil
	}
	// A "-" in front would start the service without its profile when that isn't loaded.
	if !profile.MatchString(string(p)) || p[0] == '-' {
		return nil, fmt.Errorf("%q isn't the name of an AppArmor profile", string(p))
	}
	return []string{string(p)}, nil
}
