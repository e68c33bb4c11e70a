package engine

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"filippo.io/age"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// The names in a backup: what is below the state folder, and the key.
const (
	backupState = "state/"
	backupKey   = "key"
)

// ageIntro is how every file in age's format starts (age-encryption.org/v1).
const ageIntro = "age-encryption.org/"

// Backup writes the state and its key into one file, encrypted with a passphrase (age, scrypt).
// Losing the machine is then not losing what it had deployed.
func (e Environment) Backup(path, secret string) error {
	if e.StateDir == "" {
		return fmt.Errorf("the state is at %s and not in this project: back it up there", e.BackendURL)
	}
	if err := e.idle(); err != nil {
		return err
	}
	if there, err := exists(e.KeyFile); e.OwnKey && err == nil && !there {
		return errors.New("there is nothing to back up yet: this project has no key, so it has never been deployed from here")
	}
	if err := replaceable(path); err != nil {
		return err
	}
	var archive bytes.Buffer
	recipient, err := age.NewScryptRecipient(secret)
	if err != nil {
		return fmt.Errorf("the passphrase can't be used: %w", err)
	}
	encrypted, err := age.Encrypt(&archive, recipient)
	if err != nil {
		return fmt.Errorf("encrypting the backup: %w", err)
	}
	w := tar.NewWriter(encrypted)
	err = e.archive(w)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = encrypted.Close()
	}
	if err != nil {
		return fmt.Errorf("reading what is to be backed up: %w", err)
	}
	if err := atomicfile.Write(path, archive.Bytes()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// replaceable refuses a path at which there is something other than an older backup.
func replaceable(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	start := make([]byte, len(ageIntro))
	if _, err := io.ReadFull(f, start); err != nil || string(start) != ageIntro {
		return fmt.Errorf("%s is there already and is not a backup: name another file", path)
	}
	return nil
}

// archive writes the state's files and the key.
func (e Environment) archive(w *tar.Writer) error {
	err := e.walkState(e.StateDir, func(name string, content []byte) error {
		return addToArchive(w, backupState+name, content)
	})
	if err != nil {
		return err
	}
	if e.KeyFile == "" {
		return nil // the passphrase is in the user's head or variables
	}
	key, err := os.ReadFile(e.KeyFile)
	if err != nil {
		return err
	}
	return addToArchive(w, backupKey, key)
}

func addToArchive(w *tar.Writer, name string, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// walkState visits the files of a state folder, except for locks, in a fixed order. A folder
// that is not there has none.
func (e Environment) walkState(dir string, visit func(name string, content []byte) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if d.IsDir() {
			if name == ".pulumi/locks" {
				return fs.SkipDir
			}
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return visit(name, content)
	})
}

// idle refuses while somebody is changing a stack: a copy made now might be half of a change.
func (e Environment) idle() error {
	locks := filepath.Join(e.StateDir, ".pulumi", "locks")
	return filepath.WalkDir(locks, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		h, err := readHolder(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && h.dead() {
			return nil
		}
		if err != nil {
			return err
		}
		return &LockedError{Stack: filepath.Base(filepath.Dir(path)), Holder: h.String()}
	})
}
