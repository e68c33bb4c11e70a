// Package arch tests the architecture: who may import whom, and what every package and file
// has to have.
//
// It exists because such rules hold only as long as something fails when they are broken. Each
// has its reason in its failure. They are described in docs/architecture.md.
package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/llmhost/llmhost/"

// goPackage is what go list says about a package of the module.
type goPackage struct {
	ImportPath   string
	Dir          string
	Name         string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string
}

// path is the package's path within the module.
func (p *goPackage) path() string { return strings.TrimPrefix(p.ImportPath, module) }

// direct are the imports of its files, tests included.
func (p *goPackage) direct() []string { return slices.Concat(p.Imports, p.TestImports, p.XTestImports) }

var list = sync.OnceValues(func() ([]*goPackage, error) {
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,Name,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports,Deps", module+"...")
	cmd.Dir = "../.."
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var all []*goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(goPackage)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
})

// packages are all packages of the module.
func packages(t *testing.T) []*goPackage {
	t.Helper()
	all, err := list()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages, so that no rule would be tested", len(all))
	}
	return all
}

// under reports whether an import path or a path is one of the folders or below one.
func under(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool {
		return path == folder || strings.HasPrefix(path, folder+"/")
	})
}
