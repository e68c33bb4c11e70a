// Package gpucontainer finds containers that have lost their GPU.
//
// It exists because systemd, when it reads its units again, may apply a container's device rules anew without those that NVIDIA's
// toolkit has added (nvidia-container-toolkit #48, #251, #1227): the container runs on and no program in it can open the GPU. So
// the agent looks after each reload that it asks for, and starts such a container again, which gives the GPU back.
package gpucontainer

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Docker asks Docker for its containers. The zero value is the host's.
type Docker struct {
	// Program is the client; empty: docker.
	Program string
	// Device is there on hosts with an NVIDIA GPU; empty: /dev/nvidiactl. Nothing is asked where it isn't.
	Device string
}

// limit ends a client that hangs.
const limit = 30 * time.Second

// id is a container's, as Docker writes it; nothing else becomes an argument.
var id = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Lost is a container whose GPU is gone.
type Lost struct {
	ID, Name string
	Why      string // what nvidia-smi says inside
}

// Find looks into every running container that was given a GPU. A host without a GPU or without Docker has none.
func (d Docker) Find(ctx context.Context) ([]Lost, error) {
	device := d.Device
	if device == "" {
		device = "/dev/nvidiactl"
	}
	if _, err := os.Stat(device); err != nil {
		return nil, nil
	}
	list, err := d.run(ctx, "ps", "--quiet", "--no-trunc")
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lost []Lost
	for container := range strings.FieldsSeq(list) {
		if !id.MatchString(container) {
			continue
		}
		has, err := d.run(ctx, "inspect", "--format", "{{.Name}} {{.HostConfig.Runtime}} {{json .HostConfig.DeviceRequests}} {{json .HostConfig.Devices}}", container)
		if err != nil {
			continue // it has just ended
		}
		name, given, _ := strings.Cut(strings.TrimPrefix(has, "/"), " ")
		if !strings.Contains(given, "nvidia") && !strings.Contains(given, `"gpu"`) {
			continue
		}
		if out, err := d.run(ctx, "exec", container, "nvidia-smi", "-L"); err != nil && strings.Contains(out+err.Error(), "NVML") {
			lost = append(lost, Lost{container, name, strings.TrimSpace(out + " " + err.Error())})
		}
	}
	return lost, nil
}

// Restart gives a container its GPU back.
func (d Docker) Restart(ctx context.Context, l Lost) error {
	_, err := d.run(ctx, "restart", l.ID)
	return err
}

func (d Docker) run(ctx context.Context, args ...string) (string, error) {
	program := d.Program
	if program == "" {
		program = "docker"
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil && said.Len() > 0 {
		err = errors.Join(err, errors.New(strings.TrimSpace(said.String())))
	}
	return string(out), err
}
