// Package confine drives the tools that confine a host and what runs on it: sshd, nftables,
// AppArmor, the kernel's audit, and those of the network.
//
// Each has files that a tool checks, brings into force, and describes. It exists apart from the
// protocol because a change of such a file is also undone by the host itself, when no agent is
// connected, and because everything that is run here has fixed arguments: no text of a user ever
// becomes an option.
package confine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// The kinds of configurations, as claims have them.
const (
	Firewall        = "Firewall"
	SshdConfig      = "SshdConfig"
	AppArmorProfile = "AppArmorProfile"
	AuditRules      = "AuditRules"
)

// Units is what is needed of systemd.
type Units interface {
	State(ctx context.Context, name string) (*systemd.State, error)
	ReloadUnit(ctx context.Context, name string) error
}

// Host is the host whose tools are driven.
type Host struct{ Units Units }

// configuration is a file that a tool brings into force. What is nil isn't needed.
type configuration struct {
	// valid refuses a text that would reach further than its kind may.
	valid func(path, text string) error
	// check has the tool read the file, which is in its place, without any effect.
	check func(ctx context.Context, path string) error
	// apply brings the file into force.
	apply func(ctx context.Context, path string) error
	// snapshot is what is in force, for restore.
	snapshot func(ctx context.Context, path string) (string, error)
	// restore brings the old file, which is back in its place, into force; nil: apply.
	restore func(ctx context.Context, path, snapshot string) error
	// removed takes out of force what a removed file had brought; nil: apply.
	removed func(ctx context.Context, path string) error
}

// effects names the configurations. The names are in records of guarded changes.
func (h *Host) configuration(effect string) configuration {
	switch effect {
	case Firewall:
		return configuration{validFirewall, checkFirewall, loadFirewall, snapshotFirewall, restoreFirewall, removeFirewall}
	case SshdConfig:
		return configuration{validSshd, checkSshd, h.reloadSshd, nil, nil, nil}
	case AppArmorProfile:
		return configuration{validProfile, checkProfile, loadProfile, nil, nil, removeProfile}
	case AuditRules:
		return configuration{validAudit, nil, loadAudit, nil, nil, removeAudit}
	case "networkd":
		return configuration{apply: h.tellIfActive("systemd-networkd.service", "networkctl", "reload")}
	case "netplan":
		return configuration{check: command("netplan", "generate"), apply: command("netplan", "apply")}
	case "NetworkManager":
		return configuration{apply: h.tellIfActive("NetworkManager.service", "nmcli", "general", "reload")}
	case "nftables":
		return configuration{check: checkFirewall, apply: h.reloadIfActive("nftables.service")}
	case "sudo":
		return configuration{check: command("visudo", "-c", "-q")}
	default:
		return configuration{} // files that are read whenever they are needed, or at the next boot
	}
}

// EffectOf is how a file comes into force, by its path.
func EffectOf(path string) string {
	for _, place := range []struct{ path, effect string }{
		{"/etc/ssh", SshdConfig},
		{"/etc/systemd/network", "networkd"},
		{"/etc/netplan", "netplan"},
		{"/etc/NetworkManager", "NetworkManager"},
		{"/etc/nftables.conf", "nftables"},
		{"/etc/sudoers", "sudo"},
		{"/etc/sudoers.d", "sudo"},
	} {
		if path == place.path || strings.HasPrefix(path, place.path+"/") {
			return place.effect
		}
	}
	return ""
}

// Valid refuses a text that would reach further than its kind may.
func (h *Host) Valid(effect, path, text string) error {
	if valid := h.configuration(effect).valid; valid != nil {
		return valid(path, text)
	}
	return nil
}

// Apply has a file in its place checked, and then brings it into force.
func (h *Host) Apply(ctx context.Context, effect, path string) error {
	c := h.configuration(effect)
	if c.check != nil {
		if err := c.check(ctx, path); err != nil {
			return err
		}
	}
	return call(ctx, c.apply, path)
}

// Removed takes out of force what a removed file had brought.
func (h *Host) Removed(ctx context.Context, effect, path string) error {
	c := h.configuration(effect)
	if c.removed != nil {
		return c.removed(ctx, path)
	}
	return call(ctx, c.apply, path)
}

// Snapshot is what is in force, if that isn't just what the file says.
func (h *Host) Snapshot(ctx context.Context, effect, path string) (string, error) {
	if snapshot := h.configuration(effect).snapshot; snapshot != nil {
		return snapshot(ctx, path)
	}
	return "", nil
}

// Restore brings the old file, which is back in its place, into force.
func (h *Host) Restore(ctx context.Context, effect, path, snapshot string) error {
	c := h.configuration(effect)
	if c.restore != nil {
		return c.restore(ctx, path, snapshot)
	}
	return call(ctx, c.apply, path)
}

func call(ctx context.Context, f func(context.Context, string) error, path string) error {
	if f == nil {
		return nil
	}
	return f(ctx, path)
}

// Observe describes how what is in force differs from the file, whose text is already in the
// state. keys are the settings that are asked about.
func (h *Host) Observe(ctx context.Context, kind, path string, keys []string, s *agentpb.ConfigurationState) error {
	switch kind {
	case Firewall:
		return observeFirewall(ctx, path, s)
	case SshdConfig:
		return observeSshd(ctx, keys, s)
	case AppArmorProfile:
		return observeProfile(ctx, path, s)
	default:
		return observeAudit(ctx, s)
	}
}

// tellIfActive runs a command if a service runs: it reads its files itself when it starts.
func (h *Host) tellIfActive(unit, tool string, args ...string) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		state, err := h.Units.State(ctx, unit)
		if err != nil || state.Active != "active" {
			return err
		}
		_, err = run(ctx, nil, tool, args...)
		return err
	}
}

func (h *Host) reloadIfActive(unit string) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		state, err := h.Units.State(ctx, unit)
		if err != nil || state.Active != "active" {
			return err
		}
		return h.Units.ReloadUnit(ctx, unit)
	}
}

func command(tool string, args ...string) func(context.Context, string) error {
	return func(ctx context.Context, _ string) error {
		_, err := run(ctx, nil, tool, args...)
		return err
	}
}

// toolTimeout bounds a run of a tool.
const toolTimeout = time.Minute

// run runs a tool and returns its standard output. A tool that refuses says why in the error.
func run(ctx context.Context, stdin []byte, tool string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin", "LC_ALL=C"}
	path, err := lookPath(tool)
	if err != nil {
		return "", err
	}
	cmd.Path, cmd.Err = path, nil
	cmd.Stdin = bytes.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %w", tool, ctx.Err())
	case errors.As(err, &exit):
		words := strings.Join(strings.Fields(said.String()), " ")
		if words == "" {
			words = strings.Join(strings.Fields(out.String()), " ")
		}
		if words == "" {
			words = exit.Error()
		}
		e := fault.New(agentpb.Reason_REFUSED, "%s: %s", tool, limit(words))
		e.Err = err
		return out.String(), e
	case err != nil:
		return "", fmt.Errorf("%s: %w", tool, err)
	}
	return out.String(), nil
}

// lookPath finds a tool in the folders of an administrator, whoever has started the agent.
func lookPath(tool string) (string, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/run/current-system/sw/bin"} {
		path := filepath.Join(dir, tool)
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fault.New(agentpb.Reason_NO_TOOL, "%s isn't installed on the host", tool).With("tool", tool)
}

// limit keeps an error readable: a tool may repeat the whole file.
func limit(words string) string {
	if runes := []rune(words); len(runes) > 600 {
		return string(runes[:600]) + "…"
	}
	return strings.ToValidUTF8(words, "?")
}
