package provider_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/signing"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/source/fakehub"
	"github.com/llmhost/llmhost/internal/testmodel"
)

// folderDigest is the digest of what is in a folder.
func folderDigest(t *testing.T, path string) string {
	t.Helper()
	src, err := source.Local(path, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	sum, _, err := source.Digest(t.Context(), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// shardedModel is a folder with a model in three files.
func shardedModel(t *testing.T) (path, digest string) {
	t.Helper()
	path = t.TempDir()
	if _, err := testmodel.WriteShards(path, "tiny", 3, testmodel.Spec{}); err != nil {
		t.Fatal(err)
	}
	return path, folderDigest(t, path)
}

func folderInputs(t *testing.T, path, source, digest string) resource.PropertyMap {
	return with(modelInputs(t, path, source, digest), "folder", boolean(true))
}

// refused demands that a model isn't deployed, for a reason, and that nothing of it is left.
func (s *stack) refused(in resource.PropertyMap, words ...string) {
	s.t.Helper()
	_, err := s.up("Model", "a", in)
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			s.t.Errorf("the error is %v, and doesn't say %q", err, word)
		}
	}
	wantNoPart(s.t, in["path"].StringValue())
}

func TestFolderModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "models", "tiny")
	source, digest := shardedModel(t)
	s := newStack(t, realHost(t))
	in := folderInputs(t, path, source, digest)
	s.mustUp("Model", "a", in, "create")
	if got := folderDigest(t, path); got != digest {
		t.Fatalf("the host has the folder %s, want %s", got, digest)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of an untouched folder: %v", got)
	}
	first := filepath.Join(path, "tiny-00001-of-00003.gguf")
	for _, tampering := range []struct {
		what     string
		do       func() error
		property string
	}{
		{"a file's bytes", func() error { return os.WriteFile(first, []byte("damaged"), 0o640) }, "sha256"},
		{"one file more", func() error { return os.WriteFile(filepath.Join(path, "more"), nil, 0o640) }, "sha256"},
		{"a file's removal", func() error { return os.Remove(first) }, "sha256"},
		{"a file's mode", func() error { return os.Chmod(first, 0o666) }, "mode"},
		{"the folder's mode", func() error { return os.Chmod(path, 0o777) }, "mode"},
	} {
		if err := tampering.do(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{tampering.property}, s.drift("a")); diff != "" {
			t.Errorf("drift after %s (-want +got):\n%s", tampering.what, diff)
		}
		s.refresh("a")
		s.mustUp("Model", "a", in, "update")
		if got := s.drift("a"); got != nil {
			t.Errorf("drift after the repair of %s: %v", tampering.what, got)
		}
	}
	if got := folderDigest(t, path); got != digest {
		t.Errorf("after the repairs the host has the folder %s, want %s", got, digest)
	}
	s.destroy("a")
	wantGone(t, path)
}

func TestPickleIsRefusedBeforeItIsSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pickled")
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "pytorch_model.bin"), []byte("\x80\x04weights"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := realHost(t)
	s := newStack(t, h)
	in := folderInputs(t, path, source, folderDigest(t, source))
	s.refused(in, "pickle", "allow_pickle")
	s.mustUp("Model", "a", with(in, "allowPickle", boolean(true)), "create")
	// A policy that has become stricter is asked of what is there.
	if _, err := s.up("Model", "a", in); err == nil || !strings.Contains(err.Error(), "pickle") {
		t.Errorf("what is there isn't refused: %v", err)
	}
	s.destroy("a")
}

func TestWhatIsNoModelIsRefused(t *testing.T) {
	path, source := filepath.Join(t.TempDir(), "a.gguf"), filepath.Join(t.TempDir(), "a.gguf")
	if err := os.WriteFile(source, []byte("<html>Sign in</html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	newStack(t, realHost(t)).refused(modelInputs(t, path, source, sumOf(t, source)), "is a web page")
}

func TestSignedModel(t *testing.T) {
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := signing.MarshalPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.gguf")
	model, digest := modelSource(t, 1)
	s := newStack(t, realHost(t))
	in := with(modelInputs(t, path, model, digest), "publicKey", str(string(public)))
	s.refused(in, "must be signed", model+signing.Suffix)

	sign(t, key, model, signing.File{Name: "source.gguf", SHA256: digest})
	s.mustUp("Model", "a", in, "create")
	other, otherDigest := modelSource(t, 2)
	_, err = s.up("Model", "a", with(with(in, "source", str(other)), "sha256", str(otherDigest)))
	if err == nil || !strings.Contains(err.Error(), "no signature") {
		t.Errorf("another model without a signature: %v", err)
	}
	_, err = s.up("Model", "a", with(with(with(in, "source", str(other)), "sha256", str(otherDigest)), "signature", str(model+signing.Suffix)))
	if err == nil || !strings.Contains(err.Error(), "the signature doesn't name") {
		t.Errorf("another model with this one's signature: %v", err)
	}
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want the signed %s", got, digest)
	}
	s.destroy("a")
}

func TestSignedFolder(t *testing.T) {
	key, err := signing.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	public, err := signing.MarshalPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny")
	folder, digest := shardedModel(t)
	s := newStack(t, realHost(t))
	in := with(folderInputs(t, path, folder, digest), "publicKey", str(string(public)))

	src, err := source.Local(folder, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	_, hashed, err := source.Digest(t.Context(), src, nil)
	if err != nil {
		t.Fatal(err)
	}
	var files []signing.File
	for _, f := range hashed {
		files = append(files, signing.File{Name: f.Name, SHA256: f.SHA256})
	}
	sign(t, key, folder, files[:2]...)
	s.refused(in, "the signature doesn't name", files[2].Name)
	sign(t, key, folder, files...)
	s.mustUp("Model", "a", in, "create")
	s.destroy("a")
}

func sign(t *testing.T, key *ecdsa.PrivateKey, model string, files ...signing.File) {
	t.Helper()
	bundle, err := signing.Sign(filepath.Base(model), files, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(model+signing.Suffix, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What is on the host already stays where it is, and is the user's when it is no longer declared.
func TestModelInPlace(t *testing.T) {
	path, digest := modelSource(t, 1)
	s := newStack(t, realHost(t))
	in := with(modelInputs(t, path, "host:"+path, digest), "adopt", boolean(true))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	intact := func(when string) {
		t.Helper()
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, before) {
			t.Errorf("%s the user's file is another: %v", when, err)
		}
	}
	if _, err := s.up("Model", "a", with(in, "sha256", str(digestA))); err == nil || !strings.Contains(err.Error(), digest) || !strings.Contains(err.Error(), digestA) {
		t.Errorf("another digest was not refused with both: %v", err)
	}
	intact("after a refusal")

	// Not even if the host has the pinned bytes elsewhere.
	other, otherDigest := modelSource(t, 2)
	elsewhere := filepath.Join(t.TempDir(), "b.gguf")
	s.mustUp("Model", "b", modelInputs(t, elsewhere, other, otherDigest), "create")
	if _, err := s.up("Model", "a", with(in, "sha256", str(otherDigest))); err == nil || !strings.Contains(err.Error(), "nothing was touched") {
		t.Errorf("another model's digest: %v", err)
	}
	intact("after a refusal")

	s.mustUp("Model", "a", in, "create")
	if got := s.drift("a"); got != nil {
		t.Errorf("drift of what was adopted: %v", got)
	}
	s.destroy("a")
	intact("after the destroy")
}

// The host has the bytes under another path: nothing is sent, and nothing is stored twice.
func TestSameBytesAreStoredOnce(t *testing.T) {
	folder := t.TempDir()
	a, b := filepath.Join(folder, "a.gguf"), filepath.Join(folder, "b.gguf")
	source, digest := modelSource(t, 1)
	s := newStack(t, realHost(t))
	s.mustUp("Model", "a", modelInputs(t, a, source, digest), "create")
	s.mustUp("Model", "b", modelInputs(t, b, "/nowhere/b.gguf", digest), "create")
	if inodeOf(t, a) != inodeOf(t, b) {
		t.Error("the same bytes are on the disk twice")
	}
	s.destroy("a")
	if got := sumOf(t, b); got != digest {
		t.Errorf("after the other's removal the model is %s, want %s", got, digest)
	}
	s.destroy("b")
}

func inodeOf(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// A repository comes to the host straight from the hub, with a token that is nowhere in clear.
func TestModelFromAHub(t *testing.T) {
	folder, digest := shardedModel(t)
	const token = "hf_very_private"
	repo := fakehub.Repository{Files: map[string][]byte{}, Token: token}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		repo.Files[e.Name()] = content
		repo.LFS = append(repo.LFS, e.Name())
	}
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/tiny": repo})
	text := "hf://org/tiny@" + hub.Commit("org/tiny")
	for _, download := range []string{"host", "here"} {
		t.Run(download, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tiny")
			s := newStack(t, realHost(t))
			in := with(with(folderInputs(t, path, text, digest), "hub", str(hub.URL)), "download", str(download))
			if _, err := s.up("Model", "a", in); err == nil || !strings.Contains(err.Error(), "llmhost:modelToken") {
				t.Errorf("without a token: %v", err)
			}
			_, err := s.up("Model", "a", with(in, "token", secret("hf_wrong")))
			if err == nil || strings.Contains(err.Error(), "hf_wrong") {
				t.Errorf("with a wrong token: %v", err)
			}
			in = with(in, "token", secret(token))
			delete(s.states, "a")
			saved := s.mustUp("Model", "a", in, "create")
			if got := folderDigest(t, path); got != digest {
				t.Fatalf("the host has the folder %s, want %s", got, digest)
			}
			for key, v := range saved.outputs {
				if !v.IsSecret() && strings.Contains(v.String(), token) {
					t.Errorf("the token is in the state in clear, as %s", key)
				}
			}
			if text := s.log.text(); strings.Contains(text, token) {
				t.Errorf("the token was shown:\n%s", text)
			}
			s.mustUp("Model", "a", with(in, "token", secret("hf_another")), "same")
			s.destroy("a")
			wantGone(t, path)
		})
	}
}

// A model comes from another host through this machine, in the name of the user's own ssh.
func TestModelFromAnotherHost(t *testing.T) {
	theirs, path := filepath.Join(t.TempDir(), "tiny"), filepath.Join(t.TempDir(), "tiny")
	folder, digest := shardedModel(t)
	other := realHost(t)
	newStack(t, other).mustUp("Model", "a", folderInputs(t, theirs, folder, digest), "create")

	host := realHost(t)
	var asked remote.Target
	s := newStackWith(t, func(_ context.Context, to remote.Target) (provider.Host, error) {
		if to.Address == "host.test" {
			return host, nil
		}
		asked = to
		return other, nil
	})
	in := folderInputs(t, path, "ssh://me@other.test:2222"+theirs, digest)
	s.mustUp("Model", "a", in, "create")
	if got := folderDigest(t, path); got != digest {
		t.Errorf("the host has the folder %s, want %s", got, digest)
	}
	if want := (remote.Target{Address: "other.test", Port: 2222, User: "me"}); asked != want {
		t.Errorf("it was asked for at %+v, want %+v", asked, want)
	}
	s.destroy("a")
	if got := folderDigest(t, theirs); got != digest {
		t.Errorf("the other host has the folder %s, want %s", got, digest)
	}
}

// What the host has fetched and is no model doesn't stay there.
func TestFetchedNonsenseIsRemoved(t *testing.T) {
	const page = "this is no model"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.gguf", time.Unix(1e9, 0), strings.NewReader(page))
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "a.gguf")
	local := filepath.Join(t.TempDir(), "a.gguf")
	if err := os.WriteFile(local, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStack(t, realHost(t))
	s.refused(modelInputs(t, path, server.URL+"/a.gguf", sumOf(t, local)), "no GGUF file")
	if saved := s.states["a"]; saved != nil {
		t.Errorf("the state has %v", saved)
	}
}

// The host's own verification shows as drift, under a property that says what it is, and the
// repair brings the bytes anew.
func TestFailedVerificationIsDrift(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	source, digest := modelSource(t, 1)
	h := realHost(t)
	s := newStack(t, h)
	in := modelInputs(t, path, source, digest)
	s.mustUp("Model", "a", in, "create")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("X"), 1<<20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	events, err := h.client.VerifyModel(t.Context(), &agentpb.VerifyModelRequest{Path: path, Sha256: digest})
	for err == nil {
		_, err = events.Recv()
	}
	if got := s.drift("a"); len(got) != 2 || got[0] != "sha256" || got[1] != "verified" {
		t.Errorf("drift of a model that has failed its verification: %v", got)
	}
	s.refresh("a")
	s.mustUp("Model", "a", in, "update")
	if got := sumOf(t, path); got != digest {
		t.Errorf("the host has %s, want %s", got, digest)
	}
	if got := s.drift("a"); got != nil {
		t.Errorf("drift after the repair: %v", got)
	}
}

// Inputs that can't be are refused with all their faults, before anything is contacted.
func TestModelInputsAreChecked(t *testing.T) {
	s := newStackWith(t, offline(t))
	for _, test := range []struct {
		change resource.PropertyMap
		want   string
	}{
		{resource.PropertyMap{"source": str("http://example.org/a.gguf")}, "isn't encrypted"},
		{resource.PropertyMap{"source": str("models/a.gguf")}, "absolute path"},
		{resource.PropertyMap{"source": str("hf://org/name@main")}, "folder: must be true"},
		{resource.PropertyMap{"source": str("host:/srv/a.gguf")}, "adopt: must be true"},
		{resource.PropertyMap{"download": str("there")}, "download: must be"},
		{resource.PropertyMap{"role": str("poet")}, "role: must be"},
		{resource.PropertyMap{"verified": boolean(false)}, "verified: must be true"},
		{resource.PropertyMap{"publicKey": str("key")}, "publicKey:"},
		{resource.PropertyMap{"publicKey": str(publicKey), "source": str("https://example.org/a.gguf")}, "signature: is required"},
	} {
		in := modelInputs(t, "/srv/a.gguf", "/models/a.gguf", digestA)
		for key, v := range test.change {
			in[key] = v
		}
		if _, err := s.up("Model", "a", in); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: the error is %v, and doesn't say %q", test.change, err, test.want)
		}
	}
}
