package remote

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys decides whether a host is the one that it should be.
type hostKeys struct {
	hop    hop
	pinned ssh.PublicKey
	files  []ssh.HostKeyCallback
}

// newHostKeys reads what is known about a host. A known_hosts file that does not exist
// knows nothing; one that can't be read is an error.
func newHostKeys(h hop) (*hostKeys, error) {
	k := &hostKeys{hop: h}
	if h.hostKey != "" {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(h.hostKey))
		if err != nil {
			return nil, newError(ErrHostKey, h.alias, "connect", "host_key is not a public key", "it looks like: ssh-ed25519 AAAA…", err)
		}
		k.pinned = key
		return k, nil
	}
	for _, file := range h.knownHosts {
		check, err := goph.KnownHosts(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, newError(ErrHostKey, h.alias, "connect", fmt.Sprintf("the known_hosts file %s can't be read: %v", file, err), "", err)
		}
		k.files = append(k.files, check)
	}
	return k, nil
}

// known lists the keys that known_hosts holds for the host.
func (k *hostKeys) known() []knownhosts.KnownKey {
	var all []knownhosts.KnownKey
	for _, check := range k.files {
		var mismatch *knownhosts.KeyError
		if errors.As(check(k.hop.keyName(), nowhere, noKey{}), &mismatch) {
			all = append(all, mismatch.Want...)
		}
	}
	return all
}

// algorithms limits the handshake to keys that could be confirmed. Without it the server
// may present another of its keys, which then looks like an attack. Empty: nothing is known.
func (k *hostKeys) algorithms() []string {
	if k.pinned != nil {
		return algorithmsFor(k.pinned.Type())
	}
	var certified, plain []string
	for _, known := range k.known() {
		if isAuthority(known) {
			certified = certificateAlgorithms
		} else {
			plain = append(plain, algorithmsFor(known.Key.Type())...)
		}
	}
	return unique(append(slices.Clone(certified), plain...))
}

var certificateAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// algorithmsFor are the signature algorithms of a key type. SHA-1 is left out.
func algorithmsFor(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// isAuthority tells a certificate authority's line from a host's, which the library's
// answer does not.
func isAuthority(known knownhosts.KnownKey) bool {
	f, err := os.Open(known.Filename)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == known.Line {
			return strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
		}
	}
	return false
}

// check is the ssh.HostKeyCallback.
func (k *hostKeys) check(_ string, remote net.Addr, key ssh.PublicKey) error {
	if k.pinned != nil {
		if string(k.pinned.Marshal()) == string(key.Marshal()) {
			return nil
		}
		return k.changed(key, []string{ssh.FingerprintSHA256(k.pinned) + " (" + k.pinned.Type() + ", host_key of the host file)"})
	}
	confirmed := false
	for _, check := range k.files {
		err := check(k.hop.keyName(), remote, key)
		var revoked *knownhosts.RevokedError
		switch {
		case err == nil:
			confirmed = true
		case errors.As(err, &revoked):
			return newError(ErrHostKey, k.hop.alias, "connect",
				fmt.Sprintf("the host presents a revoked key: %s (%s:%d)", ssh.FingerprintSHA256(key), revoked.Revoked.Filename, revoked.Revoked.Line),
				"do not connect until you know why", err)
		}
	}
	if confirmed {
		return nil
	}
	known := k.known()
	if len(known) == 0 {
		return k.unknown(key)
	}
	var expected []string
	for _, one := range known {
		expected = append(expected, fmt.Sprintf("%s (%s, %s:%d)", ssh.FingerprintSHA256(one.Key), one.Key.Type(), one.Filename, one.Line))
	}
	return k.changed(key, expected)
}

// unknown is the error for a host whose key nobody has confirmed.
func (k *hostKeys) unknown(key ssh.PublicKey) error {
	presented := hostKeyOf(key)
	e := newError(ErrHostKey, k.hop.alias, "connect",
		fmt.Sprintf("the host key of %s is not known; the host presents %s (%s)", k.hop.address(), presented.Fingerprint, presented.Type),
		fmt.Sprintf("compare that on the machine's own console with `ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub`; if it is the same, "+
			"put `host_key = %q` into the host file, or log in once with `ssh`, or run `llmhost bootstrap`", shortType(key), presented.Line), nil)
	e.Metadata = presented.metadata()
	return e
}

// changed is the error for a host that presents another key than the confirmed one.
func (k *hostKeys) changed(key ssh.PublicKey, expected []string) error {
	presented := hostKeyOf(key)
	e := newError(ErrHostKey, k.hop.alias, "connect",
		fmt.Sprintf("the host key of %s is not the confirmed one: it presents %s (%s), expected is %s",
			k.hop.address(), presented.Fingerprint, presented.Type, strings.Join(expected, " or ")),
		"either the machine was reinstalled or somebody is between you and it: find out which before you replace the expected key", nil)
	e.Metadata = presented.metadata()
	e.Metadata["expected"] = strings.Join(expected, " or ")
	return e
}

// HostKey is a host's public key as a host presents it.
type HostKey struct {
	Type        string // e.g. ssh-ed25519
	Fingerprint string // SHA256:…
	Line        string // authorized_keys form, for host_key
}

func hostKeyOf(key ssh.PublicKey) HostKey {
	return HostKey{
		Type:        key.Type(),
		Fingerprint: ssh.FingerprintSHA256(key),
		Line:        strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
	}
}

func (k HostKey) metadata() map[string]string {
	return map[string]string{"key_type": k.Type, "fingerprint": k.Fingerprint, "host_key": k.Line}
}

// shortType is the word that OpenSSH uses in the names of a host's key files.
func shortType(key ssh.PublicKey) string {
	switch t := key.Type(); {
	case strings.HasPrefix(t, "ecdsa-"):
		return "ecdsa"
	case t == ssh.KeyAlgoRSA:
		return "rsa"
	default:
		return "ed25519"
	}
}

func unique(values []string) []string {
	var out []string
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// noKey is a key that no host has: asking known_hosts about it lists what is known.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// nowhere is an address for that question; known_hosts goes by the name.
var nowhere = &net.TCPAddr{IP: net.IPv4zero}
