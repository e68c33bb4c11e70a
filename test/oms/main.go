// Command oms runs the cases of the public conformance suite of OpenSSF Model Signing that use
// keys, against internal/signing:
//
//	git clone https://github.com/sampras343/model-signing-conformance
//	go run ./test/oms model-signing-conformance
//
// Verification cases hold bundles that other implementations have written. Those of other
// methods (certificates, Sigstore) are run too: they have to be refused.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/signing"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run ./test/oms CHECKOUT")
		os.Exit(2)
	}
	failed, err := run(filepath.Join(os.Args[1], "test"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "oms:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

type testCase struct {
	Method          string `json:"method"`
	Model           string `json:"model"`
	ModelRelativeTo string `json:"model_relative_to"`
	Expect          string `json:"expect"`
	SigInside       bool   `json:"sig_inside_model"`
	Modifications   struct {
		Inject   map[string]string `json:"inject"`
		Symlinks map[string]string `json:"symlinks"`
		Tamper   map[string]string `json:"tamper"`
		Delete   []string          `json:"delete"`
	} `json:"model_modifications"`
	Sign struct {
		PrivateKey string `json:"private_key"`
	} `json:"sign"`
	Verify struct {
		PublicKey      string   `json:"public_key"`
		IgnorePaths    []string `json:"ignore_paths"`
		IgnoreUnsigned bool     `json:"ignore_unsigned_files"`
	} `json:"verify"`
}

func run(root string) (failed int, err error) {
	configs, err := filepath.Glob(filepath.Join(root, "test-cases", "*", "*", "*", "config.json"))
	if err != nil {
		return 0, err
	}
	roundtrips, err := filepath.Glob(filepath.Join(root, "test-cases", "roundtrip", "*", "config.json"))
	if err != nil {
		return 0, err
	}
	configs = append(configs, roundtrips...)
	if len(configs) == 0 {
		return 0, errors.New("there are no cases in it")
	}
	passed := 0
	for _, file := range configs {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, err
		}
		var c testCase
		if err := json.Unmarshal(text, &c); err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		name, _ := filepath.Rel(root, filepath.Dir(file))
		if why := c.leftOut(name); why != "" {
			fmt.Printf("left out %s: %s\n", name, why)
			continue
		}
		err = c.run(root, filepath.Dir(file))
		wantFailure := c.Expect == "fail" || c.Method != "key"
		if (err != nil) == wantFailure {
			passed++
			continue
		}
		failed++
		fmt.Printf("FAILED %s: %v\n", name, err)
	}
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	return failed, nil
}

// leftOut says why a case doesn't apply to llmhost.
func (c *testCase) leftOut(name string) string {
	switch {
	case c.Verify.IgnoreUnsigned:
		return "llmhost has no option to ignore unsigned files"
	case c.Method != "key" && strings.Contains(name, "roundtrip"):
		return "llmhost signs with keys alone"
	case filepath.Base(name) == "key-verify-as-certificate_fail":
		return "llmhost can't be asked to verify by a certificate"
	}
	return ""
}

// run returns nil if the model was verified.
func (c *testCase) run(root, dir string) error {
	base := filepath.Join(root, "assets")
	if c.ModelRelativeTo == "test_dir" {
		base = dir
	}
	work, err := os.MkdirTemp("", "oms")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	model := filepath.Join(work, filepath.Base(c.Model))
	if err := copyModel(filepath.Join(base, c.Model), model); err != nil {
		return err
	}
	if err := c.modify(model); err != nil {
		return err
	}
	publicKey := c.Verify.PublicKey
	if publicKey == "" { // of another method: any key will do to be refused
		publicKey = "keys/certificate/signing-key-pub.pem"
	}
	text, err := os.ReadFile(filepath.Join(root, "assets", publicKey))
	if err != nil {
		return err
	}
	public, err := signing.ParsePublicKey(text)
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "bundle.sig"))
	if errors.Is(err, fs.ErrNotExist) {
		bundle, err = c.sign(root, model)
	}
	if err != nil {
		return err
	}
	statement, err := signing.Verify(bundle, public)
	if err != nil {
		return err
	}
	files, single, err := list(model, c.Verify.IgnorePaths)
	if err != nil {
		return err
	}
	if single {
		return statement.CoversFile(files[0].SHA256)
	}
	return statement.CoversFolder(files, "")
}

func (c *testCase) sign(root, model string) ([]byte, error) {
	if c.Sign.PrivateKey == "" {
		return nil, errors.New("no key to sign with")
	}
	text, err := os.ReadFile(filepath.Join(root, "assets", c.Sign.PrivateKey))
	if err != nil {
		return nil, err
	}
	key, err := signing.ParsePrivateKey(text, nil)
	if err != nil {
		return nil, err
	}
	files, _, err := list(model, c.Verify.IgnorePaths)
	if err != nil {
		return nil, err
	}
	return signing.Sign(filepath.Base(model), files, key)
}

func (c *testCase) modify(model string) error {
	m := c.Modifications
	for name, content := range m.Inject {
		if err := os.WriteFile(filepath.Join(model, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	for name, content := range m.Tamper {
		if err := os.WriteFile(filepath.Join(model, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	for name, target := range m.Symlinks {
		if err := os.Symlink(target, filepath.Join(model, name)); err != nil {
			return err
		}
	}
	for _, name := range m.Delete {
		if err := os.Remove(filepath.Join(model, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyModel(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o600)
}

func list(model string, ignore []string) (files []signing.File, single bool, err error) {
	err = filepath.WalkDir(model, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(model, path)
		if err != nil {
			return err
		}
		if name == "." {
			name, single = filepath.Base(model), true
		}
		if !d.Type().IsRegular() {
			return fmt.Errorf("%s is no regular file", name)
		}
		if slices.ContainsFunc(ignore, func(p string) bool { return name == p || strings.HasPrefix(name, p+"/") }) {
			return nil
		}
		content, err := os.ReadFile(path)
		sum := sha256.Sum256(content)
		files = append(files, signing.File{Name: filepath.ToSlash(name), SHA256: hex.EncodeToString(sum[:])})
		return err
	})
	return files, single, err
}
