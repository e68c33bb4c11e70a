package agent

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/credential"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// minDigestKey is the shortest key of a digest, in bytes. A digest with a short key could be
// guessed from.
const minDigestKey = 16

// PutCredential writes a secret, sealed by the host unless that is not wanted. A file that holds
// the secret already is left as it is when the caller has sealed it.
func (s *Server) PutCredential(ctx context.Context, req *agentpb.PutCredentialRequest) (*agentpb.PutCredentialResponse, error) {
	st, unlock, err := s.change(kindCredential, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := req.GetClaim().GetId()
	name := filepath.Base(path)
	if err := credential.ValidName(name); err != nil {
		return nil, err
	}
	if n := len(req.GetContent()); n == 0 || n > credential.MaxContent {
		return nil, fault.New(agentpb.Reason_INVALID, "the credential %s has %d bytes: it must have 1 to %d", name, n, credential.MaxContent)
	}
	content := req.GetContent()
	change, err := st.putPath(req.GetClaim(), durable.Regular, func(was *durable.Info) (bool, error) {
		if was != nil && was.Matches(credentialAttributes()) && stands(ctx, path, req) {
			return false, nil
		}
		if !req.GetPlain() {
			if content, err = credential.Seal(ctx, name, content); err != nil {
				return false, err
			}
		}
		return true, fault.OfPath("write", path, durable.WriteFile(path, content, credentialAttributes()))
	})
	if err != nil {
		return nil, err
	}
	seen, err := s.observeCredential(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	return &agentpb.PutCredentialResponse{Generation: change.GetGeneration(), Changed: change.GetChanged(), State: seen}, nil
}

// credentialAttributes let root alone read it; systemd hands it to the services.
func credentialAttributes() durable.Attributes {
	return durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
}

// stands reports whether the file is just what the caller has put there, with the same secret.
// What can't be read doesn't stand.
func stands(ctx context.Context, path string, req *agentpb.PutCredentialRequest) bool {
	content, err := credential.Load(path)
	if err != nil {
		return false
	}
	if !req.GetPlain() {
		sum := sha256.Sum256(content)
		if hex.EncodeToString(sum[:]) != req.GetSealedSha256() || credential.SealedWith(content) == "" {
			return false
		}
		if content, err = credential.Open(ctx, filepath.Base(path), content); err != nil {
			return false
		}
	}
	return bytes.Equal(content, req.GetContent())
}

// ObserveCredential describes a credential.
func (s *Server) ObserveCredential(ctx context.Context, req *agentpb.ObserveCredentialRequest) (*agentpb.CredentialState, error) {
	if err := validPath(req.GetPath()); err != nil {
		return nil, err
	}
	if len(req.GetDigestKey()) < minDigestKey {
		return nil, fault.New(agentpb.Reason_INVALID, "the key of a credential's digest must have at least %d bytes", minDigestKey)
	}
	return s.observeCredential(ctx, req.GetPath(), req.GetDigestKey())
}

func (s *Server) observeCredential(ctx context.Context, path string, digestKey []byte) (*agentpb.CredentialState, error) {
	owned, err := s.owned(kindCredential, path)
	if err != nil {
		return nil, err
	}
	is, err := lookAt(path)
	if err != nil || is == nil {
		return &agentpb.CredentialState{Owned: owned}, fault.OfPath("look at", path, err)
	}
	seen := &agentpb.CredentialState{Exists: true, Owned: owned}
	if !is.Matches(credentialAttributes()) {
		owner, group, err := s.names(is)
		if err != nil {
			return nil, err
		}
		seen.Exposed = fmt.Sprintf("mode %04o, %s:%s", is.Mode, owner, group)
	}
	if is.Type != durable.Regular {
		seen.Unreadable = "it is a " + is.Type
		return seen, nil
	}
	content, err := credential.Load(path)
	if err != nil {
		return nil, fault.OfPath("read", path, err)
	}
	if seen.SealedWith = credential.SealedWith(content); seen.SealedWith != "" {
		sum := sha256.Sum256(content)
		seen.SealedSha256 = hex.EncodeToString(sum[:])
	}
	if digestKey == nil {
		return seen, nil
	}
	if seen.SealedWith != "" {
		if content, err = credential.Open(ctx, filepath.Base(path), content); err != nil {
			if ctx.Err() != nil || fault.ReasonOf(err) == agentpb.Reason_NO_TOOL {
				return nil, err
			}
			seen.Unreadable = err.Error()
			return seen, nil
		}
	}
	mac := hmac.New(sha256.New, digestKey)
	mac.Write(content)
	seen.Digest = mac.Sum(nil)
	return seen, nil
}

// lookAt describes what is at a path, and is nil when nothing is, nor its folder.
func lookAt(path string) (*durable.Info, error) {
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Lstat(name)
}
