package hostfile

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
)

// Facts are the properties that only the machine itself knows and that rendering needs. They're probed once, kept beside the
// host file (hosts/NAME.facts.json) and committed, so that rendering needs no connection; a later probe that finds something
// else is drift. Two probes of an unchanged machine give the same bytes, so there is no time of probing in them.
type Facts struct {
	Architecture   string    `json:"architecture"` // GOARCH: amd64 or arm64
	OS             OSFact    `json:"os"`
	Kernel         string    `json:"kernel"` // release, as uname -r prints it
	SystemdVersion int       `json:"systemdVersion"`
	CPU            CPUFact   `json:"cpu"`
	MemoryBytes    uint64    `json:"memoryBytes"` // MemTotal of /proc/meminfo
	GPUs           []GPUFact `json:"gpus"`
	// DeviceClasses are the names in /proc/devices that DeviceAllow= takes, such as "char-nvidia" and "char-drm".
	DeviceClasses []string `json:"deviceClasses"`
	// Tools are what servers in containers and in virtual environments need.
	Tools ToolsFact `json:"tools,omitzero"`
	// AppArmor says that the kernel confines by AppArmor and the host can load profiles.
	AppArmor bool `json:"appArmor,omitempty"`
	// SSHPorts are the ports that sshd listens on, which a firewall leaves open.
	SSHPorts []int `json:"sshPorts,omitempty"`
}

// ToolsFact are versions of programs, without what a distribution adds. Empty: the program isn't there.
type ToolsFact struct {
	Docker         string `json:"docker,omitempty"`
	Compose        string `json:"compose,omitempty"` // Docker's plugin
	Podman         string `json:"podman,omitempty"`
	NVIDIAToolkit  string `json:"nvidiaToolkit,omitempty"` // NVIDIA's container toolkit
	Python         string `json:"python,omitempty"`
	PackageManager string `json:"packageManager,omitempty"` // apt or dnf
}

// OSFact is the operating system, by the names of os-release(5).
type OSFact struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// CPUFact is the processor.
type CPUFact struct {
	Model string `json:"model"`
	Cores int    `json:"cores"` // logical processors
}

// GPUFact is one graphics processor.
type GPUFact struct {
	Vendor    string `json:"vendor"` // nvidia, amd or intel
	Name      string `json:"name"`
	Driver    string `json:"driver"` // name and version of the kernel driver
	VRAMBytes uint64 `json:"vramBytes"`
	Address   string `json:"address,omitempty"` // on PCI
	UUID      string `json:"uuid,omitempty"`    // NVIDIA's
	Node      string `json:"node,omitempty"`    // its own device, such as /dev/nvidia0 or /dev/dri/renderD128
}

// FactDiff is one fact that differs. A value that isn't there is "".
type FactDiff struct {
	Property string `json:"property"` // such as "os.version" or "gpus[0].driver"
	Want     string `json:"want"`     // what the facts file says
	Have     string `json:"have"`     // what the machine says
}

// FactsPath returns where the facts of a host file are kept: hosts/NAME.facts.json beside hosts/NAME.hcl.
func FactsPath(hostFile string) string {
	return strings.TrimSuffix(hostFile, Extension) + ".facts.json"
}

// LoadFacts reads the facts that belong to a host file. It returns nil without an error when there are none: the host hasn't
// been probed yet, which only matters to what needs a fact.
func LoadFacts(hostFile string) (*Facts, error) {
	file := FactsPath(hostFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the host's facts: %w", err)
	}
	var f Facts
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s isn't a facts file (%w): write it again with llmhost probe", file, err)
	}
	return &f, nil
}

// Save writes the facts to path (see FactsPath) atomically, lists sorted, with a newline at the end.
func (f *Facts) Save(path string) error {
	data, err := json.MarshalIndent(f.sorted(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the host's facts: %w", err)
	}
	if err := replace(path, append(data, '\n')); err != nil {
		return fmt.Errorf("save the host's facts: %w", err)
	}
	return nil
}

// sorted returns a copy in which the order that the machine happened to list things in doesn't show.
func (f *Facts) sorted() *Facts {
	s := *f
	s.GPUs = slices.SortedStableFunc(slices.Values(f.GPUs), func(a, b GPUFact) int {
		return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Driver, b.Driver), cmp.Compare(a.VRAMBytes, b.VRAMBytes))
	})
	s.DeviceClasses = slices.Sorted(slices.Values(f.DeviceClasses))
	if s.GPUs == nil {
		s.GPUs = []GPUFact{}
	}
	if s.DeviceClasses == nil {
		s.DeviceClasses = []string{}
	}
	return &s
}

// Card is the GPU of a vendor with an index, counted in the order of PCI addresses as drivers do; nil when there is none or
// nobody has looked.
func (f *Facts) Card(vendor string, index int) *GPUFact {
	if f == nil {
		return nil
	}
	for _, g := range f.sorted().GPUs {
		if g.Vendor != vendor {
			continue
		}
		if index == 0 {
			return &g
		}
		index--
	}
	return nil
}

// Compare returns the facts that differ, in the order of their names. The order of lists doesn't matter. A nil Facts has no
// fact at all.
func Compare(want, have *Facts) []FactDiff {
	w, h := want.flat(), have.flat()
	all := maps.Clone(w)
	maps.Copy(all, h)
	var diffs []FactDiff
	for _, property := range slices.Sorted(maps.Keys(all)) {
		if w[property] != h[property] {
			diffs = append(diffs, FactDiff{Property: property, Want: w[property], Have: h[property]})
		}
	}
	return diffs
}

// flat returns every fact by its path in the JSON form, so that a new field is compared without being named here.
func (f *Facts) flat() map[string]string {
	facts := map[string]string{}
	if f == nil {
		return facts
	}
	data, err := json.Marshal(f.sorted())
	if err != nil {
		panic(fmt.Sprintf("facts hold nothing that JSON can't: %v", err))
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		panic(fmt.Sprintf("facts are the JSON that was just written: %v", err))
	}
	flatten("", tree, facts)
	return facts
}

func flatten(property string, node any, into map[string]string) {
	switch node := node.(type) {
	case map[string]any:
		for key, child := range node {
			name := key
			if property != "" {
				name = property + "." + key
			}
			flatten(name, child, into)
		}
	case []any:
		// Names are a set and read best on one line; things with properties of their own are compared one by one.
		var names []string
		for i, child := range node {
			if name, ok := child.(string); ok {
				names = append(names, name)
				continue
			}
			flatten(fmt.Sprintf("%s[%d]", property, i), child, into)
		}
		if len(names) > 0 {
			into[property] = strings.Join(names, ", ")
		}
	default:
		into[property] = fmt.Sprint(node)
	}
}
