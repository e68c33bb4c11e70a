package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/components/host"
	"github.com/llmhost/llmhost/internal/exposure"
	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/profile"
)

func newHardenCmd() *cobra.Command {
	var asJSON bool
	var stack string
	cmd := &cobra.Command{
		Use:   "harden",
		Short: "Show how exposed each service is, why, and what was relaxed",
		Long: "Score every service that a deployment would place on a host, as systemd-analyze security does, from 0.0\n" +
			"for one that can do nothing to 10.0 for one that can do everything. Each finding says what the service may\n" +
			"do and what that adds; each relaxation of its profile has its reason. Nothing is contacted.\n\n" +
			"With --json the result is {stack, maxExposure, services, containers}; a service is {unit, profile, exposure,\n" +
			"level, tooExposed, findings, relaxed}.\n\n" +
			"The exit code is 0, or 2 if a service exceeds the host file's max_exposure.",
		Example: "  llmhost harden -s desktop",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := hostFile(stack)
			if err != nil {
				return err
			}
			h, diags := hostfile.Load(file)
			if err := hostfile.AsError(diags); err != nil {
				return err
			}
			facts, err := hostfile.LoadFacts(file)
			if err != nil {
				return err
			}
			services, err := host.Services(h, facts)
			if err != nil {
				return err
			}
			view := newHardenView(h, services)
			if asJSON {
				err = encodeJSON(cmd.OutOrStdout(), view)
			} else {
				err = view.writeText(cmd.OutOrStdout(), hue{useColor(cmd.OutOrStdout())})
			}
			if err == nil && view.over() > 0 {
				err = &ExitError{Code: 2}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host whose services are meant")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: stack, maxExposure, services, containers")
	return cmd
}

type hardenView struct {
	Stack       string          `json:"stack"`
	MaxExposure *float64        `json:"maxExposure"` // null: the host file says none
	Services    []hardenService `json:"services"`
	Containers  []string        `json:"containers"` // servers that systemd's sandbox isn't for
}

type hardenService struct {
	Unit       string             `json:"unit"`
	Profile    string             `json:"profile"`
	Exposure   float64            `json:"exposure"` // from 0 to 10
	Level      string             `json:"level"`    // systemd-analyze's word
	TooExposed bool               `json:"tooExposed"`
	Findings   []hardenFinding    `json:"findings"` // the heaviest first
	Relaxed    []hardenRelaxation `json:"relaxed"`

	score exposure.Score
}

type hardenFinding struct {
	Directive string  `json:"directive"`
	Means     string  `json:"means"`
	Adds      float64 `json:"adds"` // to the exposure, rounded up
	Weight    int     `json:"weight"`
}

type hardenRelaxation struct {
	Directive string `json:"directive"`
	Value     string `json:"value"`
	Reason    string `json:"reason"`
}

func newHardenView(h *hostfile.Host, services []*host.Service) hardenView {
	v := hardenView{Stack: h.Name, Services: []hardenService{}, Containers: []string{}}
	if h.MaxExposure > 0 {
		v.MaxExposure = &h.MaxExposure
	}
	for _, s := range services {
		service := hardenService{
			Unit: s.Name, Profile: string(s.Sandbox.Profile), Exposure: s.Exposure.Score.Float(), Level: s.Exposure.Score.Level(),
			TooExposed: s.TooExposed(h), Findings: []hardenFinding{}, Relaxed: []hardenRelaxation{}, score: s.Exposure.Score,
		}
		for _, f := range s.Exposure.Findings {
			service.Findings = append(service.Findings, hardenFinding{Directive: f.Name, Means: f.Means, Adds: f.Points.Float(), Weight: f.Weight})
		}
		for _, text := range s.Sandbox.Relaxed {
			if r, ok := profile.ParseRelaxation(string(text)); ok {
				service.Relaxed = append(service.Relaxed, hardenRelaxation{r.Directive, strings.Join(r.Values, " "), r.Reason})
			}
		}
		v.Services = append(v.Services, service)
	}
	for _, s := range h.Servers {
		if s.Runtime != hostfile.RuntimeSystemd {
			v.Containers = append(v.Containers, s.Name)
		}
	}
	return v
}

// over is how many services are more exposed than the host file allows.
func (v hardenView) over() int {
	n := 0
	for _, s := range v.Services {
		if s.TooExposed {
			n++
		}
	}
	return n
}

// hue colours words for a terminal.
type hue struct{ enabled bool }

func (h hue) on(code, s string) string {
	if !h.enabled {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// of is a score in the colour of what it means for the host file's limit, else of its level.
func (h hue) of(s hardenService) string {
	text := fmt.Sprintf("%s %s", s.score, s.Level)
	switch {
	case s.TooExposed || s.score >= 75:
		return h.on("31", text)
	case s.score >= 50:
		return h.on("33", text)
	}
	return h.on("32", text)
}

func (v hardenView) writeText(w io.Writer, h hue) error {
	for _, s := range v.Services {
		fmt.Fprintf(w, "%s  %s  %s\n", h.on("1", s.Unit), h.of(s), h.on("2", "profile "+s.Profile))
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, f := range s.Findings {
			fmt.Fprintf(table, "  +%.1f\t%s\t%s\n", f.Adds, f.Means, f.Directive)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if len(s.Relaxed) > 0 {
			fmt.Fprintln(w, "  relaxed:")
		}
		table = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		for _, r := range s.Relaxed {
			fmt.Fprintf(table, "    %s=%s\t%s\n", r.Directive, r.Value, r.Reason)
		}
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(v.Containers) > 0 {
		fmt.Fprintf(w, "not scored, since a container's sandbox isn't systemd's: %s\n", strings.Join(v.Containers, ", "))
	}
	if len(v.Services) == 0 {
		_, err := fmt.Fprintf(w, "%s: no service is declared\n", v.Stack)
		return err
	}
	worst := slices.MaxFunc(v.Services, func(a, b hardenService) int { return int(a.score - b.score) })
	_, err := fmt.Fprintf(w, "%s of %s, the most exposed %s with %s; %s\n",
		plural(len(v.Services), "service", "services"), v.Stack, worst.Unit, worst.score, v.verdict(h))
	return err
}

func (v hardenView) verdict(h hue) string {
	switch n := v.over(); {
	case v.MaxExposure == nil:
		return "the host file sets no max_exposure"
	case n > 0:
		return h.on("31", fmt.Sprintf("%s over max_exposure %.1f", plural(n, "is", "are"), *v.MaxExposure))
	default:
		return fmt.Sprintf("none is over max_exposure %.1f", *v.MaxExposure)
	}
}
