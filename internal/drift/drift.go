// Package drift describes how a host differs from what was deployed to it: finding by finding,
// for people as a table and for machines as JSON. It knows nothing of how the host is read.
package drift

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kind says in which way something differs.
type Kind string

const (
	Changed Kind = "changed" // a property has another value on the host
	Missing Kind = "missing" // the resource is not on the host
	Facts   Kind = "facts"   // the machine itself is not what its facts file says
)

// Finding is one difference. Want is what was deployed and Have is what the host has; either is
// absent where there is no value, and both are masked where one of them is a secret.
type Finding struct {
	URN      string `json:"urn,omitempty"`
	Type     string `json:"type,omitempty"`
	Name     string `json:"name,omitempty"`
	ID       string `json:"id,omitempty"`
	Kind     Kind   `json:"kind"`
	Property string `json:"property,omitempty"`
	Want     any    `json:"want,omitempty"`
	Have     any    `json:"have,omitempty"`
}

// Report is the result of one look at one host. Its JSON form is stable.
type Report struct {
	Stack     string    `json:"stack"`
	Host      string    `json:"host"`
	CheckedAt time.Time `json:"checkedAt"`
	Drifted   bool      `json:"drifted"`
	Findings  []Finding `json:"findings"`
	// RoundTrips is how many calls to the host's agent the look took.
	RoundTrips uint64 `json:"roundTrips"`
}

// New makes a report. Extra findings, such as those about facts, come after the resources'.
func New(stack, host string, checkedAt time.Time, resources []Finding, extra ...Finding) Report {
	findings := slices.Concat(resources, extra)
	if findings == nil {
		findings = []Finding{} // in JSON an empty list, not null
	}
	return Report{Stack: stack, Host: host, CheckedAt: checkedAt.UTC().Truncate(time.Second), Drifted: len(findings) > 0, Findings: findings}
}

// Sort puts findings in the order of a report: by resource, then by property.
func Sort(findings []Finding) {
	slices.SortFunc(findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.ID, b.ID),
			strings.Compare(a.URN, b.URN), strings.Compare(a.Property, b.Property))
	})
}
