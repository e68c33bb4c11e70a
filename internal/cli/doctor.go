package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/doctor"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

// diagnosis is what doctor found on a host.
type diagnosis struct {
	Host     string           `json:"host"`
	Findings []doctor.Finding `json:"findings"`
}

func newDoctorCmd() *cobra.Command {
	var stack string
	var asJSON, all bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine a host: is it fit for what the host file places on it?",
		Long: "Ask a host about itself and judge it: drivers and versions with known holes, what fits in its memory and on\n" +
			"its disk, ports that others have, the clock, swap, core dumps, reboots, SSH. Each finding says what was\n" +
			"found, why it matters, and what mends it. Nothing is changed on the host.\n\n" +
			"With --json the result is {host, findings}, each finding {check, verdict, found, why, remedy}; verdicts are\n" +
			"problem, warning, unknown and ok.\n\n" +
			"The exit code is 0, 2 if there is a problem or a warning, and 1 if it could not tell.",
		Example: "  llmhost doctor -s desktop\n  llmhost doctor -s desktop --all",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := hostFile(stack)
			if err != nil {
				return err
			}
			// What doesn't fit is a finding among others here.
			h, diags := hostfile.Load(file)
			if err := hostfile.AsError(diags); err != nil {
				return err
			}
			result, err := examine(cmd, h)
			if err != nil {
				return err
			}
			if asJSON {
				err = encodeJSON(cmd.OutOrStdout(), result)
			} else {
				err = result.writeText(cmd.OutOrStdout(), all)
			}
			if err == nil && result.count(doctor.Problem)+result.count(doctor.Warning) > 0 {
				err = &ExitError{Code: 2}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to examine")
	cmd.Flags().BoolVar(&all, "all", false, "also what is well")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: {host, findings}")
	return cmd
}

func examine(cmd *cobra.Command, h *hostfile.Host) (*diagnosis, error) {
	committed, err := hostfile.LoadFacts(h.File)
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
	facts, err := conn.Agent().Facts(ctx, &agentpb.FactsRequest{})
	if err != nil {
		return nil, err
	}
	seen, err := conn.Agent().Examine(ctx, &agentpb.ExamineRequest{Folders: doctor.Folders(h)})
	if err != nil {
		return nil, err
	}
	models, err := conn.Agent().ListModels(ctx, &agentpb.ListModelsRequest{Folders: []string{h.ModelsPath}})
	if err != nil {
		return nil, err
	}
	m := doctor.Machine{Facts: factsOf(facts), Evidence: map[string]doctor.Evidence{}, Folders: map[string]doctor.Folder{}, Placed: map[string]uint64{}}
	for _, e := range seen.GetEvidence() {
		m.Evidence[e.GetSource()] = doctor.Evidence{Text: e.GetText(), Error: e.GetError(), Absent: e.GetAbsent()}
	}
	for _, f := range seen.GetFolders() {
		m.Folders[f.GetPath()] = doctor.Folder{
			Exists: f.GetExists(), Mode: f.GetMode(), Free: f.GetFreeBytes(), Total: f.GetTotalBytes(),
			MountPoint: f.GetMountPoint(), FileSystem: f.GetFileSystem(), Options: strings.Split(f.GetOptions(), ","), Protects: f.GetProtects(),
		}
	}
	for _, placed := range models.GetModels() {
		if !placed.GetPartial() {
			m.Placed[placed.GetPath()] = placed.GetDiskBytes()
		}
	}
	return &diagnosis{h.Name, doctor.Examine(h, committed, m)}, nil
}

func (d *diagnosis) count(verdict string) int {
	n := 0
	for _, f := range d.Findings {
		if f.Verdict == verdict {
			n++
		}
	}
	return n
}

func (d *diagnosis) writeText(w io.Writer, all bool) error {
	var b strings.Builder
	for _, f := range d.Findings {
		if f.Verdict == doctor.OK && !all {
			continue
		}
		fmt.Fprintf(&b, "%-8s %s: %s\n", f.Verdict, f.Check, printableLine(f.Found))
		for line := range strings.Lines(f.Why) {
			fmt.Fprintf(&b, "         %s\n", strings.TrimRight(line, "\n"))
		}
		if f.Remedy != "" {
			fmt.Fprintf(&b, "         → %s\n", f.Remedy)
		}
	}
	fmt.Fprintf(&b, "%s: %s, %s, %d not known, %d well\n", d.Host,
		plural(d.count(doctor.Problem), "problem", "problems"), plural(d.count(doctor.Warning), "warning", "warnings"), d.count(doctor.Unknown), d.count(doctor.OK))
	_, err := io.WriteString(w, b.String())
	return err
}

// printableLine is a text of the host without what could steer a terminal.
func printableLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
