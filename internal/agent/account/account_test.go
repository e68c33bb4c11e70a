package account

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

func database(t *testing.T) Database {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/bash\nllm-a:x:990:989:llmhost a:/nonexistent:/usr/sbin/nologin\n" +
			"bob:x:1000:1000:Bob,,,:/home/bob:/bin/zsh\nopen:x:1001:4711::/:/bin/sh\nstar:*:1002:0::/:/bin/sh\nabsent:x:1003:0::/:/bin/sh\nbroken line\n",
		"group":  "root:x:0:\nllm-a:x:989:\nrender:x:105:bob,llm-a\nadm:x:4:llm-a\nbob:x:1000:\n",
		"shadow": "root:*:1:0:99999:7:::\nllm-a:!:1::::::\nbob:$y$j9T$secret:1:0:99999:7:::\nopen::1::::::\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Database(dir)
}

func TestUsersAreRead(t *testing.T) {
	d := database(t)
	for name, want := range map[string]*User{
		"llm-a":  {Name: "llm-a", UID: 990, Group: "llm-a", Groups: []string{"adm", "render"}, Home: "/nonexistent", Shell: "/usr/sbin/nologin", Comment: "llmhost a", Locked: true},
		"bob":    {Name: "bob", UID: 1000, Group: "bob", Groups: []string{"render"}, Home: "/home/bob", Shell: "/bin/zsh", Comment: "Bob,,,"},
		"open":   {Name: "open", UID: 1001, Group: "4711", Home: "/", Shell: "/bin/sh"},
		"star":   {Name: "star", UID: 1002, Group: "root", Home: "/", Shell: "/bin/sh", Locked: true},
		"absent": {Name: "absent", UID: 1003, Group: "root", Home: "/", Shell: "/bin/sh", Locked: true},
		"nobody": nil,
	} {
		got, err := d.User(name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

func TestNamesAndNumbers(t *testing.T) {
	d := database(t)
	if id, found, err := d.UID("bob"); id != 1000 || !found || err != nil {
		t.Error(id, found, err)
	}
	if id, found, err := d.GID("render"); id != 105 || !found || err != nil {
		t.Error(id, found, err)
	}
	if id, found, err := d.UID("4242"); id != 4242 || !found || err != nil {
		t.Error(id, found, err)
	}
	for _, name := range []string{"eve", "", "-1", "4294967295", "4294967296"} {
		if id, found, err := d.UID(name); found || err != nil {
			t.Errorf("%q is user %d, %v", name, id, err)
		}
	}
	if name, err := d.UserName(1000); name != "bob" || err != nil {
		t.Error(name, err)
	}
	if name, err := d.GroupName(4711); name != "4711" || err != nil {
		t.Error(name, err)
	}
}

func TestHostileSpecsAreRefused(t *testing.T) {
	good := Spec{Name: "llm-a", Groups: []string{"render"}, Home: "/nonexistent", Shell: "/usr/sbin/nologin", Comment: "a server"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Spec){
		"an option as a name":   func(s *Spec) { s.Name = "--root=/tmp" },
		"a second line":         func(s *Spec) { s.Comment = "x\nroot2:x:0:0::/:/bin/sh" },
		"a second field":        func(s *Spec) { s.Shell = "/bin/sh:x" },
		"a relative home":       func(s *Spec) { s.Home = "home" },
		"a list as a group":     func(s *Spec) { s.Groups = []string{"a,sudo"} },
		"a name that is a path": func(s *Spec) { s.Name = "../x" },
		"no name":               func(s *Spec) { s.Name = "" },
		"a name of 33 letters":  func(s *Spec) { s.Name = "abcdefghijklmnopqrstuvwxyzabcdefg" },
	} {
		s := good
		change(&s)
		if fault.ReasonOf(s.Validate()) != agentpb.Reason_INVALID {
			t.Errorf("%s: %v", name, s.Validate())
		}
	}
}

func TestRunningProcessesAreFoundInAnyRoot(t *testing.T) {
	proc := t.TempDir()
	for pid, status := range map[string]string{
		"1": "Name:\tinit\nUid:\t0\t0\t0\t0\n", "77": "Name:\tllama-server\nUid:\t990\t990\t990\t990\n", "78": "Uid:\t0\t991\t991\t991\n", "self": "Uid:\t992\t992\t992\t992\n",
	} {
		if err := os.Mkdir(filepath.Join(proc, pid), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, pid, "status"), []byte(status), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(proc, "79"), 0o755); err != nil { // has ended
		t.Fatal(err)
	}
	for uid, want := range map[uint32]bool{990: true, 991: true, 992: false, 99: false} {
		if got, err := running(proc, uid); got != want || err != nil {
			t.Errorf("user %d: %v, %v", uid, got, err)
		}
	}
}
