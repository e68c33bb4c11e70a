package provider_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

const unitText = "[Unit]\nDescription=A server\n\n[Service]\nExecStart=/usr/bin/llama-server\n\n[Install]\nWantedBy=multi-user.target\n"

func unitInputs() resource.PropertyMap {
	return resource.PropertyMap{"name": str("llmhost-a.service"), "content": str(unitText)}
}

func readiness() resource.PropertyValue {
	return resource.NewProperty(resource.PropertyMap{
		"address": str("unix:/run/llmhost/a/llm.sock"), "model": str("tiny"),
	})
}

func TestUnitWithoutChangesIsLeftAlone(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemdUnit", "a", unitInputs(), "create")
	s.mustUp("SystemdUnit", "a", unitInputs(), "same")
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched unit: %v", got)
	}
	if agent.starts["llmhost-a.service"] != 1 {
		t.Errorf("the unit was started %d times, want once", agent.starts["llmhost-a.service"])
	}
	s.destroy("a")
	if agent.units["llmhost-a.service"] != nil {
		t.Error("the unit is still there after destroy")
	}
}

func TestUnitDrift(t *testing.T) {
	const file = "/etc/systemd/system/llmhost-a.service.d/limit.conf"
	for name, test := range map[string]struct {
		change func(u *agentpb.UnitState, a *fakeAgent)
		want   []string
	}{
		"edited text":     {func(u *agentpb.UnitState, _ *fakeAgent) { u.Content += "Nice=5\n" }, []string{"content"}},
		"disabled":        {func(u *agentpb.UnitState, _ *fakeAgent) { u.Enabled = false }, []string{"enabled"}},
		"masked":          {func(u *agentpb.UnitState, _ *fakeAgent) { u.Exists, u.Masked, u.Enabled = false, true, false }, []string{"enabled", "masked"}},
		"stopped":         {func(u *agentpb.UnitState, _ *fakeAgent) { u.ActiveState = "inactive" }, []string{"state"}},
		"failed":          {func(u *agentpb.UnitState, _ *fakeAgent) { u.ActiveState = "failed" }, []string{"state"}},
		"hangs":           {func(_ *agentpb.UnitState, a *fakeAgent) { a.unanswered["llmhost-a.service"] = "timeout" }, []string{"state"}},
		"foreign drop-in": {func(u *agentpb.UnitState, _ *fakeAgent) { u.DropIns = map[string]string{file: "[Service]\n"} }, []string{"dropIns"}},
		"a property at run time": {func(u *agentpb.UnitState, _ *fakeAgent) {
			u.DropIns = map[string]string{"/run/systemd/system.control/llmhost-a.service.d/50-MemoryMax.conf": "# by systemctl\n[Service]\nMemoryMax=64G\n"}
		}, []string{"runtimeProperties"}},
		"shadowed":               {func(u *agentpb.UnitState, _ *fakeAgent) { u.ShadowedBy = "/run/systemd/transient/llmhost-a.service" }, []string{"shadowedBy"}},
		"not read since":         {func(u *agentpb.UnitState, _ *fakeAgent) { u.NeedDaemonReload = true }, []string{"outdated"}},
		"a process of old files": {func(u *agentpb.UnitState, _ *fakeAgent) { u.ProcessOutdated = true }, []string{"outdated"}},
		"another spelling is no drift": {func(u *agentpb.UnitState, _ *fakeAgent) {
			u.Content = "# by hand\n" + strings.Replace(u.Content, "=", " = ", 1)
		}, nil},
		"trailing whitespace is no drift": {func(u *agentpb.UnitState, _ *fakeAgent) {
			u.Content = strings.ReplaceAll(u.Content, "\n", " \t\n") + "\n\n"
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			agent := newFakeAgent()
			agent.readiness["llmhost-a.service"] = []*agentpb.ReadyEvent{{Done: true, Ready: true}}
			s := newStack(t, connectTo(t, agent))
			in := with(unitInputs(), "readiness", readiness())
			s.mustUp("SystemdUnit", "a", in, "create")
			test.change(agent.units["llmhost-a.service"], agent)
			got := topLevel(s.drift("a"))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("drift (-want +got):\n%s", diff)
			}
			if test.want == nil {
				return
			}
			s.refresh("a")
			delete(agent.unanswered, "llmhost-a.service")
			s.mustUp("SystemdUnit", "a", in, "update")
			if got := s.drift("a"); got != nil {
				t.Errorf("drift after the repair: %v", got)
			}
		})
	}
}

func TestUnitThatHangsIsRestarted(t *testing.T) {
	agent := newFakeAgent()
	agent.readiness["llmhost-a.service"] = []*agentpb.ReadyEvent{{Done: true, Ready: true}}
	s := newStack(t, connectTo(t, agent))
	in := with(unitInputs(), "readiness", readiness())
	s.mustUp("SystemdUnit", "a", in, "create")
	agent.unanswered["llmhost-a.service"] = "timeout"
	s.refresh("a")
	s.mustUp("SystemdUnit", "a", in, "update")
	if n := agent.starts["llmhost-a.service"]; n != 2 {
		t.Errorf("started %d times, want 2", n)
	}
}

func TestUnitRestartsWhenWhatItUsesChanges(t *testing.T) {
	agent := newFakeAgent()
	s := newStack(t, connectTo(t, agent))
	on := func(digest string) resource.PropertyMap {
		return with(unitInputs(), "restartOn", resource.NewProperty(resource.PropertyMap{"model": str(digest)}))
	}
	s.mustUp("SystemdUnit", "a", on("one"), "create")
	s.mustUp("SystemdUnit", "a", with(on("one"), "enabled", boolean(false)), "update")
	if n := agent.starts["llmhost-a.service"]; n != 1 {
		t.Errorf("started %d times after a change that needs no restart, want 1", n)
	}
	s.mustUp("SystemdUnit", "a", on("two"), "update")
	if n := agent.starts["llmhost-a.service"]; n != 2 {
		t.Errorf("started %d times after its model has changed, want 2", n)
	}
	if agent.units["llmhost-a.service"].GetEnabled() != true {
		t.Error("the unit isn't enabled again")
	}
}

// A unit that is installed and doesn't work is half a success: it is in the state with the
// reasons, and the next run repairs it.
func TestUnitHalfASuccess(t *testing.T) {
	const name = "llmhost-a.service"
	for what, test := range map[string]struct {
		breakIt, fixIt func(a *fakeAgent)
		want           string
	}{
		"systemd can't start it": {
			func(a *fakeAgent) { a.failStart[name] = "line one\nout of memory\n" },
			func(a *fakeAgent) {
				delete(a.failStart, name)
				a.readiness[name] = []*agentpb.ReadyEvent{{Done: true, Ready: true}}
			},
			"out of memory",
		},
		"its server doesn't answer": {
			func(a *fakeAgent) {
				a.readiness[name] = []*agentpb.ReadyEvent{{Progress: "loading the model"}, {Done: true, Reasons: []string{"no answer within 300 s"}}}
			},
			func(a *fakeAgent) { a.readiness[name] = []*agentpb.ReadyEvent{{Done: true, Ready: true}} },
			"no answer within 300 s",
		},
		"the connection is cut while waiting": {
			func(a *fakeAgent) {
				a.waitEnds = status.Error(codes.Unavailable, "the connection to the host was lost")
			},
			func(a *fakeAgent) {
				a.waitEnds, a.readiness[name] = nil, []*agentpb.ReadyEvent{{Done: true, Ready: true}}
			},
			"the connection to the host was lost",
		},
	} {
		t.Run(what, func(t *testing.T) {
			agent := newFakeAgent()
			s := newStack(t, connectTo(t, agent))
			in := with(unitInputs(), "readiness", readiness())
			test.breakIt(agent)
			_, err := s.up("SystemdUnit", "a", in)
			var half *plugin.InitError
			if !errors.As(err, &half) {
				t.Fatalf("want half a success, got %v", err)
			}
			if got := strings.Join(half.Reasons, "\n"); !strings.Contains(got, test.want) || strings.Contains(got, "rpc error") {
				t.Errorf("reasons %q, want %q in them and no transport's words", got, test.want)
			}
			saved := s.states["a"]
			if saved == nil || saved.id != name || !saved.outputs["generation"].IsString() {
				t.Fatalf("the unit isn't in the state: %+v", saved)
			}
			test.fixIt(agent)
			repaired := s.mustUp("SystemdUnit", "a", in, "update")
			if len(repaired.initErrors) > 0 {
				t.Errorf("still broken: %v", repaired.initErrors)
			}
			s.destroy("a")
			if agent.units[name] != nil {
				t.Error("destroy has left the unit")
			}
		})
	}
}

// A start that systemd has accepted can fail a moment later: the unit is then failed when the
// agent looks, and its last lines say why.
func TestUnitThatFailsRightAfterItsStart(t *testing.T) {
	agent := newFakeAgent()
	agent.failsLater["llmhost-a.service"] = []string{"cannot open the model"}
	s := newStack(t, connectTo(t, agent))
	_, err := s.up("SystemdUnit", "a", unitInputs())
	var half *plugin.InitError
	if !errors.As(err, &half) || !strings.Contains(err.Error(), "cannot open the model") {
		t.Errorf("want half a success with the journal, got %v", err)
	}
	delete(agent.failsLater, "llmhost-a.service")
	s.mustUp("SystemdUnit", "a", unitInputs(), "update")
}

func TestUnitProgressIsShown(t *testing.T) {
	agent := newFakeAgent()
	agent.readiness["llmhost-a.service"] = []*agentpb.ReadyEvent{{Progress: "loading the model, 40 %"}, {Done: true, Ready: true}}
	s := newStack(t, connectTo(t, agent))
	s.mustUp("SystemdUnit", "a", with(unitInputs(), "readiness", readiness()), "create")
	if !strings.Contains(s.log.text(), "llmhost-a.service: loading the model, 40 %") {
		t.Errorf("no progress in the log:\n%s", s.log.text())
	}
}

func TestUnitCheck(t *testing.T) {
	for name, test := range map[string]struct {
		key  string
		v    resource.PropertyValue
		want string
	}{
		"no suffix":         {"name", str("llama"), "name: must end in .service"},
		"device":            {"name", str("sda.device"), "name: must end in .service"},
		"path in name":      {"name", str("../x.service"), "isn't a unit name"},
		"template":          {"name", str("x@.service"), "is a template"},
		"no unit file":      {"content", str("[Service\nExecStart=/x\n"), "content: content isn't a unit file"},
		"empty":             {"content", str("hello"), "stands before any section such as [Service]"},
		"unknown state":     {"state", str("paused"), "state: must be running or stopped"},
		"masked":            {"masked", boolean(true), "masked: must be false"},
		"foreign drop-in":   {"dropIns", resource.NewProperty(resource.PropertyMap{"/etc/systemd/system/b.service.d/x.conf": str("[Service]\n")}), "must be a .conf file in"},
		"open to the net":   {"readiness", resource.NewProperty(resource.PropertyMap{"address": str("http://x"), "model": str("m")}), "address must be unix:"},
		"endless readiness": {"readiness", resource.NewProperty(resource.PropertyMap{"address": str("tcp:127.0.0.1:1"), "model": str("m"), "timeoutSeconds": resource.NewProperty(-1.0)}), "timeoutSeconds must be between"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, connectTo(t, newFakeAgent()))
			_, err := s.up("SystemdUnit", "a", with(unitInputs(), test.key, test.v))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// topLevel are the properties that differ, without the places inside them.
func topLevel(paths []string) []string {
	var out []string
	for _, p := range paths {
		p, _, _ = strings.Cut(p, "[")
		p, _, _ = strings.Cut(p, ".")
		if len(out) == 0 || out[len(out)-1] != p {
			out = append(out, p)
		}
	}
	return out
}
