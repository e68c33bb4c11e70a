package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const (
	digestA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var folder = []File{{"config.json", digestA}, {"sub/model.safetensors", digestB}}

func newKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, key *ecdsa.PrivateKey, files []File) []byte {
	t.Helper()
	text, err := Sign("llama", files, key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestASignedModelIsVerified(t *testing.T) {
	for name, curve := range map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()} {
		t.Run(name, func(t *testing.T) {
			key := newKey(t, curve)
			s, err := Verify(signed(t, key, folder), &key.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != "llama" {
				t.Errorf("the name is %q", s.Name)
			}
			if err := s.CoversFolder(folder, ""); err != nil {
				t.Error(err)
			}
			if err := s.CoversFile(digestB); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnotherModelIsNotTheSignedOne(t *testing.T) {
	key := newKey(t, elliptic.P256())
	s, err := Verify(signed(t, key, folder), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][]File{
		"changed":   {{"config.json", digestB}, folder[1]},
		"missing":   folder[:1],
		"added":     append([]File{{"code.py", digestA}}, folder...),
		"renamed":   {{"config.jsn", digestA}, folder[1]},
		"exchanged": {{"config.json", digestB}, {"sub/model.safetensors", digestA}},
		"empty":     nil,
	} {
		if err := s.CoversFolder(files, ""); !errors.Is(err, ErrNotSigned) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.CoversFile(strings.Repeat("c", 64)); !errors.Is(err, ErrNotSigned) {
		t.Errorf("another file: %v", err)
	}
}

func TestWhatTheFormatLeavesOutIsNotSigned(t *testing.T) {
	key := newKey(t, elliptic.P256())
	with := append([]File{{".gitattributes", digestA}, {".git/config", digestA}}, folder...)
	s, err := Verify(signed(t, key, with), &key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][]File{"without them": folder, "with them": with, "with the signature": append([]File{{"model.sig", digestA}}, folder...)} {
		if err := s.CoversFolder(files, "model.sig"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.CoversFolder(append([]File{{"sub/.git/hook", digestA}}, folder...), ""); !errors.Is(err, ErrNotSigned) {
		t.Errorf("only the top level is left out, and not sub/.git: %v", err)
	}
}

func TestABadSignatureIsRefused(t *testing.T) {
	key, other := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	good := signed(t, key, folder)
	change := func(f func(b map[string]any)) []byte {
		var b map[string]any
		if err := json.Unmarshal(good, &b); err != nil {
			t.Fatal(err)
		}
		f(b)
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	envelope := func(b map[string]any) map[string]any { return b["dsseEnvelope"].(map[string]any) }
	for name, text := range map[string][]byte{
		"another key":        signed(t, other, folder),
		"nothing":            nil,
		"no JSON":            []byte("model.sig"),
		"null":               []byte("null"),
		"something after it": append(append([]byte{}, good...), '{', '}'),
		"another media type": change(func(b map[string]any) { b["mediaType"] = "text/plain" }),
		"no envelope":        change(func(b map[string]any) { delete(b, "dsseEnvelope") }),
		"no key":             change(func(b map[string]any) { b["verificationMaterial"] = map[string]any{} }),
		"no signature":       change(func(b map[string]any) { envelope(b)["signatures"] = []any{} }),
		"another payload type": change(func(b map[string]any) {
			envelope(b)["payloadType"] = "application/json"
		}),
		"another payload": change(func(b map[string]any) {
			raw, _ := base64.StdEncoding.DecodeString(envelope(b)["payload"].(string))
			text := strings.Replace(string(raw), digestA, digestB, 1)
			envelope(b)["payload"] = base64.StdEncoding.EncodeToString([]byte(text))
		}),
		"another key that claims to be the trusted one": func() []byte {
			fingerprint, err := Fingerprint(&key.PublicKey)
			if err != nil {
				t.Fatal(err)
			}
			var b map[string]any
			if err := json.Unmarshal(signed(t, other, folder), &b); err != nil {
				t.Fatal(err)
			}
			b["verificationMaterial"] = map[string]any{"publicKey": map[string]any{"hint": fingerprint}}
			text, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}(),
	} {
		if _, err := Verify(text, &key.PublicKey); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	certificate := change(func(b map[string]any) {
		b["verificationMaterial"] = map[string]any{"certificate": map[string]any{"rawBytes": ""}}
	})
	if _, err := Verify(certificate, &key.PublicKey); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a certificate's: %v", err)
	}
}

// A key that is trusted may still have signed something that isn't a model.
func TestAGoodSignatureOfSomethingElseIsRefused(t *testing.T) {
	for name, payload := range map[string]string{
		"no statement":       `[]`,
		"another statement":  `{"_type":"x"}`,
		"another predicate":  `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"name":"m"}]}`,
		"no files":           `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0","subject":[{"name":"m"}],"predicate":{"serialization":{"method":"files","hash_type":"sha256"}}}`,
		"a path that leaves": `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0","subject":[{"name":"m"}],"predicate":{"resources":[{"name":"../m","digest":"` + digestA + `","algorithm":"sha256"}],"serialization":{"method":"files","hash_type":"sha256"}}}`,
		"a name twice":       `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0","subject":[{"name":"m"}],"predicate":{"resources":[{"name":"m","digest":"` + digestA + `","algorithm":"sha256"},{"name":"m","digest":"` + digestB + `","algorithm":"sha256"}],"serialization":{"method":"files","hash_type":"sha256"}}}`,
		"a short digest":     `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://model_signing/signature/v1.0","subject":[{"name":"m"}],"predicate":{"resources":[{"name":"m","digest":"aa","algorithm":"sha256"}],"serialization":{"method":"files","hash_type":"sha256"}}}`,
	} {
		if s, err := read([]byte(payload)); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestWhatCannotBeSigned(t *testing.T) {
	key := newKey(t, elliptic.P256())
	for name, files := range map[string][]File{
		"nothing":              nil,
		"only what's left out": {{".git/config", digestA}},
		"a path that leaves":   {{"../x", digestA}},
		"no digest":            {{"x", ""}},
		"not UTF-8":            {{"\xff", digestA}},
	} {
		if _, err := Sign("m", files, key); err == nil {
			t.Errorf("%s: it was signed", name)
		}
	}
}

func TestKeys(t *testing.T) {
	key := newKey(t, elliptic.P256())
	for name, passphrase := range map[string][]byte{"plain": nil, "encrypted": []byte("correct horse")} {
		text, err := MarshalPrivateKey(key, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePrivateKey(text, passphrase)
		if err != nil || !back.Equal(key) {
			t.Errorf("%s: %v", name, err)
		}
		if passphrase == nil {
			continue
		}
		for _, wrong := range [][]byte{nil, []byte("wrong")} {
			if _, err := ParsePrivateKey(text, wrong); !errors.Is(err, ErrPassphrase) {
				t.Errorf("with the passphrase %q: %v", wrong, err)
			}
		}
	}
	public, err := MarshalPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParsePublicKey(public); err != nil || !back.Equal(&key.PublicKey) {
		t.Errorf("the public key: %v", err)
	}
	if _, err := ParsePrivateKey(public, nil); err == nil || !strings.Contains(err.Error(), "public half") {
		t.Errorf("a public key to sign with: %v", err)
	}
	if _, err := MarshalPublicKey(&newKey(t, elliptic.P224()).PublicKey); err != nil {
		t.Fatal(err)
	}
	p224, _ := MarshalPublicKey(&newKey(t, elliptic.P224()).PublicKey)
	if _, err := ParsePublicKey(p224); err == nil {
		t.Error("a curve that the format doesn't know is accepted")
	}
}

func FuzzVerify(f *testing.F) {
	key := newKey(f, elliptic.P256())
	good := signed(f, key, folder)
	f.Add(good)
	f.Add([]byte(`{"mediaType":"application/vnd.dev.sigstore.bundle","verificationMaterial":{"publicKey":{}},"dsseEnvelope":{"payloadType":"application/vnd.in-toto+json","signatures":[{"sig":""}]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Verify(text, &key.PublicKey)
		if err == nil && s.CoversFolder(folder, "") != nil {
			t.Errorf("something that was never signed is good: %s", text)
		}
	})
}
