package render

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// SecretPlaceholder stands where the text of a secret file would be.
const SecretPlaceholder = "llmhost: the content of this file is a secret and isn't rendered\n"

// unitFolder is where the agent puts units.
const unitFolder = "/etc/systemd/system/"

// composeFolder holds a folder for each compose project.
const composeFolder = "/etc/llmhost/compose/"

// File is a text that a deployment would write.
type File struct {
	Path    string // absolute, on the host
	Mode    uint32 // as for chmod(2)
	Owner   string
	Group   string
	Content string
	Secret  bool // Content is SecretPlaceholder
}

// Files are the files, units and drop-ins among the resources, by path.
func Files(resources []Resource) ([]File, error) {
	var files []File
	for _, r := range resources {
		var own []File
		var err error
		switch r.Type {
		case "llmhost:index:File":
			own, err = placedFile(r.Inputs)
		case "llmhost:index:SystemdUnit":
			own, err = placedUnit(r.Inputs)
		case "llmhost:index:ComposeProject":
			own, err = placedProject(r.Inputs)
		}
		if err != nil {
			return nil, fmt.Errorf("render %s %q: %w", r.Type, r.Name, err)
		}
		files = append(files, own...)
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return files, nil
}

func placedFile(in resource.PropertyMap) ([]File, error) {
	f := File{}
	var mode string
	for key, to := range map[resource.PropertyKey]*string{"path": &f.Path, "mode": &mode, "owner": &f.Owner, "group": &f.Group} {
		value, err := text(in[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		*to = value
	}
	bits, err := strconv.ParseUint(mode, 8, 32)
	if err != nil {
		return nil, fmt.Errorf("mode %q isn't octal", mode)
	}
	f.Mode = uint32(bits)
	if in.HasValue("secretContent") || in["content"].ContainsSecrets() {
		f.Secret, f.Content = true, SecretPlaceholder
		return []File{f}, nil
	}
	if f.Content, err = text(in["content"]); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return []File{f}, nil
}

func placedUnit(in resource.PropertyMap) ([]File, error) {
	name, err := text(in["name"])
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	texts := map[string]resource.PropertyValue{unitFolder + name: in["content"]}
	if in.HasValue("dropIns") {
		if !in["dropIns"].IsObject() {
			return nil, errors.New("dropIns: aren't known before the deployment")
		}
		for path, content := range in["dropIns"].ObjectValue() {
			texts[string(path)] = content
		}
	}
	var files []File
	for path, value := range texts {
		content, err := text(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, File{Path: path, Mode: 0o644, Owner: "root", Group: "root", Content: content})
	}
	return files, nil
}

// placedProject is a compose file. The numbers of its accounts come from the host.
func placedProject(in resource.PropertyMap) ([]File, error) {
	name, err := text(in["name"])
	if err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	content, err := text(in["content"])
	if err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	return []File{{Path: composeFolder + name + "/compose.yaml", Mode: 0o600, Owner: "root", Group: "root", Content: content}}, nil
}

func text(v resource.PropertyValue) (string, error) {
	if !v.IsString() {
		return "", errors.New("isn't a text that is known before the deployment")
	}
	return v.StringValue(), nil
}
