package lab

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// SSHCommand is the OpenSSH client, ready to run a command on the host, or a shell without
// one. OpenSSH joins the arguments with spaces and the host's shell reads them.
func (vm *VM) SSHCommand(ctx context.Context, user string, args ...string) *exec.Cmd {
	return sshCommand(ctx, vm.Address, vm.Port, user, vm.IdentityFile, vm.KnownHostsFile, args)
}

// SSH runs a command on the host and returns its standard output. An error has what the
// command wrote on standard error, and wraps an *exec.ExitError if the command failed.
func (vm *VM) SSH(ctx context.Context, user string, args ...string) ([]byte, error) {
	cmd := vm.SSHCommand(ctx, user, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return stdout.Bytes(), fmt.Errorf("on the lab host %q: %s: %w: %s", vm.Name, strings.Join(args, " "), err, tail(stderr.Bytes(), 20))
	}
	return stdout.Bytes(), nil
}

// sshCommand uses none of the user's own SSH configuration, and keeps the host key check.
func sshCommand(ctx context.Context, address string, port int, user, identity, knownHosts string, args []string) *exec.Cmd {
	argv := []string{
		"-F", "/dev/null",
		"-p", strconv.Itoa(port),
		"-l", user,
		"-o", "IdentityFile=" + quoteOption(identity),
		"-o", "UserKnownHostsFile=" + quoteOption(knownHosts),
		"-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "StrictHostKeyChecking=yes",
		"-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none",
		"-o", "BatchMode=yes",
		"-o", "ConnectTimeout=10",
		"-o", "ServerAliveInterval=15",
		"-o", "LogLevel=ERROR",
		address,
	}
	if len(args) > 0 {
		argv = append(append(argv, "--"), args...)
	}
	cmd := exec.CommandContext(ctx, "ssh", argv...)
	cmd.WaitDelay = time.Second
	return cmd
}

// quoteOption writes a path as one word of ssh_config(5), which also expands percent signs.
func quoteOption(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%").Replace(path) + `"`
}
