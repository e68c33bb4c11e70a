// Package sandbox puts services into the sandbox of a profile.
//
// It exists so that every service of llmhost's gets its sandbox in one way: all of its profile, and
// then what is relaxed, each with its reason, which is written into the unit as well. So a unit says
// on the host, in a preview and in a review why it isn't tighter.
package sandbox

import (
	"errors"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/profile"
)

// Apply gives a unit the directives of a profile but those that are relaxed. What a profile leaves
// to the service is the caller's to set afterwards.
func Apply(u *systemd.Unit, p *profile.Profile, relaxed []profile.Relaxation) error {
	var faults []error
	for _, d := range p.Directives {
		if len(d.Values) > 0 {
			faults = append(faults, u.Service.Set(d.Name, d.Values...))
		}
	}
	u.Sandbox.Profile = systemd.Keyword(p.Name)
	for _, r := range relaxed {
		faults = append(faults, u.Service.Set(r.Directive, r.Values...))
		u.Sandbox.Relaxed = append(u.Sandbox.Relaxed, systemd.Text(r.String()))
	}
	return errors.Join(faults...)
}
