package cli

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/llmhost/llmhost/internal/lab"
)

// labHost is what the views show of a host.
type labHost struct {
	Name       string       `json:"name"`
	Running    bool         `json:"running"`
	Address    string       `json:"address"`
	Port       int          `json:"port"`
	User       string       `json:"user"`
	Identity   string       `json:"identity"`
	KnownHosts string       `json:"knownHosts"`
	HostKey    string       `json:"hostKey"`
	PID        int          `json:"pid"`
	Console    string       `json:"console"`
	Engine     *labArtifact `json:"engine,omitempty"`
	Model      *labArtifact `json:"model,omitempty"`
}

type labArtifact struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

func newLabHost(vm *lab.VM) *labHost {
	return &labHost{
		Name:       vm.Name,
		Running:    vm.Running(),
		Address:    vm.Address,
		Port:       vm.Port,
		User:       vm.User,
		Identity:   vm.IdentityFile,
		KnownHosts: vm.KnownHostsFile,
		HostKey:    vm.HostKey,
		PID:        vm.PID,
		Console:    vm.Console(),
	}
}

func (h *labHost) writeText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "host\t%s at %s:%d, user %s\n", h.Name, h.Address, h.Port, h.User)
	fmt.Fprintf(t, "log in\tllmhost lab ssh %s\n", h.Name)
	fmt.Fprintf(t, "engine\t%s\n\tsha256 %s\n", h.Engine.Path, h.Engine.SHA256)
	fmt.Fprintf(t, "model\t%s\n\tsha256 %s\n", h.Model.Path, h.Model.SHA256)
	fmt.Fprintf(t, "end it\tllmhost lab down %s\n", h.Name)
	return t.Flush()
}

func writeLabTable(w io.Writer, hosts []*labHost) error {
	if len(hosts) == 0 {
		_, err := fmt.Fprintln(w, "There is no lab host. Start one with `llmhost lab up`.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tSTATE\tADDRESS\tPID")
	for _, h := range hosts {
		state := "running"
		if !h.Running {
			state = "gone"
		}
		fmt.Fprintf(t, "%s\t%s\t%s:%d\t%d\n", h.Name, state, h.Address, h.Port, h.PID)
	}
	return t.Flush()
}
