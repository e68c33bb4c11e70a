package gpucontainer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeDocker is a program that isn't Docker: it answers as docker(1) documents for three containers, of which one has a GPU that
// works, one a GPU that is gone, and one none. What nvidia-smi says of a GPU that is gone is from nvidia-container-toolkit #48.
const fakeDocker = `#!/bin/sh
good=$(printf 'a%.0s' $(seq 64)) gone=$(printf 'b%.0s' $(seq 64)) none=$(printf 'c%.0s' $(seq 64))
echo "$@" >>"$(dirname "$0")/calls"
case "$1 $4$2" in
ps*) printf '%s\n%s\n%s\nnot-an-id\n' $good $gone $none ;;
inspect*)
  case "$4" in
  $none) echo '/plain runc null []' ;;
  $good) echo '/main runc [{"Driver":"nvidia","Count":0,"DeviceIDs":["0"],"Capabilities":[["gpu"]]}] []' ;;
  *) echo '/fast nvidia null []' ;;
  esac ;;
exec*)
  [ "$2" = $good ] && { echo 'GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-1)'; exit 0; }
  echo 'Failed to initialize NVML: Unknown Error'; exit 255 ;;
restart*) : ;;
esac
`

func TestLostGPUIsFoundAndGivenBack(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "docker")
	if err := os.WriteFile(program, []byte(fakeDocker), 0o755); err != nil {
		t.Fatal(err)
	}
	device := filepath.Join(dir, "nvidiactl")
	docker := Docker{Program: program, Device: device}
	if lost, err := docker.Find(t.Context()); err != nil || lost != nil {
		t.Fatalf("on a host without a GPU: %v, %v", lost, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "calls")); err == nil {
		t.Error("Docker was asked on a host without a GPU")
	}
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lost, err := docker.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(lost) != 1 || lost[0].Name != "fast" || lost[0].ID != strings.Repeat("b", 64) || !strings.Contains(lost[0].Why, "Failed to initialize NVML") {
		t.Fatalf("found %+v", lost)
	}
	if err := docker.Restart(t.Context(), lost[0]); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(string(calls), "restart "+strings.Repeat("b", 64)+"\n") || strings.Contains(string(calls), "not-an-id") {
		t.Errorf("Docker was asked:\n%s", calls)
	}
}

func TestHostWithoutDocker(t *testing.T) {
	device := filepath.Join(t.TempDir(), "nvidiactl")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if lost, err := (Docker{Program: "no-such-docker", Device: device}).Find(t.Context()); err != nil || lost != nil {
		t.Errorf("%v, %v", lost, err)
	}
}
