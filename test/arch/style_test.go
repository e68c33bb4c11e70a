package arch

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// vague are package names that say nothing of what is in the package.
var vague = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "base", "types", "interfaces"}

func TestPackageNamesSayWhatIsInThem(t *testing.T) {
	for _, p := range packages(t) {
		if slices.Contains(vague, p.Name) || slices.Contains(vague, filepath.Base(p.Dir)) {
			t.Errorf("%s: %q says nothing of what is in it; name the package after what it provides", p.path(), p.Name)
		}
	}
}

func TestEveryPackageSaysWhyItExists(t *testing.T) {
	for _, p := range packages(t) {
		written, documented := false, false
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Errorf("%s: %v", p.path(), err)
				continue
			}
			if ast.IsGenerated(file) {
				continue
			}
			written = true
			documented = documented || file.Doc != nil
		}
		if written && !documented {
			t.Errorf("%s has no package comment; say what it is and why it exists", p.path())
		}
	}
}

// What this machine is called and where its folders are is nobody else's business, and breaks
// for everybody else.
func TestFilesNameNothingOfThisMachine(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	private := map[string]string{
		root + "/": "the folder of this checkout",
		// In two parts, or this file would hold it.
		"/work" + "/main/":   "the folder of a checkout",
		"/work" + "/shared/": "a folder beside a checkout",
	}
	for _, host := range moduleProxies(t) {
		private[host] = "the module proxy of this machine"
	}
	out, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Fatalf("git ls-files: %v (this test reads the files that git tracks)", err)
	}
	files := strings.Split(strings.TrimRight(string(out), "\x00"), "\x00")
	if len(files) < 5 {
		t.Fatalf("git tracks %d files, so that nothing would be tested", len(files))
	}
	for _, name := range files {
		content, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted and not yet committed
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if !utf8.Valid(content) {
			continue
		}
		for text, what := range private {
			if bytes.Contains(content, []byte(text)) {
				t.Errorf("%s holds %q, %s", name, text, what)
			}
		}
	}
}

// moduleProxies are the hosts that this machine gets modules from, as far as they aren't public.
func moduleProxies(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOPROXY").Output()
	if err != nil {
		t.Fatalf("go env GOPROXY: %v", err)
	}
	var hosts []string
	for proxy := range strings.FieldsFuncSeq(strings.TrimSpace(string(out)), func(r rune) bool { return r == ',' || r == '|' }) {
		u, err := url.Parse(proxy)
		// A proxy on the machine itself has a name that any document may hold.
		if err == nil && u.Host != "" && !slices.Contains([]string{"proxy.golang.org", "localhost", "127.0.0.1"}, u.Hostname()) {
			hosts = append(hosts, u.Host)
		}
	}
	return hosts
}
