package lab

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestUpRestoresARealHost(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "host")
	o := Options{Name: "unit", Dir: dir, Log: os.Stderr}
	vm, err := Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.Down() })
	out, err := vm.SSH(ctx, "ops", "sudo -n systemctl is-system-running")
	if err != nil || strings.TrimSpace(string(out)) != "running" {
		t.Errorf("the system is %q: %v", out, err)
	}
}
