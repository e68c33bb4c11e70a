package remote

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/melbahja/goph"
	"golang.org/x/crypto/ssh"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// EnsureKey returns the public half of a private key file, in authorized_keys form. A file
// that does not exist is made: a new ed25519 key without a passphrase, for its owner alone.
func EnsureKey(path string) (public string, created bool, err error) {
	path = expandHome(path)
	signer, err := goph.GetSigner(path, "")
	var encrypted *ssh.PassphraseMissingError
	switch {
	case err == nil:
		return authorizedKey(signer.PublicKey()), false, nil
	case errors.As(err, &encrypted):
		key := encrypted.PublicKey
		if key == nil {
			key = publicKeyFile(path + ".pub")
		}
		if key == nil {
			return "", false, fmt.Errorf("the key %s is encrypted and there is no %s.pub beside it: write it with `ssh-keygen -y -f %s`", path, path, path)
		}
		return authorizedKey(key), false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, fmt.Errorf("read the key %s: %w", path, err)
	}
	key, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", false, fmt.Errorf("make a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "llmhost")
	if err != nil {
		return "", false, fmt.Errorf("make a key: %w", err)
	}
	sshKey, err := ssh.NewPublicKey(key)
	if err != nil {
		return "", false, fmt.Errorf("make a key: %w", err)
	}
	public = authorizedKey(sshKey)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, fmt.Errorf("make the key's folder: %w", err)
	}
	if err := atomicfile.WriteNew(path, pem.EncodeToMemory(block)); err != nil {
		return "", false, fmt.Errorf("write the key %s: %w", path, err)
	}
	if err := atomicfile.WriteNew(path+".pub", []byte(public+" llmhost\n")); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", false, fmt.Errorf("write the key %s.pub: %w", path, err)
	}
	return public, true, nil
}

func authorizedKey(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
