package provider

import (
	"slices"
	"testing"
)

func TestExposureOfUnits(t *testing.T) {
	if e := exposureOf("a.timer", "[Timer]\nOnCalendar=daily\n", nil); e != nil {
		t.Errorf("a timer is scored with %v", *e)
	}
	if e := exposureOf("a.service", "[Service", nil); e == nil || *e != worst {
		t.Errorf("what can't be read is scored with %v", e)
	}
	// By the names of the files: what is read last counts.
	order := func(first, last string) float64 {
		return *exposureOf("a.service", "[Service]\nExecStart=/x\n", map[string]string{
			"/etc/systemd/system/a.service.d/" + first: "[Service]\nPrivateNetwork=no\n",
			"/run/systemd/system/a.service.d/" + last:  "[Service]\nPrivateNetwork=yes\n",
		})
	}
	if scores := []float64{order("1.conf", "2.conf"), order("2.conf", "1.conf")}; !slices.IsSorted(scores) || scores[0] == scores[1] {
		t.Errorf("the order of drop-ins doesn't count: %v", scores)
	}
}
