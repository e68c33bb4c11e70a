package provider_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"

	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

// replaceKeys are the inputs that make up a resource's identity.
var replaceKeys = map[string][]string{
	"Directory": {"path"}, "File": {"path"}, "Model": {"path"}, "Engine": {"sha256", "root"},
	"Program": {"path"}, "Image": {"runtime", "user", "reference"}, "SystemUser": {"name"}, "SystemdUnit": {"name"},
	"Credential": {"path"},
	"Quadlet":    {"user", "name"},
	"EngineRoot": {"path"}, "Package": {"name"}, "Venv": {"sha256", "root"},
	"ComposeProject": {"name"},
	"Firewall":       {"path"}, "SshdConfig": {"path"}, "AppArmorProfile": {"path"}, "AuditRules": {"path"},
}

// withoutDiff are the inputs whose change changes nothing on the host: where a file comes from
// doesn't say which file it is.
var withoutDiff = map[string][]string{"Model": {"source", "download", "hub", "token", "signature"}, "Engine": {"source"}, "Image": {"source", "sha256"}, "Venv": {"requirements", "indexes", "engineRoot"}}

// Every input of every resource takes part in the diff, so that none can be forgotten.
func TestEachInputIsCompared(t *testing.T) {
	for _, kind := range kinds {
		for _, key := range schemaInputs(t, kind) {
			t.Run(kind+"/"+key, func(t *testing.T) {
				old, now := changed(kind, key)
				if _, ok := now[resource.PropertyKey(key)]; !ok {
					t.Fatalf("the sample lacks %s: add it", key)
				}
				s := newStackWith(t, offline(t))
				diff, err := s.provider.Diff(t.Context(), plugin.DiffRequest{
					URN: urnOf(kind, "a"), ID: "a", OldInputs: old, OldOutputs: old, NewInputs: now})
				if err != nil {
					t.Fatal(err)
				}
				want := !slices.Contains(withoutDiff[kind], key)
				if got := slices.Contains(diff.ChangedKeys, resource.PropertyKey(key)); got != want {
					t.Errorf("a change of %s is a difference: %t, want %t", key, got, want)
				}
				replaces := slices.Contains(replaceKeys[kind], key)
				if diff.Replace() != replaces {
					t.Errorf("a change of %s replaces: %t, want %t", key, diff.Replace(), replaces)
				}
			})
		}
	}
}

// A preview in which any one input isn't known yet works, and has no connection.
func TestPreviewWithAnUnknownInput(t *testing.T) {
	for _, kind := range kinds {
		for _, key := range schemaInputs(t, kind) {
			t.Run(kind+"/"+key, func(t *testing.T) {
				s := newStackWith(t, offline(t))
				known, now := changed(kind, key)
				now[resource.PropertyKey(key)] = unknown()
				created := s.preview(kind, "a", now)
				if v := created[resource.PropertyKey(key)]; !v.ContainsUnknowns() {
					t.Errorf("the new resource's %s is shown as %v, and isn't known yet", key, v)
				}
				s.states["a"] = &savedState{urn: urnOf(kind, "a"), id: "a", inputs: known, outputs: known}
				if _, err := s.step(kind, "a", now, true, false); err != nil {
					t.Errorf("preview of the change: %v", err)
				}
			})
		}
	}
}

// What a preview knows it shows: the digest of a file and the folder of an engine.
func TestPreviewShowsWhatFollowsFromTheInputs(t *testing.T) {
	s := newStackWith(t, offline(t))
	engine, _ := sample("Engine")
	if got := s.preview("Engine", "e", engine)["path"]; !got.IsString() || got.StringValue() != "/opt/a/"+digestA {
		t.Errorf("path of a new engine: %v", got)
	}
	file, _ := sample("File")
	const sum = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" // of "a"
	if got := s.preview("File", "f", file)["sha256"]; !got.IsString() || got.StringValue() != sum {
		t.Errorf("sha256 of a new file: %v", got)
	}
	s.states["f"] = &savedState{urn: urnOf("File", "f"), id: "/etc/a", inputs: file, outputs: file}
	if got := s.preview("File", "f", with(file, "mode", str("0644")))["sha256"]; !got.IsString() || got.StringValue() != sum {
		t.Errorf("sha256 of a file whose mode changes: %v", got)
	}
	if got := s.preview("File", "f", with(file, "content", unknown()))["sha256"]; !got.IsComputed() {
		t.Errorf("sha256 of a content that isn't known yet: %v", got)
	}
	if got := s.preview("SystemUser", "u", userInputs())["generation"]; !got.IsComputed() {
		t.Errorf("generation of a new user: %v", got)
	}
}

// offline is a host that a preview must not dial.
func offline(t *testing.T) provider.Dialer {
	return func(context.Context, remote.Target) (provider.Host, error) {
		t.Error("a preview has dialled the host")
		return nil, errors.New("offline")
	}
}
