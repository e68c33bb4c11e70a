package confine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// sshdUnits are the services of sshd: Debian's name, and everybody else's.
var sshdUnits = []string{"ssh.service", "sshd.service"}

// takesEffect is how long sshd has to start itself again with its new configuration.
const takesEffect = 15 * time.Second

func validSshd(path, _ string) error {
	if filepath.Dir(path) != "/etc/ssh/sshd_config.d" || filepath.Ext(path) != ".conf" {
		return fault.New(agentpb.Reason_INVALID, "%s is not read by sshd: its settings are in /etc/ssh/sshd_config.d/NAME.conf", path).With("path", path)
	}
	return nil
}

func checkSshd(ctx context.Context, _ string) error {
	_, err := run(ctx, nil, "sshd", "-t")
	return err
}

// reloadSshd has sshd read its configuration, and waits until it has: a connection that the old
// one accepts proves nothing. Where sshd is started for each connection, there is nothing to do.
func (h *Host) reloadSshd(ctx context.Context, _ string) error {
	for _, unit := range sshdUnits {
		state, err := h.Units.State(ctx, unit)
		if err != nil {
			return err
		}
		if state.Active != "active" || state.MainPID == 0 {
			continue
		}
		before := incarnation(state.MainPID)
		if err := h.Units.ReloadUnit(ctx, unit); err != nil {
			return err
		}
		return awaitExec(ctx, unit, state.MainPID, before)
	}
	return nil
}

// incarnation changes when a process executes a program: the kernel then gives it another
// auxiliary vector, whose random bytes are elsewhere (proc_pid_auxv(5)).
func incarnation(pid uint32) []byte {
	vector, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/auxv")
	if err != nil {
		return nil
	}
	return vector
}

func awaitExec(ctx context.Context, unit string, pid uint32, before []byte) error {
	deadline := time.NewTimer(takesEffect)
	defer deadline.Stop()
	for {
		now := incarnation(pid)
		switch {
		case now == nil:
			return fault.New(agentpb.Reason_REFUSED, "%s has ended instead of reading its new configuration", unit)
		case !bytes.Equal(now, before):
			return nil
		}
		select {
		case <-deadline.C:
			return fault.New(agentpb.Reason_REFUSED, "%s did not read its new configuration within %s", unit, takesEffect)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// observeSshd asks sshd which settings its files mean, for a connection that no Match block is
// about.
func observeSshd(ctx context.Context, keys []string, s *agentpb.ConfigurationState) error {
	if len(keys) == 0 {
		s.Loaded = true
		return nil
	}
	said, err := run(ctx, nil, "sshd", "-T")
	if err != nil {
		s.Changes = []string{"sshd refuses its configuration: " + err.Error()}
		return nil
	}
	s.Loaded = true
	s.Effective = settingsOf(said, keys)
	return nil
}

// settingsOf are the values of some keywords in what sshd -T prints. A list, which it prints with
// a line for each element, is one value with a space between them; an unset keyword is "".
func settingsOf(said string, keys []string) map[string]string {
	settings := map[string]string{}
	for _, key := range keys {
		settings[key] = ""
	}
	for line := range strings.Lines(said) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(keys, key) {
			continue
		}
		if settings[key] != "" {
			value = settings[key] + " " + value
		}
		settings[key] = value
	}
	return settings
}

// SSHPorts are the ports that sshd listens on by its configuration, none if there is no sshd.
func SSHPorts(ctx context.Context) []uint32 {
	said, err := run(ctx, nil, "sshd", "-T")
	if err != nil {
		return nil
	}
	var ports []uint32
	for word := range strings.FieldsSeq(settingsOf(said, []string{"port"})["port"]) {
		if port, err := strconv.ParseUint(word, 10, 16); err == nil {
			ports = append(ports, uint32(port))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}
