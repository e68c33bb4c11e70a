package cli

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/atomicfile"
	"github.com/llmhost/llmhost/internal/signing"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// publicSuffix is how the name of a key's public half ends.
const publicSuffix = ".pub"

type modelSign struct {
	key, output, passphraseFile, publicKey string
	newKey, plain, check                   bool
}

func newModelSignCmd() *cobra.Command {
	var c modelSign
	cmd := &cobra.Command{
		Use:   "sign PATH --key KEY",
		Short: "Sign a model, or check a model's signature",
		Long: "Sign a file or a folder of this machine with your key. The signature is a file of its own, in the\n" +
			"format of OpenSSF Model Signing, beside the model: PATH" + signing.Suffix + ". A host file whose model has a\n" +
			"signature block accepts the model with a good signature alone.\n\n" +
			"  llmhost model sign --new-key ~/keys/models       make a key: models, and models" + publicSuffix + " to give away\n" +
			"  llmhost model sign MODEL --key ~/keys/models     sign\n" +
			"  llmhost model sign MODEL --check --public-key ~/keys/models" + publicSuffix + "\n\n" +
			"The exit code of --check is 0 for a good signature and 1 for everything else.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("name one file or folder to sign, or, with --new-key, the key's file")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case c.newKey:
				return c.makeKey(cmd, args[0])
			case c.check:
				return c.verify(cmd, args[0])
			default:
				return c.sign(cmd, args[0])
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.key, "key", "", "the private key to sign with (PEM, ECDSA)")
	f.StringVarP(&c.output, "signature", "o", "", "the signature's file (default PATH"+signing.Suffix+")")
	f.StringVar(&c.passphraseFile, "passphrase-file", "", "read the key's passphrase from this file instead of asking for it")
	f.BoolVar(&c.newKey, "new-key", false, "make a key in the file that is named, and its public half beside it")
	f.BoolVar(&c.plain, "no-passphrase", false, "don't encrypt the new key")
	f.BoolVar(&c.check, "check", false, "check the signature instead of making one")
	f.StringVar(&c.publicKey, "public-key", "", "the public key to check with")
	cmd.MarkFlagsMutuallyExclusive("new-key", "check", "key")
	cmd.MarkFlagsMutuallyExclusive("no-passphrase", "passphrase-file")
	cmd.MarkFlagsRequiredTogether("check", "public-key")
	return cmd
}

func (c *modelSign) makeKey(cmd *cobra.Command, file string) error {
	for _, name := range []string{file, file + publicSuffix} {
		if _, err := os.Lstat(name); err == nil {
			return fmt.Errorf("%s is there already: a key that has signed something must not be lost; choose another name", name)
		}
	}
	var passphrase string
	if !c.plain {
		var err error
		if passphrase, err = readPassphrase(cmd, c.passphraseFile, "the new key", true); err != nil {
			return fmt.Errorf("%w; or --no-passphrase", err)
		}
	}
	key, err := signing.NewKey()
	if err != nil {
		return fmt.Errorf("make a key: %w", err)
	}
	private, err := signing.MarshalPrivateKey(key, []byte(passphrase))
	if err != nil {
		return err
	}
	public, err := signing.MarshalPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	// Files of atomicfile are its owner's alone. The public half is no secret, but needs no
	// other reader either.
	if err := atomicfile.WriteNew(file, private); err != nil {
		return fmt.Errorf("write the key: %w", err)
	}
	if err := atomicfile.WriteNew(file+publicSuffix, public); err != nil {
		return fmt.Errorf("write the public key: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "wrote %s, keep it, and %s, which a host file's signature block names\n", file, file+publicSuffix)
	return nil
}

func (c *modelSign) sign(cmd *cobra.Command, path string) error {
	if c.key == "" {
		return errors.New("--key is missing: the private key to sign with; llmhost model sign --new-key makes one")
	}
	key, err := c.readKey(cmd)
	if err != nil {
		return err
	}
	files, _, err := signedFiles(cmd, path)
	if err != nil {
		return err
	}
	text, err := signing.Sign(filepath.Base(path), files, key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", path, err)
	}
	output := c.signature(path)
	if err := atomicfile.Write(output, text); err != nil {
		return fmt.Errorf("write the signature: %w", err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "wrote %s: the signature of %s\n", output, plural(len(files), "file", "files"))
	return nil
}

func (c *modelSign) verify(cmd *cobra.Command, path string) error {
	text, err := os.ReadFile(c.publicKey)
	if err != nil {
		return fmt.Errorf("read the public key: %w", err)
	}
	key, err := signing.ParsePublicKey(text)
	if err != nil {
		return fmt.Errorf("the public key %s: %w", c.publicKey, err)
	}
	bundle, err := os.ReadFile(c.signature(path))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no signature %s: name it with --signature", c.signature(path))
	}
	if err != nil {
		return fmt.Errorf("read the signature: %w", err)
	}
	statement, err := signing.Verify(bundle, key)
	if err != nil {
		return fmt.Errorf("the signature %s: %w", c.signature(path), err)
	}
	files, folder, err := signedFiles(cmd, path)
	if err != nil {
		return err
	}
	if folder {
		err = statement.CoversFolder(files, filepath.Base(c.signature(path)))
	} else {
		err = statement.CoversFile(files[0].SHA256)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "good: %s is as it was signed (%s)\n", path, plural(len(files), "file", "files"))
	return nil
}

func (c *modelSign) signature(path string) string {
	if c.output != "" {
		return c.output
	}
	return filepath.Clean(path) + signing.Suffix
}

func (c *modelSign) readKey(cmd *cobra.Command) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(c.key)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	key, err := signing.ParsePrivateKey(text, nil)
	if errors.Is(err, signing.ErrPassphrase) {
		var passphrase string
		if passphrase, err = readPassphrase(cmd, c.passphraseFile, c.key, false); err != nil {
			return nil, err
		}
		if key, err = signing.ParsePrivateKey(text, []byte(passphrase)); errors.Is(err, signing.ErrPassphrase) {
			err = errors.New("the passphrase is wrong")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the key %s: %w", c.key, err)
	}
	return key, nil
}

// signedFiles are the digests of a model on this machine. What isn't remembered is read.
func signedFiles(cmd *cobra.Command, path string) (files []signing.File, folder bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, fmt.Errorf("look at the model: %w", err)
	}
	src, err := source.Local(path, info.IsDir(), source.UserCache())
	if err != nil {
		return nil, false, err
	}
	defer src.Close()
	hashed, err := digestWithProgress(cmd.Context(), cmd, path, src)
	if err != nil {
		return nil, false, err
	}
	for _, f := range hashed {
		name := f.Name
		if name == "" {
			name = filepath.Base(path)
		}
		files = append(files, signing.File{Name: name, SHA256: f.SHA256})
	}
	return files, info.IsDir(), nil
}

func digestWithProgress(ctx context.Context, cmd *cobra.Command, path string, src transfer.Source) ([]transfer.File, error) {
	view := progressView(cmd, false)
	defer view.Clear()
	_, files, err := source.Digest(ctx, src, func(p transfer.Progress) { view.Show(filepath.Base(path), p) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return files, nil
}
