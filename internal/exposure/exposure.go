// Package exposure scores how much of its host a service could reach if it were taken over.
//
// It exists so that the score is known before anything is deployed: a preview has neither a host
// nor a systemd, and what makes a unit worse has to show there. The score is that of systemd-analyze
// security, from 0.0 for a service that can do nothing to 10.0 for one that can do everything, by the
// same table of weights (table.go), so that it is comparable with any other unit's.
//
// The package is pure: unit files and drop-ins in, a score and its findings out.
package exposure

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/unitfile"
)

// Score is an exposure in tenths: 4 is 0.4, and the most is 100.
type Score int

// String writes the score as systemd-analyze does: 0.4.
func (s Score) String() string { return fmt.Sprintf("%d.%d", s/10, s%10) }

// Float is the score on its scale from 0 to 10.
func (s Score) Float() float64 { return float64(s) / 10 }

// Level is systemd-analyze's word for a score, from PERFECT to DANGEROUS.
func (s Score) Level() string {
	for _, level := range levels {
		if s >= level.from {
			return level.word
		}
	}
	return levels[len(levels)-1].word
}

var levels = []struct {
	from Score
	word string
}{{100, "DANGEROUS"}, {90, "UNSAFE"}, {75, "EXPOSED"}, {50, "MEDIUM"}, {10, "OK"}, {1, "SAFE"}, {0, "PERFECT"}}

// Report is what a service is exposed to.
type Report struct {
	Score    Score
	Findings []Finding // the heaviest first, then by name
}

// Finding is something that a service may do and that counts.
type Finding struct {
	Name   string // as systemd-analyze names it: the directive, for some with what it would have to take away
	Means  string // what the service may do
	Points Score  // what it adds, rounded up to a tenth
	Weight int    // its weight in systemd-analyze's table, as far as it applies
}

// Of scores a service's unit file with its drop-ins in the order in which systemd reads them.
func Of(text string, dropIns ...string) (Report, error) {
	s := newSettings()
	for i, t := range append([]string{text}, dropIns...) {
		if i > 0 && !strings.Contains(t, "[") {
			continue // a drop-in without a section says nothing
		}
		assignments, err := unitfile.Parse(t)
		if err != nil {
			return Report{}, fmt.Errorf("%s isn't a unit file: %w", source(i), err)
		}
		for _, a := range assignments {
			s.assign(a.Section, a.Directive, a.Value)
		}
	}
	s.imply()
	return s.report(), nil
}

func source(i int) string {
	if i == 0 {
		return "the text"
	}
	return fmt.Sprintf("drop-in %d", i)
}

func (s *settings) report() Report {
	var bad, all int
	var found []Finding
	for _, r := range table {
		badness := r.bad(s)
		if r.ordinary && !s.defaultDependencies {
			badness = notApplicable
		}
		if badness == notApplicable {
			continue
		}
		all += r.weight
		if badness > 0 {
			bad += up(badness*r.weight, r.most)
			found = append(found, Finding{
				Name: r.name, Means: r.means, Weight: up(badness*r.weight, r.most),
				Points: Score(up(badness*r.weight*100, r.most)), // of all weights, which aren't known yet
			})
		}
	}
	for i := range found {
		found[i].Points = Score(up(int(found[i].Points), all))
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.Name, b.Name))
	})
	return Report{Score: Score(up(bad*100, all)), Findings: found}
}

// up divides and rounds up.
func up(n, by int) int { return (n + by - 1) / by }
