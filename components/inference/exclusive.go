package inference

import (
	"slices"

	"github.com/llmhost/llmhost/components/systemd"
)

// Starts tells whether the server runs by itself: all do but those that wait for their turn.
func (s *Server) Starts() bool { return len(s.Group) == 0 || s.Group[0] == s.Server.UnitName() }

// Alternatives are the units of which one may run in the server's place.
func (s *Server) Alternatives() []string {
	return slices.DeleteFunc(slices.Clone(s.Group), func(unit string) bool { return unit == s.Server.UnitName() })
}

// takeTurns has systemd stop whichever server of the group runs before it starts this one.
//
// Without an order systemd stops and starts at the same time, and memory that isn't free yet
// fails the start. An order in one direction is enough for both (systemd.unit(5), After=), and
// in both it would be a cycle.
func (s *Server) takeTurns(u *systemd.Unit) {
	u.Unit.Conflicts = append(u.Unit.Conflicts, s.Alternatives()...)
	if i := slices.Index(s.Group, s.Server.UnitName()); i > 0 {
		u.Unit.After = append(u.Unit.After, s.Group[:i]...)
	}
}
