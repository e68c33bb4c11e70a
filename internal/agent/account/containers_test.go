package account

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What a user lacks of what its containers need is told by name.
func TestWhatContainersNeed(t *testing.T) {
	d := database(t)
	home := filepath.Join(t.TempDir(), "home")
	lingerFolder = t.TempDir()
	t.Cleanup(func() { lingerFolder = "/var/lib/systemd/linger" })
	u := &User{Name: "llm-a", UID: uint32(os.Getuid()), Group: "0", Home: home}
	lacks := func(want ...string) {
		t.Helper()
		if got, err := d.Lacks(u); err != nil || !slices.Equal(got, want) {
			t.Errorf("it lacks %q, want %q (%v)", got, want, err)
		}
	}
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lacks(NeedsHome, NeedsIDs, NeedsLinger)
	write(filepath.Join(lingerFolder, "llm-a"), "")
	lacks(NeedsHome, NeedsIDs)
	write(filepath.Join(string(d), "subuid"), "bob:100000:65536\nllm-a:165536:65536\n")
	lacks(NeedsHome, NeedsIDs) // of both sorts
	write(filepath.Join(string(d), "subgid"), "bob:100000:65536\nllm-a:165536:100\n")
	lacks(NeedsHome, NeedsIDs) // as many
	write(filepath.Join(string(d), "subgid"), "bob:100000:65536\nllm-a:165536:65536\n")
	if os.Getuid() == 0 { // whose group the home folder then has
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		lacks()
		if err := os.Chmod(home, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lacks(NeedsHome)
}
