package provider

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Read observes the credential, without its secret.
func (*Credential) Read(ctx context.Context, req infer.ReadRequest[CredentialArgs, CredentialState]) (infer.ReadResponse[CredentialArgs, CredentialState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[CredentialArgs, CredentialState]{}, err
	}
	in := req.Inputs
	key := in.digestKey(req.ID)
	seen, err := h.Agent().ObserveCredential(ctx, &agentpb.ObserveCredentialRequest{Path: req.ID, DigestKey: key})
	if err != nil {
		return infer.ReadResponse[CredentialArgs, CredentialState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[CredentialArgs, CredentialState]{}, nil
	}
	in.Path = req.ID
	if in.Content == "" { // an import: the secret stays where it is until the program names it
		in.Content = "<not read>"
	}
	in.Condition = in.condition(seen, key, req.State.SealedDigest)
	in.Validity = in.validity(time.Now())
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	state := credentialState(in, rec, seen)
	if req.State.SealedDigest != nil {
		state.SealedDigest = req.State.SealedDigest // what somebody else has sealed is no new measure
	}
	return infer.ReadResponse[CredentialArgs, CredentialState]{ID: req.ID, Inputs: in, State: state}, nil
}

// digestKey is the key of the digests by which the host says what a credential holds. It is made
// of the declared secret, which is encrypted in state, and of the path, so that nobody else can
// compute a digest and no two resources have the same.
func (a *CredentialArgs) digestKey(id string) []byte {
	if a.Content == "" {
		key := make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails
		return key
	}
	mac := hmac.New(sha256.New, []byte(a.Content))
	mac.Write([]byte("llmhost credential digest\x00" + id))
	return mac.Sum(nil)
}

// condition says in which way a credential isn't as it was put there.
func (a *CredentialArgs) condition(seen *agentpb.CredentialState, key []byte, sealedDigest *string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(a.Content))
	switch {
	case seen.GetUnreadable() != "":
		return "unreadable: " + seen.GetUnreadable()
	case seen.GetSealedWith() == "null":
		return "encrypted with a key that everybody knows"
	case a.encrypted() && seen.GetSealedWith() == "":
		return "not encrypted"
	case !hmac.Equal(mac.Sum(nil), seen.GetDigest()):
		return fmt.Sprintf("another secret (keyed digest %s)", hex.EncodeToString(seen.GetDigest()[:min(8, len(seen.GetDigest()))]))
	case seen.GetExposed() != "":
		return "open to others: " + seen.GetExposed()
	case sealedDigest != nil && *sealedDigest != seen.GetSealedSha256():
		return "encrypted again by somebody else"
	}
	return conditionIntact
}

// validity says which time of the secret is over.
func (a *CredentialArgs) validity(now time.Time) string {
	const day = "2006-01-02"
	name := a.Secret
	if name == "" {
		name = "NAME"
	}
	expires, err := time.Parse(time.RFC3339, a.Expires)
	if err == nil && !now.Before(expires) {
		return fmt.Sprintf("still accepting an old key, whose time was over on %s: `llmhost up` removes it", expires.Format(day))
	}
	created, err := time.Parse(time.RFC3339, a.Created)
	if maxAge := time.Duration(a.MaxAgeSeconds) * time.Second; err == nil && maxAge > 0 && now.After(created.Add(maxAge)) {
		return fmt.Sprintf("too old: made on %s, and max_age is %s; `llmhost secrets rotate %s` and `llmhost up` replace it", created.Format(day), maxAge, name)
	}
	return validityValid
}
