package agent_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/credential"
)

// testKey has the form of an API key, and is none that was ever used.
const testKey = "llmk_0000000000000000000000000000000000000000000000001"

// sealing makes systemd-creds, which is the real one, keep the host's key in the test's folder.
func sealing(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("systemd-creds"); err != nil {
		t.Fatal("this test seals with the real systemd-creds: install the package systemd, 250 or newer")
	}
	t.Setenv("SYSTEMD_CREDENTIAL_SECRET", filepath.Join(t.TempDir(), "credential.secret"))
}

var digestKey = bytes.Repeat([]byte{7}, 32)

func keyedDigest(secret string) []byte {
	mac := hmac.New(sha256.New, digestKey)
	mac.Write([]byte(secret))
	return mac.Sum(nil)
}

func (c *client) observeCredential(path string) *agentpb.CredentialState {
	c.t.Helper()
	seen, err := c.ObserveCredential(c.t.Context(), &agentpb.ObserveCredentialRequest{Path: path, DigestKey: digestKey})
	if err != nil {
		c.t.Fatal(err)
	}
	return seen
}

func TestCredentialIsSealedWatchedAndRemoved(t *testing.T) {
	sealing(t)
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("credentials/chat-api-key")
	if c.observeCredential(path).GetExists() {
		t.Fatal("it is there before it was put")
	}
	req := &agentpb.PutCredentialRequest{Claim: claim("Credential", path), Content: []byte(testKey + "\n")}
	put := func() bool {
		t.Helper()
		resp, err := c.PutCredential(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		req.Claim.Generation, req.SealedSha256 = resp.GetGeneration(), resp.GetState().GetSealedSha256()
		return resp.GetChanged()
	}
	if !put() || put() {
		t.Error("the first put changes the host and the second doesn't")
	}
	seen := c.observeCredential(path)
	if seen.GetSealedWith() != "host" && seen.GetSealedWith() != "host+tpm2" || seen.GetExposed() != "" || seen.GetUnreadable() != "" ||
		!bytes.Equal(seen.GetDigest(), keyedDigest(testKey+"\n")) || !seen.GetOwned().GetComplete() {
		t.Errorf("seen: %v", seen)
	}
	nothingHolds(t, h.root, testKey)

	// Somebody else seals the same secret again: nothing tells but the file, and it is put right.
	again, err := credential.Seal(t.Context(), "chat-api-key", []byte(testKey+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	replace := func(content []byte, mode fs.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	replace(again, 0o600)
	if other := c.observeCredential(path); other.GetSealedSha256() == seen.GetSealedSha256() || !bytes.Equal(other.GetDigest(), seen.GetDigest()) {
		t.Errorf("seen: %v", other)
	}
	if !put() {
		t.Error("what somebody else has sealed was left")
	}

	// Another's credential put in its place doesn't open under this name.
	other, err := credential.Seal(t.Context(), "code-api-key", []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	replace(other, 0o600)
	if seen := c.observeCredential(path); seen.GetUnreadable() == "" || seen.GetDigest() != nil {
		t.Errorf("seen: %v", seen)
	}
	if !put() {
		t.Error("a credential that can't be opened was left")
	}

	// In clear, and open to others.
	replace([]byte("planted"), 0o644)
	if seen := c.observeCredential(path); seen.GetSealedWith() != "" || !strings.Contains(seen.GetExposed(), "0644") || !bytes.Equal(seen.GetDigest(), keyedDigest("planted")) {
		t.Errorf("seen: %v", seen)
	}
	if !put() || c.observeCredential(path).GetExposed() != "" {
		t.Error("a credential in clear was left")
	}

	removed, err := c.Remove(t.Context(), &agentpb.RemoveRequest{Claim: req.Claim})
	if err != nil || !removed.GetRemoved() {
		t.Fatalf("%v, %v", removed, err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !os.IsNotExist(err) {
		t.Errorf("its folder is still there: %v", err)
	}
}

// On a host without systemd-creds the file is for root alone, and what it holds isn't told.
func TestCredentialInClear(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	path := h.path("chat-api-key")
	resp, err := c.PutCredential(t.Context(), &agentpb.PutCredentialRequest{Claim: claim("Credential", path), Content: []byte(testKey), Plain: true})
	if err != nil || !resp.GetChanged() || resp.GetState().GetSealedWith() != "" || resp.GetState().GetSealedSha256() != "" {
		t.Fatalf("%v, %v", resp, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if seen := c.observeCredential(path); !bytes.Equal(seen.GetDigest(), keyedDigest(testKey)) || strings.Contains(seen.String(), testKey) {
		t.Errorf("seen: %v", seen)
	}
}

func TestCredentialIsRefused(t *testing.T) {
	h := newHost(t)
	c := h.connectToChange("s")
	put := func(path, content string, plain bool) error {
		_, err := c.PutCredential(t.Context(), &agentpb.PutCredentialRequest{Claim: claim("Credential", path), Content: []byte(content), Plain: plain})
		return err
	}
	wantReason(t, put(h.path(".hidden"), "a", true), agentpb.Reason_INVALID)
	wantReason(t, put(h.path("-rf"), "a", true), agentpb.Reason_INVALID)
	wantReason(t, put(h.path("a"), "", true), agentpb.Reason_INVALID)
	wantReason(t, put(h.path("a"), strings.Repeat("a", credential.MaxContent+1), true), agentpb.Reason_INVALID)
	// A digest with a short key could be guessed from.
	_, err := c.ObserveCredential(t.Context(), &agentpb.ObserveCredentialRequest{Path: h.path("a"), DigestKey: []byte("short")})
	wantReason(t, err, agentpb.Reason_INVALID)
	if err := os.WriteFile(h.path("mine"), []byte("a user's"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantReason(t, put(h.path("mine"), "a", true), agentpb.Reason_NOT_OWNED)

	t.Setenv("PATH", t.TempDir())
	wantReason(t, put(h.path("a"), testKey, false), agentpb.Reason_NO_TOOL)
	if c.observeCredential(h.path("a")).GetOwned() != nil {
		t.Error("a credential that could not be sealed is still claimed")
	}
	nothingHolds(t, h.root, testKey)
}

// The agent sends a server the first of its keys, whatever form they are written in.
func TestFirstKeyOfACredentialIsSent(t *testing.T) {
	newer, older := testKey, strings.Replace(testKey, "0001", "0002", 1)
	path := filepath.Join(t.TempDir(), "chat-api-key")
	for name, content := range map[string]string{
		"lines": newer + "\n" + older + "\n",
		"YAML":  "api-key:\n  - \"" + newer + "\"\n  - \"" + older + "\"\n",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := credential.APIKey(t.Context(), path); err != nil || key != newer {
			t.Errorf("%s: %q, %v", name, key, err)
		}
	}
	if err := os.WriteFile(path, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := credential.APIKey(t.Context(), path); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("no key: %v", err)
	}
}

// nothingHolds fails when a file below a folder holds a text.
func nothingHolds(t *testing.T, root, text string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if strings.Contains(string(content), text) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
