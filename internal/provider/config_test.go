package provider_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

var providerURN = resource.NewURN("lab", "llmhost", "", "pulumi:providers:llmhost", "test")

func settings() resource.PropertyMap {
	return resource.PropertyMap{"hostId": str("desktop"), "address": str("10.0.0.1"), "jump": str("bastion"), "port": resource.NewProperty(22.0)}
}

// A moved host keeps its resources: a replaced provider would have the engine create all of
// them again and then delete what it has just created.
func TestOnlyTheHostsIdentityReplacesTheProvider(t *testing.T) {
	without := func(key resource.PropertyKey) resource.PropertyMap {
		m := settings()
		delete(m, key)
		return m
	}
	for name, test := range map[string]struct {
		now               resource.PropertyMap
		changes, replaces []resource.PropertyKey
	}{
		"nothing":       {settings(), nil, nil},
		"address":       {with(settings(), "address", str("10.0.0.2")), []resource.PropertyKey{"address"}, nil},
		"port":          {with(settings(), "port", resource.NewProperty(2222.0)), []resource.PropertyKey{"port"}, nil},
		"jump removed":  {without("jump"), []resource.PropertyKey{"jump"}, nil},
		"user added":    {with(settings(), "user", str("ops")), []resource.PropertyKey{"user"}, nil},
		"address later": {with(settings(), "address", unknown()), []resource.PropertyKey{"address"}, nil},
		"other host":    {with(settings(), "hostId", str("vps")), []resource.PropertyKey{"hostId"}, []resource.PropertyKey{"hostId"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, connectTo(t, newFakeAgent()))
			diff, err := s.provider.DiffConfig(t.Context(), plugin.DiffConfigRequest{
				URN: providerURN, OldInputs: settings(), OldOutputs: settings(), NewInputs: test.now, AllowUnknowns: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.changes, diff.ChangedKeys); d != "" {
				t.Errorf("changed settings (-want +got):\n%s", d)
			}
			if d := cmp.Diff(test.replaces, diff.ReplaceKeys); d != "" {
				t.Errorf("settings that replace (-want +got):\n%s", d)
			}
		})
	}
}

func TestCheckConfig(t *testing.T) {
	for name, test := range map[string]struct {
		in   resource.PropertyMap
		want string
	}{
		"good":               {settings(), ""},
		"local":              {resource.PropertyMap{"hostId": str("here"), "local": boolean(true)}, ""},
		"local as JSON":      {resource.PropertyMap{"hostId": str("here"), "local": str("true")}, ""},
		"no host":            {resource.PropertyMap{"address": str("a")}, "hostId: "},
		"nowhere":            {resource.PropertyMap{"hostId": str("a")}, "address: is required, unless local is true"},
		"both":               {with(settings(), "local", boolean(true)), "address: must not be set together with local"},
		"port out of range":  {with(settings(), "port", resource.NewProperty(70000.0)), "port: must be between 1 and 65535"},
		"address is unknown": {with(settings(), "address", unknown()), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, connectTo(t, newFakeAgent()))
			resp, err := s.provider.CheckConfig(t.Context(), plugin.CheckConfigRequest{URN: providerURN, News: test.in, AllowUnknowns: true})
			if err != nil {
				t.Fatal(err)
			}
			got := checkError(resp.Failures).Error()
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("failures %q, want %q", got, test.want)
			}
		})
	}
}

// A setting that was removed is gone, also when one provider is asked twice.
func TestRemovedSettingDoesNotSurvive(t *testing.T) {
	var dialled remote.Target
	s := newStackWith(t, func(_ context.Context, target remote.Target) (provider.Host, error) {
		dialled = target
		return nil, errors.New("far enough")
	})
	if _, err := s.provider.CheckConfig(t.Context(), plugin.CheckConfigRequest{URN: providerURN, News: settings()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.up("SystemUser", "a", resource.PropertyMap{"name": str("llm-a")}); err == nil {
		t.Fatal("the dialer's error was swallowed")
	}
	want := remote.Target{HostID: "test", Address: "host.test"}
	if diff := cmp.Diff(want, dialled); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
}

func TestEachSettingReachesTheConnection(t *testing.T) {
	var dialled remote.Target
	s := &stack{t: t, log: &engineLog{}, states: map[string]*savedState{}}
	s.provider = servedProvider(t, s.log, func(_ context.Context, target remote.Target) (provider.Host, error) {
		dialled = target
		return nil, errors.New("far enough")
	})
	s.configure(resource.PropertyMap{
		"hostId": str("42"), "local": boolean(true), "address": str("10.0.0.1"), "port": resource.NewProperty(2222.0), "user": str("ops"),
		"identity": str("~/.ssh/id"), "knownHosts": str("/kh"), "hostKey": str("ssh-ed25519 AAAA"), "jump": str("bastion"), "stateDir": str("/s"),
	})
	if _, err := s.up("SystemUser", "a", userInputs()); err == nil {
		t.Fatal("the dialer's error was swallowed")
	}
	want := remote.Target{
		HostID: "42", Local: true, Address: "10.0.0.1", Port: 2222, User: "ops", Identity: "~/.ssh/id",
		KnownHosts: "/kh", HostKey: "ssh-ed25519 AAAA", Jump: "bastion", StateDir: "/s",
	}
	if diff := cmp.Diff(want, dialled); diff != "" {
		t.Errorf("target (-want +got):\n%s", diff)
	}
}

func TestConfigureDoesNotDial(t *testing.T) {
	newStackWith(t, func(context.Context, remote.Target) (provider.Host, error) {
		t.Error("Configure has dialled")
		return nil, errors.New("no")
	})
}
