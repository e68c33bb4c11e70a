package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

var dropInsOfSwitching = map[string]string{"/etc/systemd/system/x.service.d/a.conf": "[Service]\nNice=1\n"}

// switching is a unit that runs, and the request that is to replace its text.
func switching(t *testing.T) (*unitHost, *agentpb.PutUnitRequest) {
	t.Helper()
	h := newUnitHost(t)
	req := request()
	req.DropIns = dropInsOfSwitching
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	req.KeepPrevious, req.DropIns = true, nil
	req.Content = version("second")
	return h, req
}

func version(name string) string { return strings.Replace(unitText, "a test", name, 1) }

func (h *unitHost) settle(req *agentpb.PutUnitRequest, rollBack bool) *agentpb.SettleUnitResponse {
	h.t.Helper()
	resp, err := h.SettleUnit(h.t.Context(), &agentpb.SettleUnitRequest{Claim: req.GetClaim(), RollBack: rollBack})
	if err != nil {
		h.t.Fatal(err)
	}
	return resp
}

// records are the files that say what switches have replaced.
func (h *unitHost) records() int {
	h.t.Helper()
	files, err := os.ReadDir(filepath.Join(h.root, "state", "previous"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.t.Fatal(err)
	}
	return len(files)
}

func TestSwitchGoesBack(t *testing.T) {
	h, req := switching(t)
	before := h.files()
	h.mustPut(req, "reload", "restart x.service")
	h.wantFiles(map[string]string{"/etc/systemd/system/x.service": version("second")})
	back := h.settle(req, true)
	if !back.GetRolledBack() || back.GetStartFailure() != "" || back.GetState().GetContent() != unitText || !back.GetState().GetEnabled() {
		t.Errorf("settled: %v", back)
	}
	h.wantFiles(before)
	if jobs := strings.Join(h.systemd.jobs(), ", "); !strings.HasSuffix(jobs, "reload, restart x.service") {
		t.Errorf("systemd was asked for %q", jobs)
	}
	if h.records() != 0 {
		t.Error("what has come back is still kept")
	}
	if again := h.settle(req, true); again.GetRolledBack() {
		t.Errorf("it went back twice: %v", again)
	}
	owned, err := h.ListOwned(t.Context(), &agentpb.ListOwnedRequest{})
	if err != nil || len(owned.GetOwned()) != 1 || !owned.GetOwned()[0].GetComplete() || owned.GetOwned()[0].GetGeneration() != req.GetClaim().GetGeneration() {
		t.Errorf("owned: %v, %v", owned, err)
	}
}

func TestSwitchThatWorksForgetsWhatWasBefore(t *testing.T) {
	h, req := switching(t)
	h.mustPut(req, "reload", "restart x.service")
	if h.records() != 1 {
		t.Fatal("what was before isn't kept")
	}
	if done := h.settle(req, false); done.GetRolledBack() || done.GetState().GetContent() != version("second") {
		t.Errorf("settled: %v", done)
	}
	if h.records() != 0 {
		t.Error("what was before is still kept")
	}
}

// Whoever comes after a switch that was cut off may bring a third version. What comes back is the
// last that was seen to work.
func TestSwitchThatWasCutOffKeepsTheLastThatWorked(t *testing.T) {
	h, req := switching(t)
	h.mustPut(req, "reload", "restart x.service")
	req.Content = version("third")
	h.mustPut(req, "reload", "restart x.service")
	if back := h.settle(req, true); !back.GetRolledBack() || back.GetState().GetContent() != unitText {
		t.Errorf("settled: %v", back)
	}
}

// An update that fails to start is settled with the generation that its error tells.
func TestSwitchToWhatDoesNotStartGoesBack(t *testing.T) {
	h, req := switching(t)
	h.systemd.failStart = fault.New(agentpb.Reason_UNIT_FAILED, "it has failed")
	if _, err := h.PutUnit(t.Context(), req); err == nil {
		t.Fatal("it has started")
	}
	h.systemd.failStart = nil
	if back := h.settle(req, true); !back.GetRolledBack() || back.GetState().GetActiveState() != "active" || back.GetState().GetContent() != unitText {
		t.Errorf("settled: %v", back)
	}
}

func TestSwitchBackToWhatDoesNotStartIsTold(t *testing.T) {
	h, req := switching(t)
	h.mustPut(req, "reload", "restart x.service")
	h.systemd.failStart = fault.New(agentpb.Reason_UNIT_FAILED, "the old one has failed")
	if back := h.settle(req, true); !back.GetRolledBack() || !strings.Contains(back.GetStartFailure(), "the old one has failed") || back.GetState().GetContent() != unitText {
		t.Errorf("settled: %v", back)
	}
}

func TestNothingIsKeptWhereThereIsNothingToGoBackTo(t *testing.T) {
	for name, prepare := range map[string]func(*unitHost, *agentpb.PutUnitRequest){
		"the old one had failed":        func(h *unitHost, _ *agentpb.PutUnitRequest) { h.systemd.states["x.service"].Active = "failed" },
		"the old one was stopped":       func(h *unitHost, _ *agentpb.PutUnitRequest) { h.systemd.states["x.service"].Active = "inactive" },
		"the text is the same":          func(_ *unitHost, r *agentpb.PutUnitRequest) { r.Content, r.DropIns = unitText, dropInsOfSwitching },
		"the caller doesn't want it to": func(_ *unitHost, r *agentpb.PutUnitRequest) { r.KeepPrevious = false },
	} {
		t.Run(name, func(t *testing.T) {
			h, req := switching(t)
			prepare(h, req)
			if _, err := h.PutUnit(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			if n := h.records(); n != 0 {
				t.Errorf("%d are kept", n)
			}
			if back := h.settle(req, true); back.GetRolledBack() || back.GetState().GetContent() != req.GetContent() {
				t.Errorf("settled: %v", back)
			}
		})
	}
}

// A text that systemd refuses never replaces anything, so that nothing of it has to be undone.
func TestRefusedSwitchKeepsNothing(t *testing.T) {
	h, req := switching(t)
	h.systemd.badSetting = "second"
	if _, err := h.PutUnit(t.Context(), req); err == nil {
		t.Fatal("an odd text was not refused")
	}
	if h.records() != 0 {
		t.Error("something is kept of a switch that hasn't begun")
	}
}

func TestOnlyTheOwnerSettles(t *testing.T) {
	h, req := switching(t)
	h.mustPut(req, "reload", "restart x.service")
	for _, claim := range []*agentpb.Claim{
		{Kind: "SystemdUnit", Id: "x.service", Urn: "other", Stack: "stack", Generation: req.GetClaim().GetGeneration()},
		{Kind: "SystemdUnit", Id: "x.service", Urn: "urn", Stack: "stack", Generation: 1},
		{Kind: "SystemdUnit", Id: "y.service", Urn: "urn", Stack: "stack", Generation: 1},
	} {
		_, err := h.SettleUnit(t.Context(), &agentpb.SettleUnitRequest{Claim: claim, RollBack: true})
		if reason, _ := reasonOf(t, err); reason != "NOT_OWNED" {
			t.Errorf("%v: %v", claim, err)
		}
	}
	h.wantFiles(map[string]string{"/etc/systemd/system/x.service": version("second")})
}

func TestRemovalForgetsWhatWasBefore(t *testing.T) {
	h, req := switching(t)
	h.mustPut(req, "reload", "restart x.service")
	if _, err := h.Remove(t.Context(), &agentpb.RemoveRequest{Claim: req.GetClaim()}); err != nil {
		t.Fatal(err)
	}
	h.wantFiles(map[string]string{})
	if h.records() != 0 {
		t.Error("something is kept of a unit that is gone")
	}
}

// What an older process was started with can't be seen in the files any more.
func TestProcessThatIsOlderThanItsFiles(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	state := h.systemd.states["x.service"]
	observe := func() bool {
		t.Helper()
		seen, err := h.ObserveUnit(t.Context(), &agentpb.ObserveUnitRequest{Name: "x.service"})
		if err != nil {
			t.Fatal(err)
		}
		return seen.GetProcessOutdated()
	}
	state.Started = time.Now().Add(time.Hour)
	if observe() {
		t.Error("a process that is younger than its files is outdated")
	}
	h.mustPut(req)
	state.Started = time.Now().Add(-time.Hour)
	if !observe() {
		t.Error("a process that is older than its files is not outdated")
	}
	h.mustPut(req, "restart x.service")
	state.Active = "inactive"
	if observe() {
		t.Error("there is no process")
	}
}

// A file of another folder that comes first makes ours one that nobody reads.
func TestShadowIsNamed(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	h.mustPut(req, "enable x.service", "reload", "start x.service")
	h.write("/run/systemd/transient/x.service", "[Service]\nExecStart=/bin/false\n")
	seen, err := h.ObserveUnit(t.Context(), &agentpb.ObserveUnitRequest{Name: "x.service"})
	if err != nil || seen.GetShadowedBy() != "/run/systemd/transient/x.service" || seen.GetMasked() {
		t.Errorf("seen: %v, %v", seen, err)
	}
}
