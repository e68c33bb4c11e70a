package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/docker"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// applied is what the containers of a project were when Compose had just made them from the file:
// the agent reads no YAML, and so can't compare a container with the file itself.
type applied struct {
	Format   int                          `json:"format"`
	Services map[string]map[string]string `json:"services"` // properties by service
	Restarts map[string]uint32            `json:"restarts"` // that are known, by service
}

const appliedFormat = 1

func (st *state) appliedPath(name string) string {
	return filepath.Join(st.dir, "compose", name+".json")
}

// loadApplied is nil for a project that was never applied whole.
func (st *state) loadApplied(name string) (*applied, error) {
	path := st.appliedPath(name)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	var a applied
	if json.Unmarshal(content, &a) != nil || a.Format != appliedFormat {
		return nil, nil // the next put makes it anew
	}
	return &a, nil
}

func (st *state) saveApplied(name string, containers []*docker.Container) error {
	a := applied{Format: appliedFormat, Services: map[string]map[string]string{}, Restarts: map[string]uint32{}}
	for _, c := range containers {
		if c.Service != "" && !c.OneOff {
			a.Services[c.Service], a.Restarts[c.Service] = c.Properties, c.Restarts
		}
	}
	content, err := json.MarshalIndent(&a, "", "  ")
	if err != nil {
		return err
	}
	path := st.appliedPath(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fault.OfPath("make", filepath.Dir(path), err)
	}
	attributes := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return fault.OfPath("write", path, durable.WriteFile(path, append(content, '\n'), attributes))
}

func (st *state) forgetApplied(name string) error {
	return removeIn(st.appliedPath(name), (*durable.Dir).Remove)
}

// differences are what isn't as it was applied, in the words of agent.proto.
func differences(was *applied, now []*docker.Container) map[string]string {
	found := map[string]string{}
	if was == nil {
		found["project"] = "it was never seen to work"
		was = &applied{}
	}
	seen := map[string]bool{}
	for _, c := range now {
		properties, ours := was.Services[c.Service]
		if !ours || c.OneOff || seen[c.Service] {
			found[c.Name+".container"] = "it belongs to no service of the project"
			continue
		}
		seen[c.Service] = true
		for _, property := range slices.Sorted(maps.Keys(properties)) {
			if have := c.Properties[property]; have != properties[property] {
				found[c.Service+"."+property] = fmt.Sprintf("%s, and was made %s", orNothing(have), orNothing(properties[property]))
			}
		}
		if trouble := trouble(c); trouble != "" {
			found[c.Service+".state"] = trouble
		} else if more := c.Restarts - was.Restarts[c.Service]; c.Restarts > was.Restarts[c.Service] {
			found[c.Service+".restarts"] = fmt.Sprintf("it has ended and was started again %d times", more)
		}
	}
	for service := range was.Services {
		if !seen[service] {
			found[service+".state"] = "it has no container"
		}
	}
	return found
}

// spoiltServices have a container that somebody has changed, which Compose wouldn't see.
func spoiltServices(was *applied, now []*docker.Container) []string {
	if was == nil {
		return nil
	}
	var spoilt []string
	for _, c := range now {
		properties, ours := was.Services[c.Service]
		if ours && !c.OneOff && c.ConfigHash == properties["config_hash"] && !maps.Equal(c.Properties, properties) {
			spoilt = append(spoilt, c.Service)
		}
	}
	slices.Sort(spoilt)
	return slices.Compact(spoilt)
}

// trouble is why a container isn't one that works, or empty.
func trouble(c *docker.Container) string {
	switch {
	case c.OOMKilled:
		return fmt.Sprintf("%s: it was killed, since its memory ran out", c.State)
	case c.State == "exited":
		return fmt.Sprintf("exited with %d", c.ExitCode)
	case c.State != "running":
		return c.State
	case c.Health == "unhealthy":
		return "running, and unhealthy"
	default:
		return ""
	}
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// containerFailed is the error of a container that doesn't work, with what it has said last.
func containerFailed(format string, args ...any) *fault.Error {
	return fault.New(agentpb.Reason_CONTAINER_FAILED, format, args...)
}
