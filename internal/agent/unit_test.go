package agent

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// fakeSystemd is a systemd that isn't there. It knows which unit files it has read and what
// was asked of it. Whether the real one does what these tests assume is tested in a VM.
type fakeSystemd struct {
	files systemd.Files

	mu         sync.Mutex
	states     map[string]*systemd.State
	done       []string
	failStart  error
	noJobs     error // jobs end with this and have no effect
	failReload error
	badSetting string // the load state of units with this in their text is bad-setting
}

func (f *fakeSystemd) Available() bool { return true }

func (f *fakeSystemd) did(what string) {
	f.done = append(f.done, what)
}

func (f *fakeSystemd) state(name string) *systemd.State {
	s := f.states[name]
	if s == nil {
		s = &systemd.State{Load: "not-found", Active: "inactive"}
		f.states[name] = s
	}
	return s
}

func (f *fakeSystemd) State(_ context.Context, name string) (*systemd.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := *f.state(name)
	return &s, nil
}

func (f *fakeSystemd) Reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("reload")
	if f.failReload != nil {
		return f.failReload
	}
	for name, s := range f.states {
		s.NeedsReload = false
		s.Load, s.FragmentPath, s.LoadError = "not-found", "", ""
		if c, err := f.files.Load(name); err == nil && c.Exists() {
			s.Load, s.FragmentPath = "loaded", systemd.UnitPath(name)
			if f.badSetting != "" && strings.Contains(c.Unit.Content, f.badSetting) {
				s.Load, s.LoadError = "bad-setting", "Unit is odd."
			}
		}
	}
	return nil
}

func (f *fakeSystemd) change(what, name string, err error, set func(*systemd.State)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did(what + " " + name)
	set(f.state(name))
	return err
}

func (f *fakeSystemd) Enable(_ context.Context, name string) error {
	return f.change("enable", name, nil, func(s *systemd.State) { s.Enabled = true })
}

func (f *fakeSystemd) Disable(_ context.Context, name string) error {
	return f.change("disable", name, nil, func(s *systemd.State) { s.Enabled = false })
}

func (f *fakeSystemd) run(what, name string) error {
	if f.noJobs != nil {
		return f.noJobs
	}
	return f.change(what, name, f.failStart, func(s *systemd.State) {
		s.Active, s.Sub = "active", "running"
		if f.failStart != nil {
			s.Active, s.Sub, s.Result = "failed", "failed", "exit-code"
		}
	})
}

func (f *fakeSystemd) Start(_ context.Context, name string) error   { return f.run("start", name) }
func (f *fakeSystemd) Restart(_ context.Context, name string) error { return f.run("restart", name) }

func (f *fakeSystemd) Stop(_ context.Context, name string) error {
	return f.change("stop", name, nil, func(s *systemd.State) { s.Active, s.Sub = "inactive", "dead" })
}

func (f *fakeSystemd) ResetFailed(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.state(name); s.Active == "failed" {
		s.Active = "inactive"
		f.did("reset " + name)
	}
	return nil
}

// jobs returns what was asked since it was last called.
func (f *fakeSystemd) jobs() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := f.done
	f.done = nil
	return done
}

// unitHost is an agent over a fake systemd and a root directory of its own.
type unitHost struct {
	agentpb.AgentClient
	t       *testing.T
	root    string
	systemd *fakeSystemd
}

func newUnitHost(t *testing.T) *unitHost {
	t.Helper()
	root := t.TempDir()
	files := systemd.Files{Root: root}
	h := &unitHost{t: t, root: root, systemd: &fakeSystemd{files: files, states: map[string]*systemd.State{}}}
	s := NewServer(Options{StateDir: filepath.Join(root, "state")})
	s.systemd, s.unitFiles = h.systemd, files
	s.journal = func(_ context.Context, unit string) []string { return []string{"last words of " + unit} }
	g := grpc.NewServer()
	agentpb.RegisterAgentServer(g, s)
	listener := bufconn.Listen(1 << 20)
	go g.Serve(listener)
	conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); g.Stop(); s.Close() })
	h.AgentClient = agentpb.NewAgentClient(conn)
	if _, err := h.AcquireLease(t.Context(), &agentpb.AcquireLeaseRequest{SessionId: "s", Holder: "test"}); err != nil {
		t.Fatal(err)
	}
	return h
}

const unitText = "[Unit]\nDescription=a test\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"

func request() *agentpb.PutUnitRequest {
	return &agentpb.PutUnitRequest{
		Claim:   &agentpb.Claim{Kind: "SystemdUnit", Id: "x.service", Urn: "urn", Stack: "stack"},
		Content: unitText, Enabled: true, Running: true,
	}
}

func (h *unitHost) mustPut(req *agentpb.PutUnitRequest, wantJobs ...string) *agentpb.PutUnitResponse {
	h.t.Helper()
	resp, err := h.PutUnit(h.t.Context(), req)
	if err != nil {
		h.t.Fatal(err)
	}
	if jobs := h.systemd.jobs(); !slices.Equal(jobs, wantJobs) {
		h.t.Errorf("systemd was asked for %q, want %q", jobs, wantJobs)
	}
	return resp
}

// files lists all below /etc/systemd and /run/systemd.
func (h *unitHost) files() map[string]string {
	h.t.Helper()
	found := map[string]string{}
	for _, dir := range []string{"etc/systemd", "run/systemd"} {
		filepath.WalkDir(filepath.Join(h.root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			name := strings.TrimPrefix(path, h.root)
			if target, err := os.Readlink(path); err == nil {
				found[name] = "-> " + target
				return nil
			}
			content, err := os.ReadFile(path)
			if err != nil {
				h.t.Error(err)
			}
			found[name] = string(content)
			return nil
		})
	}
	return found
}

func (h *unitHost) wantFiles(want map[string]string) {
	h.t.Helper()
	if got := h.files(); !maps.Equal(got, want) {
		h.t.Errorf("files are %q, want %q", got, want)
	}
}

func (h *unitHost) write(path, content string) {
	h.t.Helper()
	path = filepath.Join(h.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *unitHost) link(path, target string) {
	h.t.Helper()
	h.write(path, "")
	path = filepath.Join(h.root, path)
	if err := os.Remove(path); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		h.t.Fatal(err)
	}
}

func TestUnitIsInstalledChangedAndRemoved(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	put := h.mustPut(req, "enable x.service", "reload", "start x.service")
	if !put.GetChanged() || put.GetState().GetActiveState() != "active" || !put.GetState().GetEnabled() || put.GetState().GetContent() != unitText {
		t.Errorf("put: %v", put)
	}
	h.wantFiles(map[string]string{"/etc/systemd/system/x.service": unitText})

	req.Claim.Generation = put.GetGeneration()
	if again := h.mustPut(req); again.GetChanged() {
		t.Errorf("again: %v", again)
	}
	req.Restart = true
	h.mustPut(req, "restart x.service")
	req.Restart = false
	req.Content = strings.Replace(unitText, "a test", "another", 1)
	h.mustPut(req, "reload", "restart x.service")
	req.Enabled, req.Running = false, false
	h.mustPut(req, "disable x.service", "reload", "stop x.service")

	gone, err := h.Remove(t.Context(), &agentpb.RemoveRequest{Claim: req.Claim})
	if err != nil || !gone.GetRemoved() {
		t.Fatal(gone, err)
	}
	h.wantFiles(map[string]string{})
}

// Any unit's being enabled makes every unit look out of date until the next reload.
func TestUnitThatLooksOutOfDateIsNotRestarted(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	h.systemd.states["x.service"].NeedsReload = true
	if again := h.mustPut(req, "reload"); again.GetChanged() {
		t.Errorf("again: %v", again)
	}
}

// A deployment that ends between a unit's new text and its restart leaves a process of the old
// text, which nothing but the ledger tells from one of the new.
func TestRestartThatWasCutOffIsMadeUpFor(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	req.Content = strings.Replace(unitText, "a test", "another", 1)
	h.systemd.noJobs = context.Canceled
	if _, err := h.PutUnit(t.Context(), req); err == nil {
		t.Fatal("a restart that did not happen is no error")
	}
	h.systemd.noJobs = nil
	h.systemd.jobs()
	h.mustPut(req, "disable x.service", "enable x.service", "reload", "restart x.service")
	h.mustPut(req)
}

// The process is still that of the text that was put back.
func TestRefusedTextDoesNotRestartTheOldOne(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	h.systemd.badSetting = "odd"
	req.Content = strings.Replace(unitText, "a test", "odd", 1)
	if _, err := h.PutUnit(t.Context(), req); err == nil {
		t.Fatal("an odd text was not refused")
	}
	h.systemd.jobs()
	req.Content = unitText
	if again := h.mustPut(req); again.GetChanged() {
		t.Errorf("again: %v", again)
	}
}

func TestRefusedAdoptionTakesNothing(t *testing.T) {
	h := newUnitHost(t)
	h.write("/etc/systemd/system/x.service", "[Service]\nExecStart=/bin/theirs\n")
	before := h.files()
	h.systemd.badSetting = "a test"
	req := request()
	req.Claim.Adopt = true
	if _, err := h.PutUnit(t.Context(), req); err == nil {
		t.Fatal("an odd text was not refused")
	}
	h.wantFiles(before)
	req.Claim.Adopt = false
	_, err := h.PutUnit(t.Context(), req)
	if reason, _ := reasonOf(t, err); reason != "NOT_OWNED" {
		t.Errorf("the unit was taken all the same: %v", err)
	}
}

func TestLinksOfAnOldInstallSectionAreRemoved(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	req.Content = strings.Replace(unitText, "multi-user.target", "graphical.target", 1)
	h.mustPut(req, "disable x.service", "enable x.service", "reload", "restart x.service")
}

func TestForeignDropInsAndShadowsAreSeenAndRemoved(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.DropIns = map[string]string{"/etc/systemd/system/x.service.d/ours.conf": "[Service]\nMemoryMax=1G\n"}
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	installed := h.files()

	foreign := map[string]string{
		"/etc/systemd/system/x.service.d/loose.conf":                "[Service]\nProtectHome=no\n",
		"/run/systemd/system/x.service.d/loose.conf":                "[Service]\nProtectHome=no\n",
		"/etc/systemd/system.control/x.service.d/50-MemoryMax.conf": "[Service]\nMemoryMax=9G\n",
		"/run/systemd/system.control/x.service.d/50-MemoryMax.conf": "[Service]\nMemoryMax=8G\n",
		"/run/systemd/transient/x.service.d/50-A.conf":              "[Service]\nMemoryMax=7G\n",
	}
	for path, text := range foreign {
		h.write(path, text)
	}
	h.link("/etc/systemd/system/x.service.d/link.conf", "/etc/shadow")
	h.write("/run/systemd/transient/x.service", "[Service]\n")
	h.write("/etc/systemd/system/x.service.d/README", "systemd doesn't read this")

	seen, err := h.ObserveUnit(t.Context(), &agentpb.ObserveUnitRequest{Name: "x.service"})
	if err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(foreign)
	maps.Copy(want, req.DropIns)
	want["/etc/systemd/system/x.service.d/link.conf"] = "<link to /etc/shadow>"
	if !maps.Equal(seen.GetDropIns(), want) {
		t.Errorf("seen drop-ins: %q", seen.GetDropIns())
	}
	h.mustPut(req, "reload", "restart x.service")
	installed["/etc/systemd/system/x.service.d/README"] = "systemd doesn't read this"
	h.wantFiles(installed)
}

func TestMaskedUnitIsUnmasked(t *testing.T) {
	for _, place := range []string{"/etc/systemd/system/x.service", "/run/systemd/system/x.service"} {
		t.Run(place, func(t *testing.T) {
			h := newUnitHost(t)
			req := request()
			req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
			h.link(place, "/dev/null")
			seen, err := h.ObserveUnit(t.Context(), &agentpb.ObserveUnitRequest{Name: "x.service"})
			if err != nil || !seen.GetMasked() {
				t.Errorf("seen: %v, %v", seen, err)
			}
			h.mustPut(req, "reload", "restart x.service")
			h.wantFiles(map[string]string{"/etc/systemd/system/x.service": unitText})
		})
	}
}

// reasonOf is the reason and the metadata of an error that came over gRPC.
func reasonOf(t *testing.T, err error) (string, map[string]string) {
	t.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason(), info.GetMetadata()
		}
	}
	t.Fatalf("no reason in %v", err)
	return "", nil
}

func TestForeignUnitIsRefused(t *testing.T) {
	for name, prepare := range map[string]func(*unitHost){
		"a file":           func(h *unitHost) { h.write("/etc/systemd/system/x.service", unitText) },
		"a mask":           func(h *unitHost) { h.link("/etc/systemd/system/x.service", "/dev/null") },
		"a transient unit": func(h *unitHost) { h.write("/run/systemd/transient/x.service", unitText) },
		"a drop-in":        func(h *unitHost) { h.write("/etc/systemd/system/x.service.d/theirs.conf", "[Service]\nNice=5\n") },
		"the distribution's unit": func(h *unitHost) {
			h.write("/usr/lib/systemd/system/x.service", unitText)
			h.systemd.state("x.service").FragmentPath = "/usr/lib/systemd/system/x.service"
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newUnitHost(t)
			prepare(h)
			before := h.files()
			_, err := h.PutUnit(t.Context(), request())
			if reason, _ := reasonOf(t, err); reason != "NOT_OWNED" {
				t.Errorf("got %v", err)
			}
			h.wantFiles(before)
			if jobs := h.systemd.jobs(); len(jobs) != 0 {
				t.Errorf("systemd was asked for %q", jobs)
			}
		})
	}
}

func TestRefusedTextLeavesTheOldOne(t *testing.T) {
	for name, test := range map[string]struct {
		prepare func(*fakeSystemd)
		text    string
		reason  string
	}{
		"by systemd-analyze": {func(*fakeSystemd) {}, strings.Replace(unitText, "ExecStart", "ProtectSystem=strickt\nExecStart", 1), "INVALID"},
		"by the load":        {func(f *fakeSystemd) { f.badSetting = "odd" }, strings.Replace(unitText, "a test", "odd", 1), "INVALID"},
		"by the reload":      {func(f *fakeSystemd) { f.failReload = fault.New(agentpb.Reason_UNIT_FAILED, "no") }, strings.Replace(unitText, "a test", "new", 1), "UNIT_FAILED"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newUnitHost(t)
			req := request()
			req.DropIns = map[string]string{"/etc/systemd/system/x.service.d/a.conf": "[Service]\nMemoryMax=1G\n"}
			req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
			h.write("/etc/systemd/system/x.service.d/by-hand.conf", "[Service]\nMemoryMax=2G\n")
			before := h.files()
			test.prepare(h.systemd)
			req.Content, req.DropIns = test.text, nil
			_, err := h.PutUnit(t.Context(), req)
			reason, metadata := reasonOf(t, err)
			if reason != test.reason || metadata["generation"] != "" {
				t.Errorf("got %v with %v", err, metadata)
			}
			h.wantFiles(before)
			if s := h.systemd.states["x.service"]; s.Active != "active" || !s.Enabled {
				t.Errorf("the unit is now %+v", s)
			}
			for _, job := range h.systemd.jobs() {
				if strings.HasPrefix(job, "start") || strings.HasPrefix(job, "stop") || strings.HasPrefix(job, "restart") {
					t.Errorf("the running unit was touched: %s", job)
				}
			}
		})
	}
}

func TestRefusedFirstTextLeavesNothing(t *testing.T) {
	h := newUnitHost(t)
	h.systemd.badSetting = "a test"
	_, err := h.PutUnit(t.Context(), request())
	if reason, _ := reasonOf(t, err); reason != "INVALID" {
		t.Errorf("got %v", err)
	}
	h.wantFiles(map[string]string{})
	owned, err := h.ListOwned(t.Context(), &agentpb.ListOwnedRequest{})
	if err != nil || len(owned.GetOwned()) != 0 {
		t.Errorf("owned: %v, %v", owned, err)
	}
}

func TestUnitThatDoesNotStartIsInstalledAndOwned(t *testing.T) {
	h := newUnitHost(t)
	h.systemd.failStart = fault.New(agentpb.Reason_UNIT_FAILED, "systemd could not start x.service: it has failed")
	req := request()
	_, err := h.PutUnit(t.Context(), req)
	reason, metadata := reasonOf(t, err)
	owned, listErr := h.ListOwned(t.Context(), &agentpb.ListOwnedRequest{})
	if listErr != nil || len(owned.GetOwned()) != 1 {
		t.Fatal(owned, listErr)
	}
	o := owned.GetOwned()[0]
	if reason != "UNIT_FAILED" || metadata["journal"] != "last words of x.service" || metadata["generation"] != fmt.Sprint(o.GetGeneration()) || !o.GetComplete() {
		t.Errorf("got %v with %v; owned %v", err, metadata, o)
	}
	h.wantFiles(map[string]string{"/etc/systemd/system/x.service": unitText})

	h.systemd.failStart = nil
	h.systemd.jobs()
	req.Claim.Generation = o.GetGeneration()
	h.mustPut(req, "reset x.service", "start x.service")
}

func TestRestartLoopIsBroken(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload", "start x.service").GetGeneration()
	h.systemd.states["x.service"].Active, h.systemd.states["x.service"].Sub = "activating", "auto-restart"
	h.mustPut(req, "restart x.service")
}

func TestStoppedUnitIsNotLeftFailed(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Running = false
	req.Claim.Generation = h.mustPut(req, "enable x.service", "reload").GetGeneration()
	h.systemd.states["x.service"].Active = "failed"
	if put := h.mustPut(req, "reset x.service"); put.GetState().GetActiveState() != "inactive" {
		t.Errorf("put: %v", put)
	}
}

// A unit that a timer or another unit starts may be in the middle of hours of work.
func TestUnitOnDemandIsNeitherStartedNorStopped(t *testing.T) {
	h := newUnitHost(t)
	req := request()
	req.Content, _, _ = strings.Cut(unitText, "[Install]")
	req.Enabled, req.Running, req.OnDemand = false, false, true
	req.Claim.Generation = h.mustPut(req, "reload").GetGeneration()
	s := h.systemd.states["x.service"]
	s.Active, s.Sub = "activating", "start"
	req.Content = strings.Replace(req.Content, "a test", "another", 1)
	h.mustPut(req, "reload")
	if s.Active != "activating" {
		t.Errorf("the unit that was at work is now %s", s.Active)
	}
	s.Active, s.Sub = "failed", "failed"
	if put := h.mustPut(req, "reset x.service"); put.GetState().GetActiveState() != "inactive" || !put.GetChanged() {
		t.Errorf("put: %v", put)
	}
}

func TestWhyARequiredUnitHasFailedIsTold(t *testing.T) {
	h := newUnitHost(t)
	h.systemd.noJobs = fault.New(agentpb.Reason_UNIT_FAILED, "systemd could not start x.service: a unit that it requires has failed")
	h.systemd.state("x.service").Requires = []string{"well.service", "check.service"}
	h.systemd.state("check.service").Active = "failed"
	_, err := h.PutUnit(t.Context(), request())
	reason, metadata := reasonOf(t, err)
	if want := "last words of check.service"; reason != "UNIT_FAILED" || metadata["journal"] != want {
		t.Errorf("got %v with %q", err, metadata["journal"])
	}
}

func TestOddUnitRequestsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*agentpb.PutUnitRequest){
		"a path as a name":                func(r *agentpb.PutUnitRequest) { r.Claim.Id = "../x.service" },
		"a drop-in elsewhere":             func(r *agentpb.PutUnitRequest) { r.DropIns = map[string]string{"/etc/passwd": "x"} },
		"enabled with nothing to install": func(r *agentpb.PutUnitRequest) { r.Content = "[Service]\nExecStart=/bin/true\n" },
	} {
		t.Run(name, func(t *testing.T) {
			h := newUnitHost(t)
			req := request()
			change(req)
			_, err := h.PutUnit(t.Context(), req)
			if reason, _ := reasonOf(t, err); reason != "INVALID" {
				t.Errorf("got %v", err)
			}
			h.wantFiles(map[string]string{})
		})
	}
}
