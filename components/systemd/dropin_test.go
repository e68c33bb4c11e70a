package systemd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDropIn(t *testing.T) {
	d := DropIn{Unit: "nginx.service", Name: "50-llmhost", Content: Unit{
		Unit:    UnitSection{After: Words{"llmhost-gateway.service"}},
		Service: ServiceSection{SupplementaryGroups: Words{}, NoNewPrivileges: Yes},
	}}
	if got, want := d.Path(), "/etc/systemd/system/nginx.service.d/50-llmhost.conf"; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	text, err := d.Text()
	const want = "[Unit]\nAfter=llmhost-gateway.service\n\n[Service]\nSupplementaryGroups=\nNoNewPrivileges=yes\n"
	if err != nil || text != want {
		t.Fatalf("got %q, %v, want %q", text, err, want)
	}
	back, err := ParseDropIn(d.Path(), text)
	if err != nil {
		t.Fatal(err)
	}
	d.Content.Kind = KindService
	if diff := cmp.Diff(d, back); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOddDropInsAreRefused(t *testing.T) {
	nice := Unit{Service: ServiceSection{NoNewPrivileges: Yes}}
	for name, test := range map[string]struct {
		dropIn DropIn
		want   string
	}{
		"of no unit":         {DropIn{"nginx", "a", nice}, "no kind of unit"},
		"of another kind":    {DropIn{"x.timer", "a", nice}, "a timer has no section [Service]"},
		"kinds that differ":  {DropIn{"x.timer", "a", Unit{Kind: KindService}}, "has the content of a service"},
		"a name that climbs": {DropIn{"x.service", "../a", nice}, "there can't be a drop-in"},
		"a hidden file":      {DropIn{"x.service", ".a", nice}, "there can't be a drop-in"},
		"a unit that climbs": {DropIn{"../x.service", "a", nice}, "there can't be a drop-in"},
		"nothing":            {DropIn{"x.service", "a", Unit{}}, "changes nothing"},
	} {
		if text, err := test.dropIn.Text(); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v, want %q", name, text, err, test.want)
		}
	}
	for _, file := range []string{"/etc/systemd/system/x.service", "/etc/systemd/system/x.service.d/a", "x.service.d/a.conf", "/etc/x/a.conf"} {
		if _, err := ParseDropIn(file, "[Service]\nNice=1\n"); err == nil {
			t.Errorf("%s was taken for a drop-in", file)
		}
	}
}
