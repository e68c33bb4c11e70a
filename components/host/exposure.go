package host

import (
	"errors"
	"fmt"
	"strings"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/components/model"
	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/exposure"
	"github.com/llmhost/llmhost/internal/hostfile"
)

// worstNamed is how many of a unit's findings an error names.
const worstNamed = 3

// checkExposure refuses services that would be more exposed than the host file allows. It comes
// before anything is declared, so that a host which isn't contacted yet never is.
func checkExposure(h *hostfile.Host, facts *hostfile.Facts) error {
	if h.MaxExposure == 0 {
		return nil
	}
	services, err := services(h, facts)
	if err != nil {
		return err
	}
	var faults []error
	for _, s := range services {
		text, err := s.unit.Text()
		if err != nil {
			return fmt.Errorf("score %s: %w", s.name, err)
		}
		report, err := exposure.Of(text)
		if err != nil {
			return fmt.Errorf("score %s: %w", s.name, err)
		}
		if report.Score.Float() > h.MaxExposure {
			faults = append(faults, tooExposed(h, s, report))
		}
	}
	return errors.Join(faults...)
}

// service is a service of the host with its unit.
type service struct {
	name string
	unit systemd.Unit
}

// services are all that this component declares.
func services(h *hostfile.Host, facts *hostfile.Facts) ([]service, error) {
	var all []service
	if len(h.Models) > 0 {
		all = append(all, service{model.VerifyUnitName, model.VerifyUnit(h.VerifyEvery)})
	}
	for i := range h.Servers {
		if h.Servers[i].Runtime != hostfile.RuntimeSystemd {
			continue // a container has a sandbox of its own, which isn't systemd's
		}
		s, err := inference.NewServer(h, facts, h.Servers[i])
		if err != nil {
			return nil, err
		}
		unit, err := s.Unit()
		if err != nil {
			return nil, err
		}
		all = append(all, service{model.CheckUnitName(&s.Server), model.CheckUnit(&s.Server, &s.Model)}, service{s.Server.UnitName(), unit})
	}
	return all, nil
}

// tooExposed says by how much, and because of what.
func tooExposed(h *hostfile.Host, s service, report exposure.Report) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s would be exposed by %s, and max_exposure is %.1f. What counts most:", h.At("max_exposure"), s.name, report.Score, h.MaxExposure)
	for _, f := range report.Findings[:min(worstNamed, len(report.Findings))] {
		fmt.Fprintf(&b, "\n  %s  %s (%s)", f.Points, f.Means, f.Name)
	}
	for _, r := range s.unit.Sandbox.Relaxed {
		fmt.Fprintf(&b, "\n  relaxed: %s", r)
	}
	fmt.Fprintf(&b, "\nRelax less, let it listen on a Unix socket, or raise max_exposure; llmhost harden -s %s shows everything", h.Name)
	return errors.New(b.String())
}
