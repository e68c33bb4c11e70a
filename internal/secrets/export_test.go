package secrets

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var exported = []Exported{{"family", "api-key", "llmk_value"}, {"web-hook", "hmac", "llmh_value"}}

// repository is a folder with an empty git repository.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q")
	return dir
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// In a repository, an export leaves nothing that git would take but names.
func TestExportIsIgnoredByGit(t *testing.T) {
	for format, want := range map[string]map[string]string{
		FormatFiles: {"family": "llmk_value\n", "web-hook": "llmh_value\n"},
		FormatEnv:   {".env": "# secret \"family\" (api-key)\nLLMHOST_FAMILY=llmk_value\n# secret \"web-hook\" (hmac)\nLLMHOST_WEB_HOOK=llmh_value\n"},
	} {
		t.Run(format, func(t *testing.T) {
			root := repository(t)
			folder := filepath.Join(root, "keys")
			for range 2 { // again into the same folder
				if _, err := Export(t.Context(), folder, format, exported); err != nil {
					t.Fatal(err)
				}
			}
			for name, content := range want {
				info, err := os.Stat(filepath.Join(folder, name))
				if err != nil {
					t.Fatal(err)
				}
				got, _ := os.ReadFile(filepath.Join(folder, name))
				if info.Mode().Perm() != 0o600 || string(got) != content {
					t.Errorf("%s: mode %v, content %q", name, info.Mode(), got)
				}
			}
			if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the folder: %v, %v", info.Mode(), err)
			}
			git(t, root, "add", "-A")
			git(t, root, "commit", "-qm", "all")
			if diff := cmp.Diff("keys/.env.example\nkeys/.gitignore\n", git(t, root, "ls-files")); diff != "" {
				t.Errorf("git has taken (-want +got):\n%s", diff)
			}
			if history := git(t, root, "log", "-p"); strings.Contains(history, "_value") || !strings.Contains(history, "LLMHOST_FAMILY=\n") {
				t.Errorf("the history: %s", history)
			}
		})
	}
}

func TestExportIsRefusedWhereGitTracks(t *testing.T) {
	root := repository(t)
	write(t, filepath.Join(root, "docs/a.md"), "a")
	git(t, root, "add", "-A")
	git(t, root, "commit", "-qm", "all")

	// A folder of an earlier export, of which somebody has forced a file into git.
	forced := filepath.Join(root, "forced")
	if _, err := Export(t.Context(), forced, FormatFiles, exported); err != nil {
		t.Fatal(err)
	}
	git(t, root, "add", "-f", "forced/family")

	// One whose rules somebody has changed.
	nested := filepath.Join(root, "held")
	write(t, filepath.Join(nested, ".gitignore"), ignoreText+"!family\n")

	for name, c := range map[string]struct{ folder, want string }{
		"a folder of sources": {filepath.Join(root, "docs"), "isn't empty"},
		"the project itself":  {root, "isn't empty"},
		"a forced file":       {forced, "git tracks files"},
		"another's rules":     {nested, "isn't empty"},
	} {
		before := git(t, root, "status", "--porcelain", "--ignored")
		_, err := Export(t.Context(), c.folder, FormatFiles, exported)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(before, git(t, root, "status", "--porcelain", "--ignored")); diff != "" {
			t.Errorf("%s: something was changed:\n%s", name, diff)
		}
	}
}

// Where git isn't there to be asked, a repository is no place for secrets; any other folder is.
func TestExportWithoutGit(t *testing.T) {
	root := repository(t)
	outside := filepath.Join(t.TempDir(), "keys")
	t.Setenv("PATH", t.TempDir())
	if _, err := Export(t.Context(), filepath.Join(root, "keys"), FormatEnv, exported); err == nil || !strings.Contains(err.Error(), "git isn't installed") {
		t.Errorf("in a repository: %v", err)
	}
	if _, err := os.Stat(filepath.Join(root, "keys")); !os.IsNotExist(err) {
		t.Errorf("the refused folder is there: %v", err)
	}
	if _, err := Export(t.Context(), outside, FormatEnv, exported); err != nil {
		t.Errorf("outside: %v", err)
	}
}
