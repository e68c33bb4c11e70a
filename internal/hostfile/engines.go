package hostfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/llmhost/llmhost/internal/requirements"
)

// parsePackageIndex takes the address of an index without a password, which would show in a process list, or a folder.
func parsePackageIndex(s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return parseHostPath(s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || unsafePath.MatchString(s):
		return "", faultf(fmt.Sprintf("is %q, which is neither an index nor a folder", s), "Write an address such as %q, or an absolute path on the host.", "https://pypi.org/simple")
	case u.User != nil:
		return "", faultf("has a name or a password in it", "It would be seen in the host's process list. Use a mirror that asks for none, or a folder of wheels.")
	}
	return s, nil
}

// checkKind refuses an engine in a form that its kind doesn't come in, and attributes that belong to another form.
func (d *decoder) checkKind(e *Engine) {
	written := func(attribute string) bool { _, ok := e.Attributes[attribute]; return ok }
	if written("version") && !written("package") {
		d.errorAt(e.At("version"), "version is for packages", "An engine of another form is pinned by its digest. Remove it.")
	}
	if written("index") && !written("requirements") {
		d.errorAt(e.At("index"), "index is for Python environments", "It says where requirements come from. Remove it.")
	}
	if e.Kind != KindVLLM && written("requirements") && e.Executable == "" && e.Kind != "" {
		d.errorAt(e.At("requirements"), fmt.Sprintf("%s is no Python program", e.Kind), "Use an engine of another form, or name the program in the environment: executable = \"bin/…\".")
	}
}

// checkOllama refuses what Ollama can't be started with.
func (d *decoder) checkOllama(h *Host, s *Server) {
	e, m := h.Engine(s.Engine), h.Model(s.Model)
	if e == nil || e.Kind != KindOllama {
		return
	}
	if s.Listen.Unix {
		d.errorAt(s.At("listen"), fmt.Sprintf("server %q is Ollama's, which has no Unix socket", s.Name), "Write listen = %q, or use an engine of another kind.", "127.0.0.1:11434")
	}
	if m == nil {
		return
	}
	if len(m.Name) > maxOllamaName {
		d.errorAt(s.At("model"), fmt.Sprintf("the name of model %q is too long for Ollama", m.Name), "The most is %d characters.", maxOllamaName)
	}
	for i := range m.Companions {
		if c := &m.Companions[i]; c.Kind == Draft {
			d.errorAt(s.At("model"), fmt.Sprintf("model %q has a draft model, which Ollama isn't started with", m.Name), "It is at %s. Use llama.cpp, or a model block without it.", position(c.Range))
		}
	}
}

// maxOllamaName is the longest name of a model in Ollama (types/model/name.go).
const maxOllamaName = 80

func (d *decoder) checkContainers(h *Host) {
	checkUnique(d, "containers", h.Containers, func(c *Containers) string { return c.Runtime })
	for i := range h.Containers {
		c := &h.Containers[i]
		if c.NVIDIA && (len(h.GPUs) == 0 || h.GPUs[0].Vendor != "nvidia") {
			d.errorAt(c.At("nvidia"), "nvidia on a host without a gpu \"nvidia\" block", "Add the block, or remove nvidia.")
		}
	}
}

// readRequirements reads the requirements of the engines that are Python environments. They are part of what is deployed, as
// the host file is: their digest names the environment's folder.
func (h *Host) readRequirements() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for i := range h.Engines {
		e := &h.Engines[i]
		if e.Requirements == "" {
			continue
		}
		text, err := os.ReadFile(e.Requirements)
		if err != nil {
			reason := err
			if p := (*fs.PathError)(nil); errors.As(err, &p) {
				reason = p.Err
			}
			diags = append(diags, errorAt(e.At("requirements"), fmt.Sprintf("the requirements of engine %q can't be read", e.Name),
				"%s: %v. The file belongs beside the host file and into version control.", h.beside(e.Requirements), reason))
			continue
		}
		_, faults := requirements.Parse(string(text))
		for _, f := range faults {
			diags = append(diags, errorAt(e.At("requirements"), fmt.Sprintf("%s:%d: %s", h.beside(e.Requirements), f.Line, f.Problem), "%s", f.Hint))
		}
		e.RequirementsText = string(text)
	}
	return diags
}

// beside is an absolute local path as it is seen from where the host file's own name starts.
func (h *Host) beside(path string) string {
	folder, err := filepath.Abs(filepath.Dir(h.File))
	if err != nil {
		return path
	}
	relative, err := filepath.Rel(folder, path)
	if err != nil {
		return path
	}
	return filepath.Join(filepath.Dir(h.File), relative)
}
