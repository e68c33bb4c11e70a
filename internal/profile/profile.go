// Package profile holds the sandboxes that llmhost runs things in, as documented data.
//
// It exists so that a sandbox has one source: the units are made from these lists, the tables of
// docs/hardening.md are, and so is what a host file may relax. A directive without a reason can't be
// in a profile, and neither can a relaxation be without one.
//
// The package is pure and knows neither systemd's types nor a host file's, so that both sides of a
// relaxation, the file that asks for it and the unit that gets it, can import it.
package profile

import (
	"slices"
	"strings"
)

// Profile is a sandbox for one kind of service.
type Profile struct {
	Name       string
	For        string // what runs in it
	Assumes    string // the attack that it is made for
	Directives []Directive
}

// Directive is a directive of systemd's and the reason for it.
type Directive struct {
	Name string // without the equals sign
	// Values are its assignments, one for each line. None: a host file's attribute decides (From).
	Values []string
	// From is the attribute of a server's block that sets the directive, so that it is changed there
	// and not relaxed. Values are then what it is otherwise.
	From string
	Why  string
	// Words are the only values that make sense; nil leaves it to systemd.
	Words []string
}

// Relaxation opens a profile in one place.
type Relaxation struct {
	Directive string
	Values    []string // its assignments instead of the profile's; none leaves it to systemd's default
	Reason    string
}

// String is the relaxation as it stands in a unit: DIRECTIVE=VALUE because REASON.
func (r Relaxation) String() string {
	return r.Directive + "=" + strings.Join(r.Values, " ") + because + r.Reason
}

const because = " because "

// ParseRelaxation reads what String has written. The values are then one.
func ParseRelaxation(s string) (Relaxation, bool) {
	assignment, reason, ok := strings.Cut(s, because)
	directive, value, assigned := strings.Cut(assignment, "=")
	return Relaxation{Directive: directive, Values: []string{value}, Reason: reason}, ok && assigned
}

// Get returns the profile of a name, nil if there is none.
func Get(name string) *Profile {
	for _, p := range All() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// All are the profiles.
func All() []*Profile { return []*Profile{ModelServer(), Gateway(), Monitor(), Batch()} }

// Directive returns the directive of a name, nil if the profile hasn't it.
func (p *Profile) Directive(name string) *Directive {
	i := slices.IndexFunc(p.Directives, func(d Directive) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Directives[i]
}

// Relaxable are the names of the directives that a host file may relax.
func (p *Profile) Relaxable() []string {
	var names []string
	for _, d := range p.Directives {
		if d.From == "" {
			names = append(names, d.Name)
		}
	}
	return names
}

// with is the profile with some directives changed and others added at its end.
func with(base []Directive, changes ...Directive) []Directive {
	all := slices.Clone(base)
	for _, c := range changes {
		if i := slices.IndexFunc(all, func(d Directive) bool { return d.Name == c.Name }); i >= 0 {
			all[i] = c
		} else {
			all = append(all, c)
		}
	}
	return all
}

func values(v ...string) []string { return v }

// Words of directives that are on or off.
var onOff = []string{"yes", "no"}

func on(name, why string) Directive {
	return Directive{Name: name, Values: values("yes"), Why: why, Words: onOff}
}
