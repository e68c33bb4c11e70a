package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/pkg/v3/secrets/passphrase"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/encoding"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// keyBytes is the length of a key: as much as AES-256, to which Pulumi stretches it.
const keyBytes = 32

// keyFolder is where the keys of all projects are: llmhost/keys in the user's configuration folder.
func keyFolder() (string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the folder for keys: %w; set HOME, or PULUMI_CONFIG_PASSPHRASE_FILE", err)
	}
	return filepath.Join(config, "llmhost", "keys"), nil
}

// keyName is the name of a project's key file: readable, and its own for every folder.
func keyName(root string) string {
	sum := sha256.Sum256([]byte(root))
	return filepath.Base(root) + "-" + hex.EncodeToString(sum[:4]) + ".key"
}

// ensureKey makes sure that the project's key file exists. A new project gets a new key. A
// project that was moved finds its key by trying the others. A state whose key is not here is
// an error: a new key would not open it.
func (e Environment) ensureKey(stack string, logf func(format string, args ...any)) error {
	there, err := exists(e.KeyFile)
	if err != nil || there {
		return err
	}
	salts, err := e.salts(stack)
	if err != nil {
		return err
	}
	if len(salts) == 0 {
		key := make([]byte, keyBytes)
		_, _ = rand.Read(key) // never fails
		if err := createFile(e.KeyFile, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
			return fmt.Errorf("making the key: %w", err)
		}
		logf("made a key for this project's secrets: %s (keep a copy with `llmhost backup`)", e.KeyFile)
		return nil
	}
	for _, salt := range salts {
		file, key := findKey(filepath.Dir(e.KeyFile), salt.value)
		if file == "" {
			continue
		}
		if err := createFile(e.KeyFile, key); err != nil {
			return fmt.Errorf("copying the key: %w", err)
		}
		logf("this project's secrets are opened by the key %s: copied to %s", file, e.KeyFile)
		return nil
	}
	return e.keyError(salts[0].source)
}

// keyError says that what is encrypted and the key at hand don't fit.
func (e Environment) keyError(encrypted string) error {
	return fmt.Errorf("%s is encrypted with a key that is not on this machine: %s does not open it. "+
		"Put state and key back with `llmhost restore FILE`, or name the right key with %s",
		encrypted, e.KeyFile, passphraseFileVariable)
}

// WrongKey replaces Pulumi's error about a passphrase by one that names both places.
func (e Environment) WrongKey(err error) error {
	if err == nil || !errors.Is(err, passphrase.ErrIncorrectPassphrase) {
		return err
	}
	if !e.OwnKey {
		return fmt.Errorf("the passphrase that %s or %s gives does not open this stack's secrets: %w",
			passphraseVariable, passphraseFileVariable, err)
	}
	return e.keyError("the state at " + e.BackendURL)
}

// createFile writes a new private file at once and whole. If the file exists already (another
// process was faster), that one stays.
func createFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := atomicfile.WriteNew(path, content); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// salt is what Pulumi stores beside encrypted values to test a passphrase.
type salt struct{ value, source string }

// salts lists what this project's key must be able to open.
func (e Environment) salts(stack string) ([]salt, error) {
	var found []salt
	if e.StateDir != "" {
		stacks := filepath.Join(e.StateDir, ".pulumi", "stacks")
		err := filepath.WalkDir(stacks, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() || !isCheckpoint(path) {
				return err
			}
			value, err := checkpointSalt(path)
			if err == nil && value != "" {
				found = append(found, salt{value, "the state " + path})
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("looking at the state: %w", err)
		}
	}
	if stack == "" {
		return found, nil
	}
	project, err := workspace.LoadProject(filepath.Join(e.Root, "Pulumi.yaml"))
	if err != nil {
		return nil, fmt.Errorf("reading the project: %w", err)
	}
	path := filepath.Join(e.Root, project.StackConfigDir, "Pulumi."+stack+".yaml")
	settings, err := workspace.LoadProjectStack(diag.DefaultSink(io.Discard, io.Discard, diag.FormatOptions{Color: colors.Never}), project, path)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if settings.EncryptionSalt != "" {
		found = append(found, salt{settings.EncryptionSalt, path})
	}
	return found, nil
}

// isCheckpoint reports whether a file of the state is a stack's and not a copy of it. Pulumi
// compresses it when it is told to (PULUMI_DIY_BACKEND_GZIP and PULUMI_DIY_BACKEND_ZSTD).
func isCheckpoint(path string) bool {
	for _, compressed := range []string{encoding.GZIPExt, encoding.ZSTDExt} {
		path = strings.TrimSuffix(path, compressed)
	}
	return filepath.Ext(path) == encoding.JSONExt
}

func checkpointSalt(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	var state struct {
		Checkpoint struct {
			Latest *struct {
				Secrets *struct {
					Type  string `json:"type"`
					State struct {
						Salt string `json:"salt"`
					} `json:"state"`
				} `json:"secrets_providers"`
			} `json:"latest"`
		} `json:"checkpoint"`
	}
	if err := encoding.Compress(encoding.JSON, encoding.DetectCompression(raw)).Unmarshal(raw, &state); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	if l := state.Checkpoint.Latest; l != nil && l.Secrets != nil && l.Secrets.Type == passphrase.Type {
		return l.Secrets.State.Salt, nil
	}
	return "", nil
}

// findKey returns the key file in a folder that opens a salt, and its content.
func findKey(folder, salt string) (string, []byte) {
	files, _ := filepath.Glob(filepath.Join(folder, "*.key"))
	for _, file := range files {
		key, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if _, err := passphrase.GetPassphraseSecretsManager(strings.TrimSpace(string(key)), salt); err == nil {
			return file, key
		}
	}
	return "", nil
}
