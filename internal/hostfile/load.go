package hostfile

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/llmhost/llmhost/internal/modelfile"
)

// Extension is how the name of a host file ends.
const Extension = ".hcl"

// Load reads and validates a host file, and the requirements files that it names. With an error among the diagnostics the host is nil.
func Load(path string) (*Host, hcl.Diagnostics) {
	src, diags := read(path)
	if diags.HasErrors() {
		return nil, diags
	}
	h, diags := Parse(src, path)
	if h == nil {
		return nil, diags
	}
	if diags = append(diags, h.readRequirements()...); diags.HasErrors() {
		return nil, diags
	}
	return h, diags
}

// LoadFit is Load with the host's facts, if it was probed, and with what doesn't fit on the machine among the diagnostics.
func LoadFit(path string) (*Host, *Facts, hcl.Diagnostics) {
	host, diags := Load(path)
	if diags.HasErrors() {
		return nil, nil, diags
	}
	facts, err := LoadFacts(path)
	if err != nil {
		return nil, nil, append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: err.Error()})
	}
	if diags = append(diags, host.CheckFit(facts)...); diags.HasErrors() {
		return nil, nil, diags
	}
	return host, facts, diags
}

func read(path string) ([]byte, hcl.Diagnostics) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, hcl.Diagnostics{unreadable(path, err)}
	}
	if info.IsDir() {
		return nil, hcl.Diagnostics{{
			Severity: hcl.DiagError, Summary: fmt.Sprintf("cannot read the host file %s", path),
			Detail: "It is a folder. Name a file that ends in " + Extension + ".",
		}}
	}
	if info.Size() > maxFileSize {
		return nil, hcl.Diagnostics{tooLarge(path)}
	}
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, hcl.Diagnostics{unreadable(path, err)}
	}
	return src, nil
}

// Paths returns the host files of a folder in the order of their names.
func Paths(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if !e.IsDir() && filepath.Ext(e.Name()) == Extension && !strings.HasPrefix(e.Name(), ".") {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

// Parse validates the text of a host file. The file's name is compared with the host's, shown in diagnostics, and its folder
// is where relative local paths start; nothing is read from it. With an error among the diagnostics, which are in the order
// of the text, the host is nil.
//
// Text that isn't HCL is reported for its syntax alone, since what the rest of it means can only be guessed.
func Parse(src []byte, filename string) (*Host, hcl.Diagnostics) {
	return parse(src, filename, func(attributeFault) bool { return false })
}

// parse is Parse without the faults of single attributes that are to be ignored.
func parse(src []byte, filename string, ignore func(attributeFault) bool) (*Host, hcl.Diagnostics) {
	if diag := checkLimits(src, filename); diag != nil {
		return nil, hcl.Diagnostics{diag}
	}
	parsed, diags := hclsyntax.ParseConfig(src, filename, hcl.InitialPos)
	if !readable(diags) {
		return nil, diags
	}
	folder, err := filepath.Abs(filepath.Dir(filename))
	if err != nil {
		return nil, append(diags, unreadable(filename, err))
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // only a path that starts with ~ misses it, and says so
	}
	d := &decoder{scope: scope{folder: folder, home: home}, diags: diags, misspelt: map[string]bool{}}
	doc := d.file(parsed.Body.(*hclsyntax.Body))
	if doc != nil {
		doc.File = filename
		if doc.models != nil {
			doc.ModelsPath = cmp.Or(doc.models.path, DefaultModelsPath) // a faulty path was reported
			doc.VerifyEvery, doc.Hub = doc.models.verifyEvery, doc.models.hub
		}
		d.check(&doc.Host)
	}
	d.diags = slices.DeleteFunc(d.diags, func(diag *hcl.Diagnostic) bool {
		f, ok := diag.Extra.(attributeFault)
		return ok && ignore(f)
	})
	slices.SortStableFunc(d.diags, func(a, b *hcl.Diagnostic) int {
		return cmp.Compare(a.Subject.Start.Byte, b.Subject.Start.Byte)
	})
	if d.diags.HasErrors() {
		return nil, d.diags
	}
	return &doc.Host, d.diags
}

// readable reports whether the parser understood the whole text. It goes on after an attribute that is written twice.
func readable(diags hcl.Diagnostics) bool {
	for _, d := range diags {
		if d.Severity == hcl.DiagError && d.Summary != "Attribute redefined" {
			return false
		}
	}
	return true
}

// unreadable says what is wrong with a path, and which host files there are instead.
func unreadable(path string, err error) *hcl.Diagnostic {
	diag := &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf("cannot read the host file %s", path), Detail: err.Error() + "."}
	if !os.IsNotExist(err) {
		return diag
	}
	if target, err := os.Readlink(path); err == nil {
		diag.Detail = fmt.Sprintf("It is a symbolic link to %s, which isn't there.", target)
		return diag
	}
	diag.Detail = "There is no such file. "
	if paths, err := Paths(filepath.Dir(path)); err == nil && len(paths) > 0 {
		names := namesOf(paths, func(p *string) string { return filepath.Base(*p) })
		diag.Detail += didYouMean(nearest(filepath.Base(path), names)) + fmt.Sprintf("The folder holds %s.", list(names))
	}
	return diag
}

// CheckSources reports the local files and folders that a deployment needs and that aren't there: archives of engines, models
// and what belongs to them, sources of files. Validation doesn't, so that a fresh clone is valid on a machine without them.
func (h *Host) CheckSources() hcl.Diagnostics {
	var diags hcl.Diagnostics
	check := func(what, path string, at hcl.Range, folder bool) {
		info, err := os.Stat(path)
		switch {
		case os.IsNotExist(err):
			diags = append(diags, errorAt(at, what+" isn't there", "%s does not exist on this machine.", path))
		case err != nil:
			diags = append(diags, errorAt(at, "cannot read "+what, "%v.", err))
		case folder && !info.IsDir():
			diags = append(diags, errorAt(at, what+" is no folder", "%s must be a folder. A single file has a name that ends in .gguf.", path))
		case !folder && !info.Mode().IsRegular():
			diags = append(diags, errorAt(at, what+" is no file", "%s must be an ordinary file.", path))
		}
	}
	for i := range h.Engines {
		e := &h.Engines[i]
		if e.Source != "" {
			check(fmt.Sprintf("the source of engine %q", e.Name), e.Source, e.At("source"), false)
		}
	}
	for i := range h.Models {
		m := &h.Models[i]
		model := fmt.Sprintf("model %q", m.Name)
		if m.Source.Kind == modelfile.Local {
			_, shard := m.Source.Shard()
			check("the source of "+model, m.Source.Path, m.At("source"), m.Source.Folder && !shard)
		}
		for j := range m.Companions {
			if c := &m.Companions[j]; c.Source.Kind == modelfile.Local {
				check(fmt.Sprintf("the source of companion %q of %s", c.Name, model), c.Source.Path, c.At("source"), false)
			}
		}
		if s := m.Signature; s != nil {
			check("the key of "+model, s.Key, s.At("key"), false)
			if s.File != "" {
				check("the signature of "+model, s.File, s.At("file"), false)
			}
		}
	}
	for i := range h.Files {
		if f := &h.Files[i]; f.Source != "" {
			check(fmt.Sprintf("the source of file %q", f.Path), f.Source, f.At("source"), false)
		}
	}
	return diags
}
