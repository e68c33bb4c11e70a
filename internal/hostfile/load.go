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
)

// Extension is how the name of a host file ends.
const Extension = ".hcl"

// Load reads and validates a host file. With an error among the diagnostics the host is nil.
func Load(path string) (*Host, hcl.Diagnostics) {
	src, diags := read(path)
	if diags.HasErrors() {
		return nil, diags
	}
	return Parse(src, path)
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
			doc.ModelsPath = cmp.Or(doc.models.path, DefaultModelsPath)
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

// CheckSources reports the local files that a deployment needs and that aren't there: archives of engines, models, sources of
// files. Validation doesn't, so that a fresh clone is valid on a machine without them.
func (h *Host) CheckSources() hcl.Diagnostics {
	var diags hcl.Diagnostics
	check := func(kind, name, source string, place *Place) {
		if source == "" {
			return
		}
		info, err := os.Stat(source)
		at := place.At("source")
		switch {
		case os.IsNotExist(err):
			diags = append(diags, errorAt(at, fmt.Sprintf("the source of %s %q isn't there", kind, name), "%s does not exist on this machine.", source))
		case err != nil:
			diags = append(diags, errorAt(at, fmt.Sprintf("cannot read the source of %s %q", kind, name), "%v.", err))
		case !info.Mode().IsRegular():
			diags = append(diags, errorAt(at, fmt.Sprintf("the source of %s %q is no file", kind, name), "%s must be an ordinary file.", source))
		}
	}
	for i := range h.Engines {
		check("engine", h.Engines[i].Name, h.Engines[i].Source, &h.Engines[i].Place)
	}
	for i := range h.Models {
		check("model", h.Models[i].Name, h.Models[i].Source, &h.Models[i].Place)
	}
	for i := range h.Files {
		check("file", h.Files[i].Path, h.Files[i].Source, &h.Files[i].Place)
	}
	return diags
}
