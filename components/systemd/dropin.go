package systemd

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// DropIn is a file that changes a unit which somebody else wrote, such as the distribution. It is
// read after the unit and after the drop-ins whose names come before its own.
type DropIn struct {
	Unit    string // the unit's name with its suffix
	Name    string // the file's name without its suffix, such as "50-llmhost"
	Content Unit   // of the unit's kind: only what is changed
}

var dropInName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

// Path is where the file is on the host.
func (d DropIn) Path() string {
	return path.Join("/etc/systemd/system", d.Unit+".d", d.Name+".conf")
}

// Text renders the file. A scalar takes the place of the unit's own; a list is added to it, and one
// that is empty but not nil takes it back.
func (d DropIn) Text() (string, error) {
	kind := Kind(strings.TrimPrefix(path.Ext(d.Unit), "."))
	if strings.ContainsAny(d.Unit, "/ ") || !dropInName.MatchString(d.Name) {
		return "", fmt.Errorf("there can't be a drop-in %q of a unit %q", d.Name, d.Unit)
	}
	if !slices.Contains(kinds, kind) {
		return "", fmt.Errorf("%q isn't the name of a unit that can be changed: it is no kind of unit that is written here", d.Unit)
	}
	if d.Content.Kind != "" && d.Content.Kind != kind {
		return "", fmt.Errorf("the drop-in %q of %s has the content of a %s", d.Name, d.Unit, d.Content.Kind)
	}
	d.Content.Kind = kind
	text, err := d.Content.Text()
	if err == nil && text == "" {
		err = fmt.Errorf("the drop-in %q of %s changes nothing", d.Name, d.Unit)
	}
	return text, err
}

// ParseDropIn reads the text of a drop-in at a path, as Parse reads a unit.
func ParseDropIn(file, text string) (DropIn, error) {
	folder, name := path.Split(file)
	unit, inFolder := strings.CutSuffix(path.Base(folder), ".d")
	name, isConf := strings.CutSuffix(name, ".conf")
	if !inFolder || !isConf || !path.IsAbs(file) {
		return DropIn{}, fmt.Errorf("%q is no path of a drop-in, which is a .conf file in a folder UNIT.d", file)
	}
	content, err := Parse(unit, text)
	return DropIn{Unit: unit, Name: name, Content: content}, err
}
