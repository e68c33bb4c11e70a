package engine

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/pulumi/pulumi/pkg/v3/secrets/passphrase"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// ErrDifferent is returned by Restore when there is another state or key already.
var ErrDifferent = errors.New("already exists and is different")

// Restore puts the state and the key of a backup back. It refuses to replace a state or a key
// that differ (ErrDifferent) unless forced, and then keeps the old ones beside the new and
// returns where. The backup is read and checked as a whole before anything is changed.
func (e Environment) Restore(path, secret string, force bool) (kept []string, err error) {
	if e.StateDir == "" {
		return nil, fmt.Errorf("the state is at %s and not in this project: unset %s to restore one here", e.BackendURL, backendVariable)
	}
	if err := e.idle(); err != nil {
		return nil, err
	}
	key, staged, err := e.unpack(path, secret)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(staged)
	if err := checkBackup(staged, key); err != nil {
		return nil, err
	}
	sameState, err := e.sameState(staged)
	if err != nil {
		return nil, err
	}
	sameKey, err := e.sameKey(key)
	if err != nil {
		return nil, err
	}
	if !force {
		if sameState == different {
			return nil, fmt.Errorf("the state in %s %w", e.StateDir, ErrDifferent)
		}
		if sameKey == different {
			return nil, fmt.Errorf("the key %s %w", e.KeyFile, ErrDifferent)
		}
	}
	suffix := ".before-" + time.Now().UTC().Format("20060102T150405Z")
	if sameKey != same && key != nil {
		if sameKey == different {
			if err := os.Rename(e.KeyFile, e.KeyFile+suffix); err != nil {
				return nil, err
			}
			kept = append(kept, e.KeyFile+suffix)
		}
		if err := createFile(e.KeyFile, key); err != nil {
			return kept, fmt.Errorf("restoring the key: %w", err)
		}
	}
	if sameState == same {
		return kept, nil
	}
	if there, err := exists(e.StateDir); err != nil {
		return kept, err
	} else if there {
		if err := os.Rename(e.StateDir, e.StateDir+suffix); err != nil {
			return kept, err
		}
		empty, err := e.holdsNothing(e.StateDir + suffix)
		if err != nil {
			return kept, err
		}
		if !empty {
			kept = append(kept, e.StateDir+suffix)
		} else if err := os.RemoveAll(e.StateDir + suffix); err != nil {
			return kept, err
		}
	}
	if err := os.Rename(staged, e.StateDir); err != nil {
		return kept, fmt.Errorf("restoring the state: %w", err)
	}
	return kept, atomicfile.SyncDir(filepath.Dir(e.StateDir))
}

// unpack decrypts a backup and writes its state into a new folder beside the state's.
func (e Environment) unpack(path, secret string) (key []byte, staged string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	identity, err := age.NewScryptIdentity(secret)
	if err != nil {
		return nil, "", fmt.Errorf("the passphrase can't be used: %w", err)
	}
	decrypted, err := age.Decrypt(f, identity)
	var wrong *age.NoIdentityMatchError
	if errors.As(err, &wrong) {
		return nil, "", fmt.Errorf("%s: wrong passphrase", path)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s is not a backup: %w", path, err)
	}
	if err := os.MkdirAll(filepath.Dir(e.StateDir), 0o700); err != nil {
		return nil, "", err
	}
	staged, err = os.MkdirTemp(filepath.Dir(e.StateDir), ".restore-*") // 0700
	if err != nil {
		return nil, "", err
	}
	key, err = extract(tar.NewReader(decrypted), staged)
	if err != nil {
		_ = os.RemoveAll(staged)
		return nil, "", fmt.Errorf("%s is damaged: %w", path, err)
	}
	if key != nil && e.KeyFile == "" {
		_ = os.RemoveAll(staged)
		return nil, "", fmt.Errorf("%s is set, so the backup's key has no place to go: unset it", passphraseVariable)
	}
	return key, staged, nil
}

func extract(r *tar.Reader, dir string) (key []byte, err error) {
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return key, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		name, isState := strings.CutPrefix(header.Name, backupState)
		switch {
		case header.Name == backupKey:
			key = content
		case isState && header.Typeflag == tar.TypeReg && filepath.IsLocal(filepath.FromSlash(name)):
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				return nil, err
			}
			if err := createFile(path, content); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("unexpected entry %q", header.Name)
		}
	}
}

// checkBackup makes sure that a backup's key opens its state.
func checkBackup(dir string, key []byte) error {
	salts, err := Environment{StateDir: dir}.salts("")
	if err != nil || key == nil {
		return err
	}
	for _, s := range salts {
		if _, err := passphrase.GetPassphraseSecretsManager(strings.TrimSpace(string(key)), s.value); err != nil {
			return fmt.Errorf("the backup's key does not open its state %s: %w", filepath.Base(s.source), err)
		}
	}
	return nil
}

// likeness is how something that exists compares to its counterpart in a backup.
type likeness int

const (
	absent likeness = iota
	same
	different
)

// sameState compares the state with a staged one by the stacks in them: history and backup
// copies follow from those.
func (e Environment) sameState(staged string) (likeness, error) {
	ours, err := e.stackDigests(e.StateDir)
	if err != nil {
		return absent, err
	}
	if len(ours) == 0 {
		return absent, nil
	}
	theirs, err := e.stackDigests(staged)
	if err != nil {
		return absent, err
	}
	if len(ours) != len(theirs) {
		return different, nil
	}
	for name, sum := range ours {
		if theirs[name] != sum {
			return different, nil
		}
	}
	return same, nil
}

// holdsNothing reports whether a state folder is as Pulumi makes it. One without a stack can
// hold the history and the backup copies of a stack that was removed.
func (e Environment) holdsNothing(dir string) (bool, error) {
	empty := true
	err := e.walkState(dir, func(name string, _ []byte) error {
		empty = empty && name == ".pulumi/meta.yaml"
		return nil
	})
	return empty, err
}

func (e Environment) stackDigests(dir string) (map[string][sha256.Size]byte, error) {
	sums := map[string][sha256.Size]byte{}
	err := e.walkState(dir, func(name string, content []byte) error {
		if strings.HasPrefix(name, ".pulumi/stacks/") && isCheckpoint(name) {
			sums[name] = sha256.Sum256(content)
		}
		return nil
	})
	return sums, err
}

func (e Environment) sameKey(key []byte) (likeness, error) {
	ours, err := os.ReadFile(e.KeyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return absent, nil
	case err != nil:
		return absent, err
	case key == nil || bytes.Equal(bytes.TrimSpace(ours), bytes.TrimSpace(key)):
		return same, nil
	default:
		return different, nil
	}
}
