package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/remote"
)

func TestOnlyAConfirmedHostKeyIsPinned(t *testing.T) {
	host := &hostfile.Host{Name: "desk", SSH: &hostfile.SSH{Address: "desk.lan"}}
	key := remote.HostKey{Type: "ssh-ed25519", Fingerprint: "SHA256:right", Line: "ssh-ed25519 AAAA"}
	for name, tc := range map[string]struct {
		known    bool
		accepted string
		answer   string
		asks     bool
		part     string // of the error; empty: confirmed
	}{
		"known already":        {known: true},
		"right fingerprint":    {accepted: "SHA256:right"},
		"wrong fingerprint":    {accepted: "SHA256:wrong", part: "and not SHA256:wrong"},
		"known and contrary":   {known: true, accepted: "SHA256:wrong", part: "and not SHA256:wrong"},
		"answered yes":         {answer: "yes\n", asks: true},
		"answered y":           {answer: "y\n", asks: true, part: "not confirmed"},
		"answered no":          {answer: "no\n", asks: true, part: "not confirmed"},
		"answered with Return": {answer: "\n", asks: true, part: "not confirmed"},
		"no answer":            {answer: "", asks: true, part: "not confirmed"},
	} {
		cmd := &cobra.Command{}
		var shown bytes.Buffer
		cmd.SetIn(strings.NewReader(tc.answer))
		cmd.SetErr(&shown)
		err := confirmHostKey(cmd, host, key, tc.known, tc.accepted)
		if tc.part == "" && err != nil || tc.part != "" && (err == nil || !strings.Contains(err.Error(), tc.part)) {
			t.Errorf("%s: got %v, want %q", name, err, tc.part)
		}
		if asked := strings.Contains(shown.String(), "SHA256:right"); asked != tc.asks {
			t.Errorf("%s: asked with the fingerprint: %v, want %v", name, asked, tc.asks)
		}
	}
}

func TestThePasswordIsReadOnce(t *testing.T) {
	cmd := &cobra.Command{}
	cmd.SetIn(strings.NewReader("s3cret word\r\nmore\n"))
	ask := adminPassword(cmd, true)
	for range 2 {
		if got, err := ask(t.Context(), "Password: "); err != nil || got != "s3cret word" {
			t.Errorf("got %q (%v)", got, err)
		}
	}
}
