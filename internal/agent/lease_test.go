package agent_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/lease"
)

func TestChangesNeedTheLease(t *testing.T) {
	h := newHost(t)
	c := h.connect()
	_, err := c.PutFile(t.Context(), file(h.path("x"), ""))
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	_, err = c.PutDirectory(t.Context(), &agentpb.PutDirectoryRequest{Claim: claim("Directory", h.path("x")), Owner: me(), Group: myGroup()})
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	_, err = c.PutUser(t.Context(), &agentpb.PutUserRequest{Claim: claim("SystemUser", "llm-x")})
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	_, err = c.Remove(t.Context(), &agentpb.RemoveRequest{Claim: claim("File", h.path("x"))})
	wantReason(t, err, agentpb.Reason_LEASE_REQUIRED)
	if _, err = c.ObservePath(t.Context(), &agentpb.ObservePathRequest{Path: h.path("x")}); err != nil {
		t.Errorf("looking needs no lease: %v", err)
	}
}

func TestOneSessionAtATime(t *testing.T) {
	h := newHost(t)
	first := h.connectToChange("one")
	second := h.connect()
	meta := wantReason(t, second.lease("two", 0), agentpb.Reason_LEASE_HELD)
	if meta["holder"] != "holder of one" {
		t.Errorf("metadata %v", meta)
	}
	if err := first.lease("one", 0); err != nil {
		t.Errorf("asking again: %v", err)
	}
	again := make(chan error)
	go func() { again <- second.lease("two", 60) }()
	if err := first.ends(); err != nil {
		t.Fatal(err)
	}
	if err := <-again; err != nil {
		t.Errorf("after the end of the holder: %v", err)
	}
}

func TestAgentsOfOneSessionShareTheLease(t *testing.T) {
	h := newHost(t)
	control := h.connectToChange("one")
	bulk := h.connectToChange("one")
	if err := control.ends(); err != nil {
		t.Fatal(err)
	}
	// The session goes on as long as one of its agents does.
	other := h.connect()
	wantReason(t, other.lease("two", 0), agentpb.Reason_LEASE_HELD)
	if err := bulk.ends(); err != nil {
		t.Fatal(err)
	}
	if err := other.lease("two", 0); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
}

func TestJoiningNeverTakesAFreeLease(t *testing.T) {
	dir := t.TempDir()
	wantFault(t, lease.At(dir).Join("one"), agentpb.Reason_LEASE_REQUIRED)
	held := lease.At(dir)
	if err := held.Acquire(t.Context(), "one", "me", 0); err != nil {
		t.Fatal(err)
	}
	wantFault(t, lease.At(dir).Join("two"), agentpb.Reason_LEASE_HELD)
	wantFault(t, lease.At(dir).Join(""), agentpb.Reason_LEASE_REQUIRED)
	bulk := lease.At(dir)
	if err := bulk.Join("one"); err != nil {
		t.Error(err)
	}
	held.Release(func() { t.Error("another agent of the session still works") })
	last := false
	bulk.Release(func() { last = true })
	if !last {
		t.Error("the last agent of the session was not told")
	}
	// The file still names the session, and nobody holds it.
	wantFault(t, lease.At(dir).Join("one"), agentpb.Reason_LEASE_REQUIRED)
}

// A killed process gives nothing back itself.
func TestLeaseEndsWithItsProcess(t *testing.T) {
	dir := t.TempDir()
	if os.Getenv("LLMHOST_TEST_LEASE") != "" {
		if err := lease.At(os.Getenv("LLMHOST_TEST_LEASE")).Acquire(t.Context(), "child", "the child", 0); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("held\n")
		io.Copy(io.Discard, os.Stdin) // until it is killed, or the test is
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestLeaseEndsWithItsProcess$")
	child.Env = append(os.Environ(), "LLMHOST_TEST_LEASE="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 5)
	if n, err := out.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "held") {
		t.Fatalf("the child says %q, %v", buf[:n], err)
	}
	mine := lease.At(dir)
	wantFault(t, mine.Acquire(t.Context(), "mine", "me", 0), agentpb.Reason_LEASE_HELD)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	child.Wait()
	if err := mine.Acquire(t.Context(), "mine", "me", 0); err != nil {
		t.Error(err)
	}
	if content := mustRead(t, filepath.Join(dir, "lease")); !strings.Contains(content, `"session_id":"mine"`) {
		t.Errorf("the lease says %s", content)
	}
}
