package provider_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/requirements"
)

var kinds = []string{"AppArmorProfile", "AuditRules", "ComposeProject", "Credential", "Directory", "Engine", "EngineRoot", "File", "Firewall", "Image", "Model", "Package", "Program", "Quadlet", "SshdConfig", "SystemUser", "SystemdUnit", "Venv"}

const (
	digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

const requirementsA = "a==1 --hash=sha256:" + digestA

// Two public keys whose private halves nobody has.
const (
	publicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe5YRvlRDhbHOTj1a4K2VtajbnTxa
DYIW/Eks7BkQBZ9/q21ayAk0bI87pdcjKB2bB96pNP8xQZICGJdDAgDJxw==
-----END PUBLIC KEY-----
`
	otherPublicKey = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEL5CllWYhLvNjdVg5OzDjyVRu6BKw
j32+AUDanYbZeEouX4+Cg1Btobx2MDstmxtzA7ZVoQA73pIS59PyJjhatg==
-----END PUBLIC KEY-----
`
)

// sample is a valid resource of a kind with every input set, and for each input another value.
// A test below demands that no input is missing here.
func sample(kind string) (inputs, other resource.PropertyMap) {
	list := func(s ...string) resource.PropertyValue {
		var l []resource.PropertyValue
		for _, e := range s {
			l = append(l, str(e))
		}
		return resource.NewProperty(l)
	}
	object := func(k, v string) resource.PropertyValue {
		return resource.NewProperty(resource.PropertyMap{resource.PropertyKey(k): str(v)})
	}
	attributes := func(in, other resource.PropertyMap) (resource.PropertyMap, resource.PropertyMap) {
		maps.Copy(in, resource.PropertyMap{"mode": str("0600"), "owner": str("root"), "group": str("root"), "adopt": boolean(false)})
		maps.Copy(other, resource.PropertyMap{"mode": str("0640"), "owner": str("ops"), "group": str("ops"), "adopt": boolean(true)})
		return in, other
	}
	switch kind {
	case "Credential":
		return resource.PropertyMap{
				"path": str("/etc/llmhost/credentials/a"), "content": secret("a"), "encrypted": boolean(true), "secret": str("a"), "created": str("2026-01-01T00:00:00Z"),
				"maxAgeSeconds": resource.NewProperty(0.0), "expires": str(""), "condition": str("intact"), "validity": str("valid"), "adopt": boolean(false)},
			resource.PropertyMap{
				"path": str("/etc/llmhost/credentials/b"), "content": secret("b"), "encrypted": boolean(false), "secret": str("b"), "created": str("2026-02-01T00:00:00Z"),
				"maxAgeSeconds": resource.NewProperty(3600.0), "expires": str("2026-03-01T00:00:00Z"), "condition": str("not encrypted"), "validity": str("too old"), "adopt": boolean(true)}
	case "Directory":
		return attributes(resource.PropertyMap{"path": str("/srv/a")}, resource.PropertyMap{"path": str("/srv/b")})
	case "File":
		return attributes(resource.PropertyMap{"path": str("/etc/a"), "content": str("a"), "guard": boolean(false)},
			resource.PropertyMap{"path": str("/etc/b"), "content": str("b"), "secretContent": secret("s"), "guard": boolean(true)})
	case "Model":
		return attributes(resource.PropertyMap{
			"path": str("/srv/a.gguf"), "sha256": str(digestA), "source": str("/models/a"), "folder": boolean(false),
			"download": str("host"), "hub": str("https://hub.test"), "token": secret("a"), "allowPickle": boolean(false),
			"publicKey": str(publicKey), "role": str("model"), "signature": str("/models/a.sig"), "verified": boolean(true)},
			resource.PropertyMap{
				"path": str("/srv/b.gguf"), "sha256": str(digestB), "source": str("/models/b"), "folder": boolean(true),
				"download": str("here"), "hub": str("https://other.test"), "token": secret("b"), "allowPickle": boolean(true),
				"publicKey": str(otherPublicKey), "role": str("lora"), "signature": str("/models/b.sig"), "verified": boolean(false)})
	case "Engine":
		return resource.PropertyMap{"sha256": str(digestA), "root": str("/opt/a"), "source": str("/e/a.tar"), "modifiedFiles": list(), "adopt": boolean(false)},
			resource.PropertyMap{"sha256": str(digestB), "root": str("/opt/b"), "source": str("/e/b.tar"), "modifiedFiles": list("usr/bin/x"), "adopt": boolean(true)}
	case "EngineRoot":
		return resource.PropertyMap{"path": str("/opt/a"), "modifiedFiles": list(), "adopt": boolean(false)},
			resource.PropertyMap{"path": str("/opt/b"), "modifiedFiles": list("bin"), "adopt": boolean(true)}
	case "Package":
		return resource.PropertyMap{"name": str("llama.cpp-tools"), "packageVersion": str("8064+dfsg-1"), "hold": boolean(true), "modifiedFiles": list()},
			resource.PropertyMap{"name": str("llama.cpp"), "packageVersion": str("8065+dfsg-1"), "hold": boolean(false), "modifiedFiles": list("/usr/bin/llama-server")}
	case "Venv":
		return resource.PropertyMap{"sha256": str(requirements.Digest(requirementsA)), "root": str("/opt/a"), "requirements": str(requirementsA), "indexes": list("/srv/wheels"), "engineRoot": str("/opt/root"), "modifiedFiles": list(), "adopt": boolean(false)},
			resource.PropertyMap{"sha256": str(digestB), "root": str("/opt/b"), "requirements": str("b==1 --hash=sha256:" + digestB), "indexes": list("https://pypi.test/simple"), "engineRoot": str("/opt/other"), "modifiedFiles": list("bin/vllm"), "adopt": boolean(true)}
	case "Image":
		return resource.PropertyMap{"runtime": str("podman"), "user": str("llm-a"), "reference": str("sha256:" + digestA), "source": str("/i/a.tar"), "sha256": str(digestA)},
			resource.PropertyMap{"runtime": str("docker"), "user": str("root"), "reference": str("sha256:" + digestB), "source": str("/i/b.tar"), "sha256": str(digestB)}
	case "Quadlet":
		quadlet := func(name string) string {
			return "[Container]\nContainerName=" + name + "\nImage=sha256:" + digestA + "\n"
		}
		return resource.PropertyMap{
				"user": str("llm-a"), "name": str("llmhost-a"), "content": str(quadlet("llmhost-a")), "state": str("running"), "socketFolder": str("a"),
				"container": object("memory", "1"), "overrides": list(), "restartOn": object("model", "1"), "readiness": readiness(), "adopt": boolean(false)},
			resource.PropertyMap{
				"user": str("llm-b"), "name": str("llmhost-b"), "content": str(quadlet("llmhost-a") + "ReadOnly=true\n"), "state": str("stopped"), "socketFolder": str("b"),
				"container": object("memory", "2"), "overrides": list("/etc/x"), "restartOn": object("model", "2"), "adopt": boolean(true),
				"readiness": resource.NewProperty(resource.PropertyMap{"address": str("tcp:127.0.0.1:8002"), "model": str("tiny")})}
	case "Firewall", "AuditRules":
		in := resource.PropertyMap{"path": str("/etc/a"), "content": str("a"), "loaded": boolean(true), "changes": list(), "adopt": boolean(false)}
		other := resource.PropertyMap{"path": str("/etc/b"), "content": str("b"), "loaded": boolean(false), "changes": list("a rule"), "adopt": boolean(true)}
		if kind == "Firewall" {
			in["guard"], other["guard"] = boolean(true), boolean(false)
		}
		return in, other
	case "AppArmorProfile":
		return resource.PropertyMap{"path": str("/etc/apparmor.d/a"), "content": str("a"), "mode": str("enforce"), "changes": list(), "adopt": boolean(false)},
			resource.PropertyMap{"path": str("/etc/apparmor.d/b"), "content": str("b"), "mode": str("complain"), "changes": list("another"), "adopt": boolean(true)}
	case "SshdConfig":
		return resource.PropertyMap{"path": str("/etc/ssh/a"), "content": str("a"), "effective": object("port", "22"), "guard": boolean(true), "adopt": boolean(false)},
			resource.PropertyMap{"path": str("/etc/ssh/b"), "content": str("b"), "effective": object("port", "23"), "guard": boolean(false), "adopt": boolean(true)}
	case "Program":
		return resource.PropertyMap{"path": str("/usr/local/lib/a"), "release": str("1.0.0"), "current": boolean(true), "adopt": boolean(false)},
			resource.PropertyMap{"path": str("/usr/local/lib/b"), "release": str("2.0.0"), "current": boolean(false), "adopt": boolean(true)}
	case "ComposeProject":
		return resource.PropertyMap{
				"name": str("a"), "content": str("services: {}"), "accounts": object("A_UID", "user:llm-a"), "folders": object("/run/llmhost/a", "llm-a:llm-a"),
				"readiness": resource.NewProperty(resource.PropertyMap{"a": readiness()}), "differences": resource.NewProperty(resource.PropertyMap{}), "adopt": boolean(false)},
			resource.PropertyMap{
				"name": str("b"), "content": str("services: {a: {}}"), "accounts": object("A_UID", "user:llm-b"), "folders": object("/run/llmhost/a", "llm-a:llm-b"),
				"readiness":   resource.NewProperty(resource.PropertyMap{"b": readiness()}),
				"differences": object("a.memory", "1, and was made 2"), "adopt": boolean(true)}
	case "SystemUser":
		return resource.PropertyMap{"name": str("llm-a"), "home": str("/srv/a"), "shell": str("/bin/sh"), "comment": str("a"), "groups": list("video"), "locked": boolean(true), "containers": boolean(false), "lacks": list(), "adopt": boolean(false)},
			resource.PropertyMap{"name": str("llm-b"), "home": str("/srv/b"), "shell": str("/bin/bash"), "comment": str("b"), "groups": list("render"), "locked": boolean(false), "containers": boolean(true), "lacks": list("linger"), "adopt": boolean(true)}
	case "SystemdUnit":
		return resource.PropertyMap{
				"name": str("a.service"), "content": str(unitText), "enabled": boolean(true), "masked": boolean(false), "state": str("running"),
				"dropIns":      object("/etc/systemd/system/a.service.d/x.conf", "[Service]\nNice=1\n"),
				"alternatives": list("b.service"), "restartOn": object("model", "1"), "readiness": readiness(), "rollback": boolean(true), "adopt": boolean(false),
				"runtimeProperties": resource.NewProperty(resource.PropertyMap{}), "shadowedBy": str(""), "outdated": str(""), "exposure": resource.NewProperty(9.6)},
			resource.PropertyMap{
				"name": str("b.service"), "content": str(unitText + "Nice=1\n"), "enabled": boolean(false), "masked": boolean(true), "state": str("stopped"),
				"dropIns":      object("/etc/systemd/system/a.service.d/x.conf", "[Service]\nNice=2\n"),
				"alternatives": list("c.service"), "restartOn": object("model", "2"), "rollback": boolean(false), "adopt": boolean(true),
				"runtimeProperties": object("MemoryMax", "2"), "shadowedBy": str("/run/b"), "outdated": str("b"), "exposure": resource.NewProperty(1.2),
				"readiness": resource.NewProperty(resource.PropertyMap{"address": str("tcp:127.0.0.1:8002"), "model": str("tiny")})}
	}
	panic(fmt.Sprintf("no sample of a %s", kind))
}

// schemaInputs are the inputs of each kind, from the committed schema.
func schemaInputs(t *testing.T, kind string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "sdk", "schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Resources map[string]struct{ InputProperties map[string]any }
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Resources) != len(kinds) {
		t.Fatalf("the schema has %d resources, and these tests know %d", len(schema.Resources), len(kinds))
	}
	return slices.Sorted(maps.Keys(schema.Resources["llmhost:index:"+kind].InputProperties))
}

// changed is a sample with one input changed. A file has one content or the other.
func changed(kind, key string) (old, now resource.PropertyMap) {
	old, other := sample(kind)
	now = with(old, key, other[resource.PropertyKey(key)])
	if key == "secretContent" {
		delete(now, "content")
	}
	return old, now
}
