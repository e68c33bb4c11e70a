package provider_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

func TestDirectoryLifecycle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	in := mine(t, resource.PropertyMap{"path": str(path)})
	s.mustUp("Directory", "a", in, "create")
	s.mustUp("Directory", "a", in, "same")
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"mode"}, s.drift("a")); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
	s.refresh("a")
	s.mustUp("Directory", "a", in, "update")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("the repaired directory: %v, %v", info, err)
	}
	s.destroy("a")
	wantGone(t, path)
}

func TestDirectoryThatIsNotEmptyIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	s.mustUp("Directory", "a", mine(t, resource.PropertyMap{"path": str(path)}), "create")
	if err := os.WriteFile(filepath.Join(path, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.destroy("a")
	if _, err := os.Stat(filepath.Join(path, "mine")); err != nil {
		t.Errorf("a file that isn't llmhost's was removed: %v", err)
	}
	if !strings.Contains(s.log.text(), "WARNING: Directory "+path+" was left on the host") {
		t.Errorf("no word about the directory that was left:\n%s", s.log.text())
	}
}

func TestDirectoryReplacedByAFileIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	s := newStack(t, realHost(t))
	s.mustUp("Directory", "a", mine(t, resource.PropertyMap{"path": str(path)}), "create")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"gone"}, s.drift("a")); diff != "" {
		t.Errorf("drift (-want +got):\n%s", diff)
	}
}
