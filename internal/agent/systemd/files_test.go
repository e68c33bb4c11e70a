package systemd

import (
	"os"
	"path/filepath"
	"testing"
)

const name = "x.service"

// put writes a file below the root, as somebody had it before.
func put(t *testing.T, f Files, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(f.at(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.at(path), []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, f Files) *Configuration {
	t.Helper()
	c, err := f.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is put back is as it was, so that a secret in a unit stays unreadable for others.
func TestRestoreGivesBackContentAndMode(t *testing.T) {
	f := Files{Root: t.TempDir()}
	dropIn := "/etc/systemd/system/x.service.d/secret.conf"
	put(t, f, UnitPath(name), "[Service]\nExecStart=/bin/old\n", 0o600)
	put(t, f, dropIn, "[Service]\nEnvironment=TOKEN=1\n", 0o640)
	was := load(t, f)
	if changed, err := f.Install(name, was, "[Service]\nExecStart=/bin/new\n", nil); err != nil || !changed {
		t.Fatalf("install: changed %v, %v", changed, err)
	}
	if err := f.Restore(name, was); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{UnitPath(name): 0o600, dropIn: 0o640} {
		is, err := os.Stat(f.at(path))
		if err != nil {
			t.Fatal(err)
		}
		if is.Mode().Perm() != want {
			t.Errorf("%s came back with mode %v, want %v", path, is.Mode().Perm(), want)
		}
	}
	if now := load(t, f); !now.Unit.Says("[Service]\nExecStart=/bin/old\n") || !now.DropIns[dropIn].Says("[Service]\nEnvironment=TOKEN=1\n") {
		t.Errorf("came back as %+v", now)
	}
}

// A mode that isn't a unit's is changed, and then there is nothing left to change.
func TestInstallSetsTheMode(t *testing.T) {
	f := Files{Root: t.TempDir()}
	put(t, f, UnitPath(name), "[Unit]\n", 0o600)
	for _, want := range []bool{true, false} {
		if changed, err := f.Install(name, load(t, f), "[Unit]\n", nil); err != nil || changed != want {
			t.Errorf("changed %v, want %v (%v)", changed, want, err)
		}
	}
}

// systemd keeps when a timer has last fired apart from its unit file, and for ever.
func TestARemovedTimerLeavesNoStamp(t *testing.T) {
	f := Files{Root: t.TempDir()}
	const timer, stamp, other = "x.timer", "/var/lib/systemd/timers/stamp-x.timer", "/var/lib/systemd/timers/stamp-y.timer"
	put(t, f, UnitPath(timer), "[Timer]\nOnCalendar=daily\nPersistent=yes\n", 0o644)
	put(t, f, stamp, "", 0o644)
	put(t, f, other, "", 0o644)
	was, err := f.Load(timer)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(timer, was); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{UnitPath(timer): false, stamp: false, other: true} {
		if _, err := os.Stat(f.at(path)); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", path, err == nil, want)
		}
	}
	empty := Files{Root: t.TempDir()} // a host where no timer has ever fired
	if err := empty.Remove(timer, &Configuration{}); err != nil {
		t.Error(err)
	}
}

// What can't be written takes nothing away.
func TestFailedInstallRemovesNothing(t *testing.T) {
	f := Files{Root: t.TempDir()}
	old := "/run/systemd/system/x.service.d/old.conf"
	put(t, f, UnitPath(name), "[Unit]\n", 0o644)
	put(t, f, old, "[Unit]\n", 0o644)
	put(t, f, "/etc/systemd/system/x.service.d", "a file where the folder should be", 0o644)
	was := &Configuration{DropIns: map[string]Text{old: {Content: "[Unit]\n"}}}
	_, err := f.Install(name, was, "[Unit]\n", map[string]string{"/etc/systemd/system/x.service.d/new.conf": "[Unit]\n"})
	if err == nil {
		t.Fatal("a drop-in was written below a file")
	}
	if !f.Has(old) {
		t.Errorf("%s was removed, although its successor could not be written", old)
	}
}

func TestHugeUnitIsRefused(t *testing.T) {
	f := Files{Root: t.TempDir()}
	put(t, f, UnitPath(name), string(make([]byte, maxText+1)), 0o644)
	if _, err := f.Load(name); err == nil {
		t.Error("a text that was cut off would be put back cut off")
	}
}
