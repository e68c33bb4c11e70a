package hostfile

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"

	"github.com/llmhost/llmhost/internal/profile"
)

// tenths is a number above zero up to most with at most one decimal.
func tenths(name string, most float64) kind[float64] {
	k := number(name, most)
	strict := k.decode
	k.decode = func(in scope, value cty.Value) (float64, error) {
		n, err := strict(in, value)
		if err == nil && math.Abs(n*10-math.Round(n*10)) > 1e-9 {
			return 0, faultf(fmt.Sprintf("is %g, which has more than one decimal", n), "Write a number such as 1.5: scores have one decimal.")
		}
		return n, err
	}
	return k
}

// oneOrSeveral is a value, or a list of them.
func oneOrSeveral[V any](name string, of kind[V]) kind[[]V] {
	return kind[[]V]{name: name, decode: func(in scope, value cty.Value) ([]V, error) {
		if value.IsNull() || !value.Type().IsTupleType() {
			v, err := of.decode(in, value)
			return []V{v}, err
		}
		var all []V
		for _, element := range value.AsValueSlice() {
			v, err := of.decode(in, element)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		if len(all) == 0 {
			return nil, faultf("is an empty list", "Write \"\" for an empty assignment.")
		}
		return all, nil
	}}
}

// parseAssignment is the right-hand side of a directive.
func parseAssignment(s string) (string, error) {
	if strings.ContainsFunc(s, unicode.IsControl) || strings.HasSuffix(s, `\`) {
		return "", faultf(fmt.Sprintf("is %q, which isn't one line", s), "A directive that is assigned several times takes a list.")
	}
	return strings.TrimSpace(s), nil
}

const longestReason = 200

func parseReason(s string) (string, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", faultf("is empty", "Say why the server needs it: it is shown with every preview.")
	case strings.ContainsFunc(s, unicode.IsControl) || strings.HasSuffix(s, `\`):
		return "", faultf("isn't one line", "It stands in one line of the unit.")
	case utf8.RuneCountInString(s) > longestReason:
		return "", faultf(fmt.Sprintf("has %d characters", utf8.RuneCountInString(s)), "The most is %d.", longestReason)
	}
	return strings.TrimSpace(s), nil
}

// checkSandbox refuses what can't be relaxed, and settings that a container's runtime has no use for.
func (d *decoder) checkSandbox(s *Server) {
	if s.Runtime != RuntimeSystemd && s.Runtime != "" {
		d.checkNoSandbox(s)
		return
	}
	first := map[string]*Relax{}
	for i := range s.Relaxed {
		r := &s.Relaxed[i]
		if other, again := first[r.Directive]; again {
			d.errorAt(r.Range, fmt.Sprintf("%s is relaxed already", r.Directive), "The first is at %s.", position(other.Range))
			continue
		}
		first[r.Directive] = r
		d.checkRelax(r)
	}
}

func (d *decoder) checkRelax(r *Relax) {
	sandbox := profile.ModelServer()
	directive := sandbox.Directive(r.Directive)
	switch {
	case directive == nil:
		d.errorAt(r.Range, fmt.Sprintf("the profile %s has no directive %q", sandbox.Name, r.Directive),
			"%sIts directives are listed in docs/hardening.md, and by llmhost harden.", didYouMean(nearest(r.Directive, sandbox.Relaxable())))
	case directive.From != "":
		d.errorAt(r.Range, fmt.Sprintf("%s isn't relaxed", r.Directive), "It is what the server says: set %s.", directive.From)
	case r.Values == nil: // a fault of its own
	case directive.Words != nil && (len(r.Values) != 1 || !slices.Contains(directive.Words, r.Values[0])):
		d.errorAt(r.At("value"), fmt.Sprintf("value is %q, which %s doesn't take", strings.Join(r.Values, " "), r.Directive),
			"%sIt takes %s.", didYouMean(nearest(r.Values[0], directive.Words)), list(directive.Words))
	case slices.Equal(r.Values, directive.Values):
		d.errorAt(r.Range, fmt.Sprintf("%s = %q relaxes nothing", r.Directive, strings.Join(r.Values, " ")), "It is what the profile has. Remove the block.")
	}
}

// checkNoSandbox refuses what only a unit has.
func (d *decoder) checkNoSandbox(s *Server) {
	refuse := func(name string, place *Place) {
		d.errorAt(place.Range, fmt.Sprintf("%s is for the runtime %s", name, RuntimeSystemd),
			"Server %q has the runtime %s, whose containers have a sandbox of their own. Remove it.", s.Name, s.Runtime)
	}
	for i := range s.Relaxed {
		refuse("relax", &s.Relaxed[i].Place)
	}
	if s.Limits != nil {
		refuse("limits", &s.Limits.Place)
	}
	if s.Restart != nil {
		refuse("restart", &s.Restart.Place)
	}
	if _, written := s.Attributes["stop_timeout"]; written {
		refuse("stop_timeout", &Place{Range: s.At("stop_timeout")})
	}
}
