package signing

import (
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// envelope is a DSSE envelope (https://github.com/secure-systems-lab/dsse, version 1.0). It is
// written here because the reference implementation brings an SSH library with it, which has no
// place in the agent, and all that there is to it is what seal, open and authenticated do.
type envelope struct {
	PayloadType string              `json:"payloadType"`
	Payload     string              `json:"payload"` // base64
	Signatures  []envelopeSignature `json:"signatures"`
}

// envelopeSignature is one signature. Its key id is for finding a key, which OMS doesn't use, and a
// signer may have put anything there.
type envelopeSignature struct {
	KeyID string `json:"keyid"`
	Sig   string `json:"sig"` // base64
}

// authenticated is what is signed: the type and the payload with their lengths, so that nothing of
// one can pass for a part of the other (DSSE, "PAE").
func authenticated(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// seal signs a payload.
func seal(payloadType string, payload []byte, key *ecdsa.PrivateKey) (*envelope, error) {
	hash, err := hashOf(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sig, err := ecdsa.SignASN1(rand.Reader, key, hash(authenticated(payloadType, payload)))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return &envelope{
		PayloadType: payloadType,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []envelopeSignature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}, nil
}

// open returns the payload if one of the signatures is the key's.
func (e *envelope) open(key *ecdsa.PublicKey) (payload []byte, ok bool) {
	hash, err := hashOf(key)
	if err != nil {
		return nil, false
	}
	payload, err = unbase64(e.Payload)
	if err != nil {
		return nil, false
	}
	sum := hash(authenticated(e.PayloadType, payload))
	for _, s := range e.Signatures {
		if sig, err := unbase64(s.Sig); err == nil && ecdsa.VerifyASN1(key, sum, sig) {
			return payload, true
		}
	}
	return nil, false
}

// unbase64 takes either alphabet, as the specification demands of a verifier.
func unbase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return base64.URLEncoding.DecodeString(s)
	}
	return b, nil
}
