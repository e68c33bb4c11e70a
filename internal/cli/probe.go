package cli

import (
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// probed is what a machine says about itself, beside what its facts file says.
type probed struct {
	Host        string              `json:"host"`
	File        string              `json:"file"`
	Written     bool                `json:"written"`
	Differences []hostfile.FactDiff `json:"differences"`
	Facts       *hostfile.Facts     `json:"facts"`

	known bool // there was a facts file
}

func newProbeCmd() *cobra.Command {
	var stack string
	var check, asJSON bool
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Ask a host what it is, and write that down beside its host file",
		Long: "Connect to a host and write what only the machine knows (architecture, systemd, GPUs, memory) to\n" +
			"hosts/NAME.facts.json. Commit that file: rendering uses it and needs no host, and a machine that\n" +
			"changes later shows as drift. Nothing is changed on the host.\n\n" +
			"The exit code is 0, with --check 2 if the machine differs from the file, and 1 if it could not tell.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := loadHost(stack)
			if err != nil {
				return err
			}
			result, err := probe(cmd, h)
			if err != nil {
				return err
			}
			switch {
			case check && !result.known:
				return fmt.Errorf("there is no %s to compare with: run `llmhost probe -s %s` first", result.File, h.Name)
			case !check && (!result.known || len(result.Differences) > 0):
				if err := result.Facts.Save(result.File); err != nil {
					return err
				}
				result.Written = true
			}
			if asJSON {
				err = encodeJSON(cmd.OutOrStdout(), result)
			} else {
				err = result.writeText(cmd.OutOrStdout())
			}
			if err == nil && check && len(result.Differences) > 0 {
				err = &ExitError{Code: 2}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to ask")
	cmd.Flags().BoolVar(&check, "check", false, "write nothing, and exit with 2 if the machine differs from the file")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: host, file, written, differences, facts")
	return cmd
}

func probe(cmd *cobra.Command, h *hostfile.Host) (*probed, error) {
	want, err := hostfile.LoadFacts(h.File)
	if err != nil {
		return nil, err
	}
	ctx, stop := untilInterrupted(cmd)
	defer stop()
	conn, err := remote.Dial(ctx, targetOf(h), connection(cmd))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answer, err := conn.Agent().Facts(ctx, &agentpb.FactsRequest{})
	if err != nil {
		return nil, err
	}
	result := &probed{Host: h.Name, File: hostfile.FactsPath(h.File), Facts: factsOf(answer), Differences: []hostfile.FactDiff{}, known: want != nil}
	if want != nil {
		result.Differences = append(result.Differences, hostfile.Compare(want, result.Facts)...)
	}
	return result, nil
}

// factsOf puts the agent's answer into the form of the facts file.
func factsOf(f *agentpb.FactsResponse) *hostfile.Facts {
	facts := &hostfile.Facts{
		Architecture:   f.GetArchitecture(),
		OS:             hostfile.OSFact{ID: f.GetOsId(), Version: f.GetOsVersion()},
		Kernel:         f.GetKernel(),
		SystemdVersion: int(f.GetSystemdVersion()),
		CPU:            hostfile.CPUFact{Model: f.GetCpuModel(), Cores: int(f.GetCpuCores())},
		MemoryBytes:    f.GetMemoryBytes(),
		DeviceClasses:  slices.Clone(f.GetDeviceClasses()),
		Tools: hostfile.ToolsFact{
			Docker: f.GetTools().GetDocker(), Compose: f.GetTools().GetCompose(), Podman: f.GetTools().GetPodman(),
			NVIDIAToolkit: f.GetTools().GetNvidiaToolkit(), Python: f.GetTools().GetPython(), PackageManager: f.GetTools().GetPackageManager(),
		},
		AppArmor: f.GetApparmor(),
	}
	for _, port := range f.GetSshPorts() {
		facts.SSHPorts = append(facts.SSHPorts, int(port))
	}
	for _, g := range f.GetGpus() {
		facts.GPUs = append(facts.GPUs, hostfile.GPUFact{Vendor: g.GetVendor(), Name: g.GetName(), Driver: g.GetDriver(), VRAMBytes: g.GetVramBytes(),
			Address: g.GetAddress(), UUID: g.GetUuid(), Node: g.GetNode()})
	}
	return facts
}

func (p *probed) writeText(w io.Writer) error {
	for _, d := range p.Differences {
		if _, err := fmt.Fprintf(w, "%s: %s → %s\n", d.Property, orNothing(d.Want), orNothing(d.Have)); err != nil {
			return err
		}
	}
	var err error
	switch {
	case p.Written && !p.known:
		_, err = fmt.Fprintf(w, "%s is new: commit it beside the host file\n", p.File)
	case p.Written:
		_, err = fmt.Fprintf(w, "%s is updated: look at the differences and commit it\n", p.File)
	case len(p.Differences) == 0:
		_, err = fmt.Fprintf(w, "%s is as %s says\n", p.Host, p.File)
	default:
		_, err = fmt.Fprintf(w, "%s differs from %s: `llmhost probe -s %s` accepts what it is now\n", p.Host, p.File, p.Host)
	}
	return err
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}
