package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// The variables that Pulumi reads and that llmhost sets where the user has not.
const (
	backendVariable        = "PULUMI_BACKEND_URL"
	passphraseVariable     = "PULUMI_CONFIG_PASSPHRASE"
	passphraseFileVariable = "PULUMI_CONFIG_PASSPHRASE_FILE"
)

// Defaults sets, for this process, what llmhost wants of Pulumi unless the user has said
// otherwise. Pulumi reads some of them when its commands are made, so it comes first.
func Defaults() {
	for name, value := range map[string]string{
		"PULUMI_RUN_PROGRAM":                          "true", // a moved host is read at its new address
		"PULUMI_SUPPRESS_NEO_LINK":                    "true", // no advertisement under a failure
		"PULUMI_SKIP_UPDATE_CHECK":                    "true", // no network
		"PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true", // no network
	} {
		if _, set := os.LookupEnv(name); !set {
			_ = os.Setenv(name, value) // fails for a malformed name only
		}
	}
}

// Environment says where a project's state and the key to its secrets are.
type Environment struct {
	// Root is the folder that holds Pulumi.yaml.
	Root string
	// BackendURL is where the state is: the user's PULUMI_BACKEND_URL, else a file URL of StateDir.
	BackendURL string
	// StateDir is .llmhost/state under Root; empty if the user chose another backend.
	StateDir string
	// KeyFile holds the passphrase of the secrets: by default one file a project in the user's
	// configuration folder, never in the project, so that one careless clean-up of the project
	// does not take both. Empty if the user sets PULUMI_CONFIG_PASSPHRASE.
	KeyFile string
	// OwnKey is false if the passphrase or its file is the user's own business.
	OwnKey bool
}

// Locate finds the environment of the project in root. It creates nothing.
func Locate(root string) (Environment, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return Environment{}, err
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // one project, one key, by whichever path it is reached
	}
	e := Environment{Root: root, BackendURL: os.Getenv(backendVariable)}
	if e.BackendURL == "" {
		e.StateDir = filepath.Join(root, ".llmhost", "state")
		// Without sidecar files of attributes, which are not written atomically: a kill at that
		// moment makes the state unreadable. Temporary files go beside what they replace.
		e.BackendURL = (&url.URL{Scheme: "file", Path: filepath.ToSlash(e.StateDir), RawQuery: "metadata=skip&no_tmp_dir=true"}).String()
	}
	if _, set := os.LookupEnv(passphraseVariable); set {
		return e, nil
	}
	if file := os.Getenv(passphraseFileVariable); file != "" {
		e.KeyFile, err = filepath.Abs(file)
		return e, err
	}
	keys, err := keyFolder()
	if err != nil {
		return Environment{}, err
	}
	e.KeyFile, e.OwnKey = filepath.Join(keys, keyName(root)), true
	return e, nil
}

// Apply makes the environment real: the state folder and the key exist (see Environment.ensureKey)
// and this process's variables name them. The stack may be empty; its own file, Pulumi.STACK.yaml,
// may be what the key has to open.
func (e Environment) Apply(stack string, logf func(format string, args ...any)) error {
	if e.StateDir != "" {
		if err := os.MkdirAll(e.StateDir, 0o700); err != nil {
			return fmt.Errorf("making the state folder: %w", err)
		}
	}
	if e.OwnKey {
		if err := e.ensureKey(stack, logf); err != nil {
			return err
		}
	}
	if e.KeyFile != "" {
		if err := os.Setenv(passphraseFileVariable, e.KeyFile); err != nil {
			return err
		}
	}
	return os.Setenv(backendVariable, e.BackendURL)
}

// Exports lists the variables with which the ordinary pulumi CLI works on the same state, each
// as NAME and value, in a fixed order. Paths are absolute.
func (e Environment) Exports() [][2]string {
	vars := [][2]string{{backendVariable, e.BackendURL}}
	if e.KeyFile != "" {
		vars = append(vars, [2]string{passphraseFileVariable, e.KeyFile})
	}
	for _, name := range []string{"PULUMI_RUN_PROGRAM", "PULUMI_SKIP_UPDATE_CHECK"} {
		if value, set := os.LookupEnv(name); set {
			vars = append(vars, [2]string{name, value})
		}
	}
	return vars
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
