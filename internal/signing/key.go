package signing

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/youmark/pkcs8"
)

// ErrPassphrase is ParsePrivateKey's error for an encrypted key and a passphrase that is
// missing or wrong.
var ErrPassphrase = errors.New("the key is encrypted and needs its passphrase")

const (
	pemPublic    = "PUBLIC KEY"
	pemPrivate   = "PRIVATE KEY"
	pemEncrypted = "ENCRYPTED PRIVATE KEY"
	pemEC        = "EC PRIVATE KEY"
)

// NewKey makes a key on the curve P-256.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// MarshalPrivateKey writes a key in PKCS #8 as PEM, encrypted unless the passphrase is empty.
func MarshalPrivateKey(key *ecdsa.PrivateKey, passphrase []byte) ([]byte, error) {
	block, options := pemPrivate, (*pkcs8.Opts)(nil)
	if len(passphrase) > 0 {
		block, options = pemEncrypted, pkcs8.DefaultOpts
	}
	der, err := pkcs8.MarshalPrivateKey(key, passphrase, options)
	if err != nil {
		return nil, fmt.Errorf("write the private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: block, Bytes: der}), nil
}

// MarshalPublicKey writes a key's public half as PEM.
func MarshalPublicKey(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("write the public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPublic, Bytes: der}), nil
}

// ParsePrivateKey reads a key as openssl and MarshalPrivateKey write it.
func ParsePrivateKey(text, passphrase []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no PEM block in it; llmhost model sign --new-key makes a key")
	}
	var key any
	var err error
	switch block.Type {
	case pemPrivate:
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case pemEC:
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case pemEncrypted:
		if key, err = pkcs8.ParsePKCS8PrivateKey(block.Bytes, passphrase); err != nil {
			return nil, ErrPassphrase
		}
	case pemPublic:
		return nil, errors.New("it is the public half of a key, which can't sign")
	default:
		return nil, fmt.Errorf("it holds a %q, and a private key in PKCS #8 is needed", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("the private key in it is damaged: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a key of another kind (%T); model signatures use ECDSA", key)
	}
	_, err = hashOf(&ec.PublicKey)
	return ec, err
}

// ParsePublicKey reads a public key as PEM.
func ParsePublicKey(text []byte) (*ecdsa.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("there is no PEM block in it")
	}
	if block.Type != pemPublic {
		return nil, fmt.Errorf("it holds a %q, and a public key is needed", block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the public key in it is damaged: %w", err)
	}
	ec, ok := key.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("it is a key of another kind (%T); model signatures use ECDSA", key)
	}
	_, err = hashOf(ec)
	return ec, err
}

// Fingerprint identifies a key in a bundle: the SHA-256 of its PEM, as the format's reference
// implementation has it.
func Fingerprint(key *ecdsa.PublicKey) (string, error) {
	text, err := MarshalPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), nil
}

// hashOf is the hash that goes with a key's curve, by Sigstore's algorithm registry.
func hashOf(key *ecdsa.PublicKey) (func([]byte) []byte, error) {
	switch key.Curve {
	case elliptic.P256():
		return func(b []byte) []byte { s := sha256.Sum256(b); return s[:] }, nil
	case elliptic.P384():
		return func(b []byte) []byte { s := sha512.Sum384(b); return s[:] }, nil
	case elliptic.P521():
		return func(b []byte) []byte { s := sha512.Sum512(b); return s[:] }, nil
	default:
		return nil, fmt.Errorf("its curve is %s; model signatures use P-256, P-384 and P-521", key.Curve.Params().Name)
	}
}
