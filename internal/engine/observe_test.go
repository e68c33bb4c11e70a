package engine_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/drift"
)

func (p *project) tamper(path, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.host, "root", path), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *project) drift() drift.Report {
	p.t.Helper()
	r := p.must("drift")
	var report drift.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		p.t.Fatalf("%v\n%s", err, r.all())
	}
	return report
}

// Every difference is found under its property, secrets are masked, and nothing is written.
func TestObserve(t *testing.T) {
	t.Parallel()
	secret := "s3cret"
	p := newProject(t,
		note{Name: "a", Path: "a", Text: "one\ntwo", Parts: map[string]string{"x.y": "1"}},
		note{Name: "b", Path: "b", Text: "B", Secret: secret},
		note{Name: "c", Path: "c", Text: "C"},
		note{Name: "d", Path: "d", Text: "D"})
	p.up()
	if r := p.drift(); r.Drifted || len(r.Findings) != 0 {
		t.Fatalf("nothing was touched, and drift reports %+v", r)
	}
	p.tamper("a", "one\n2\n@x.y=2\n@new=3")
	p.tamper("b", "B\n!0ther")
	if err := os.Remove(filepath.Join(p.host, "root", "c")); err != nil {
		t.Fatal(err)
	}
	before, log := p.stateFiles(), p.log()
	r := p.must("drift")
	if strings.Contains(r.all(), secret) || strings.Contains(r.all(), "0ther") {
		t.Errorf("a secret is in the report:\n%s", r.all())
	}
	var report drift.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		t.Fatal(err)
	}
	const urn, typ = "urn:pulumi:dev::engine-test::test:index:Note::", "test:index:Note"
	changed := func(name, property string, want, have any) drift.Finding {
		return drift.Finding{URN: urn + name, Type: typ, Name: name, ID: name, Kind: drift.Changed, Property: property, Want: want, Have: have}
	}
	want := []drift.Finding{
		changed("a", "parts.new", nil, "3"),
		changed("a", `parts["x.y"]`, "1", "2"),
		changed("a", "text", "one\ntwo", "one\n2"),
		changed("b", "secret", drift.Secret, drift.OtherSecret),
		{URN: urn + "c", Type: typ, Name: "c", ID: "c", Kind: drift.Missing},
	}
	if diff := cmp.Diff(want, report.Findings); diff != "" {
		t.Errorf("findings (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff(before, p.stateFiles()); diff != "" {
		t.Errorf("drift wrote to the state:\n%s", diff)
	}
	if diff := cmp.Diff(log, p.log()); diff != "" {
		t.Errorf("drift wrote to the host:\n%s", diff)
	}
	p.must("up", "-s", "dev", "--yes", "--skip-preview", "--refresh")
	if r := p.drift(); r.Drifted {
		t.Errorf("after the repair drift reports %+v", r.Findings)
	}
}

// A host that can't be reached is an error, and never a deletion.
func TestObserveUnreachable(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	p.up()
	p.steer("unreachable")
	r := p.run("drift")
	if r.code != 1 || r.stdout != "" || strings.Count(r.stderr, "cannot reach the test host") != 1 {
		t.Errorf("drift of an unreachable host ended with %d:\n%s", r.code, r.all())
	}
}

// What a killed run was doing is not in the report, and that is said.
func TestObserveAfterAKill(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	// One at a time, or a could be pending, too.
	p.killed("late", "b", slices.Concat(upArgs, []string{"--parallel", "1"})...)
	before := p.stateFiles()
	r := p.must("drift")
	if !strings.Contains(r.stderr, "killed in the middle of 1 operation") {
		t.Errorf("the report does not say what it can't know:\n%s", r.all())
	}
	if diff := cmp.Diff(before, p.stateFiles()); diff != "" {
		t.Errorf("drift wrote to the state:\n%s", diff)
	}
}

// A resource that was declared since, or is no longer, is no drift: the state is what counts.
func TestObserveComparesWithTheState(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	p.up()
	p.declare(note{Name: "b", Path: "b", Text: "edited"}, note{Name: "c", Path: "c", Text: "C"})
	if r := p.drift(); r.Drifted {
		t.Errorf("an edited declaration is reported as drift: %+v", r.Findings)
	}
	p.tamper("a", "tampered")
	if r := p.drift(); len(r.Findings) != 1 || r.Findings[0].ID != "a" {
		t.Errorf("what is no longer declared, but still deployed, is not looked at: %+v", r.Findings)
	}
}

// What is deployed is what the state says, with what a killed run may have begun; the host isn't asked.
func TestDeployed(t *testing.T) {
	t.Parallel()
	p := newProject(t, note{Name: "a", Path: "a", Text: "A"})
	if got := p.must("deployed").stdout; got != "" {
		t.Errorf("before the first deployment: %q", got)
	}
	p.up()
	p.declare(note{Name: "a", Path: "a", Text: "A"}, note{Name: "b", Path: "b", Text: "B"})
	p.killed("late", "b", upArgs...)
	p.steer("unreachable")
	const want = "test:index:Note a a\ntest:index:Note b b\n"
	if got := p.must("deployed").stdout; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
