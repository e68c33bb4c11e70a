package systemd

import (
	"path"
	"regexp"
	"slices"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

var unitName = regexp.MustCompile(`^[A-Za-z0-9:_.\\@-]{1,255}$`)

// suffixes are the types of units that llmhost may install. A mount or a swap is not among
// them.
var suffixes = []string{".service", ".socket", ".timer", ".path", ".slice", ".target"}

// ValidName refuses what is not the name of a unit, or is a template, which can't run.
func ValidName(name string) error {
	stem := name[:len(name)-len(path.Ext(name))]
	if !unitName.MatchString(name) || !slices.Contains(suffixes, path.Ext(name)) || stem == "" || stem[0] == '.' || stem[len(stem)-1] == '@' {
		return fault.New(agentpb.Reason_INVALID, "%q is no name of a unit that can be installed", name)
	}
	return nil
}

// ValidDropIn refuses paths where a drop-in of the unit can't be declared.
func ValidDropIn(name, file string) error {
	for _, folder := range []string{adminFolder, runtimeFolder} {
		if path.Dir(file) == folder+"/"+name+".d" && path.Ext(file) == ".conf" && path.Clean(file) == file && path.Base(file)[0] != '.' {
			return nil
		}
	}
	return fault.New(agentpb.Reason_INVALID, "%q is no place for a drop-in of %s; it must be a .conf file in %s/%s.d", file, name, adminFolder, name).
		With("path", file)
}
