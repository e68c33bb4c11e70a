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
	services, err := Services(h, facts)
	if err != nil {
		return err
	}
	var faults []error
	for _, s := range services {
		if s.TooExposed(h) {
			faults = append(faults, tooExposed(h, s))
		}
	}
	return errors.Join(faults...)
}

// Service is a service of a host, and what it is exposed to.
type Service struct {
	Name     string // of the unit
	Sandbox  systemd.SandboxSection
	Exposure exposure.Report
}

// TooExposed tells whether the service exceeds what its host file allows.
func (s *Service) TooExposed(h *hostfile.Host) bool {
	return h.MaxExposure > 0 && s.Exposure.Score.Float() > h.MaxExposure
}

// Services are those that a deployment of a host places there, scored without the host. Facts may
// be nil as for a deployment.
func Services(h *hostfile.Host, facts *hostfile.Facts) ([]*Service, error) {
	var all []*Service
	var faults []error
	add := func(name string, unit systemd.Unit) {
		text, err := unit.Text()
		if err != nil {
			faults = append(faults, fmt.Errorf("score %s: %w", name, err))
			return
		}
		report, err := exposure.Of(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("score %s: %w", name, err))
			return
		}
		all = append(all, &Service{name, unit.Sandbox, report})
	}
	if len(h.Models) > 0 {
		add(model.VerifyUnitName, model.VerifyUnit(h.VerifyEvery))
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
		add(model.CheckUnitName(&s.Server), model.CheckUnit(&s.Server, &s.Model))
		add(s.Server.UnitName(), unit)
	}
	return all, errors.Join(faults...)
}

// tooExposed says by how much, and because of what.
func tooExposed(h *hostfile.Host, s *Service) error {
	report := s.Exposure
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s would be exposed by %s, and max_exposure is %.1f. What counts most:", h.At("max_exposure"), s.Name, report.Score, h.MaxExposure)
	for _, f := range report.Findings[:min(worstNamed, len(report.Findings))] {
		fmt.Fprintf(&b, "\n  %s  %s (%s)", f.Points, f.Means, f.Name)
	}
	for _, r := range s.Sandbox.Relaxed {
		fmt.Fprintf(&b, "\n  relaxed: %s", r)
	}
	fmt.Fprintf(&b, "\nRelax less, let it listen on a Unix socket, or raise max_exposure; llmhost harden -s %s shows everything", h.Name)
	return errors.New(b.String())
}
