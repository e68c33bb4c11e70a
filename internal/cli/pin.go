package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// pinned is one entry of a host file with the digest that its local file has now.
type pinned struct {
	Kind    string `json:"kind"` // engine or model
	Name    string `json:"name"`
	Source  string `json:"source"`
	Old     string `json:"old"` // "" when the host file had no valid digest
	New     string `json:"new"`
	Changed bool   `json:"changed"`
}

func newPinCmd() *cobra.Command {
	var stack string
	var check, asJSON bool
	cmd := &cobra.Command{
		Use:   "pin [(engine|model) NAME]…",
		Short: "Write the SHA-256 of engines and models into the host file",
		Long: "Compute the SHA-256 of the local files that engine and model blocks name, all of them or those given, and\n" +
			"write it into the host file. Comments and layout stay, and a digest that is right already isn't touched.\n\n" +
			"Pin a file only after you have compared it with what its publisher says: a deployment trusts the digest.\n\n" +
			"With --json the result is an array of {kind, name, source, old, new, changed}.\n\n" +
			"The exit code is 0, with --check 2 if a digest differs, and 1 if it could not tell.",
		Example: "  llmhost pin -s desktop\n  llmhost pin -s desktop model qwen3-4b\n  llmhost pin -s desktop --check",
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := hostFile(stack)
			if err != nil {
				return err
			}
			entries, err := digests(cmd, file, args)
			if err != nil {
				return err
			}
			if !check {
				if err := writeDigests(file, entries); err != nil {
					return err
				}
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = encodeJSON(out, entries)
			} else {
				err = writePinsText(out, entries, check)
			}
			if err == nil && check && anyChanged(entries) {
				err = &ExitError{Code: 2}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host whose file is meant")
	cmd.Flags().BoolVar(&check, "check", false, "only report, and exit with 2 if a digest differs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: an array of {kind, name, source, old, new, changed}")
	return cmd
}

// digests computes the digests of the entries that the arguments name.
func digests(cmd *cobra.Command, file string, args []string) ([]pinned, error) {
	pins, diags := hostfile.LoadPins(file)
	if err := hostfile.AsError(diags); err != nil {
		return nil, err
	}
	pins, err := selectPins(pins, file, args)
	if err != nil {
		return nil, err
	}
	entries := make([]pinned, 0, len(pins))
	var failed []error
	for _, p := range pins {
		digest, err := hashFile(cmd.Context(), p.Source, cmd.ErrOrStderr())
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %q: %w", p.Block, p.Name, err))
			continue
		}
		entries = append(entries, pinned{p.Block, p.Name, p.Source, p.SHA256, digest, digest != p.SHA256})
	}
	return entries, errors.Join(failed...)
}

// selectPins picks the pins that pairs of a kind and a name stand for, all of them without arguments.
func selectPins(pins []hostfile.Pin, file string, args []string) ([]hostfile.Pin, error) {
	if len(args) == 0 {
		return pins, nil
	}
	if len(args)%2 != 0 {
		return nil, fmt.Errorf("%q: name each as engine NAME or model NAME", strings.Join(args, " "))
	}
	var there []string
	for _, p := range pins {
		there = append(there, p.Block+" "+p.Name)
	}
	var selected []hostfile.Pin
	for i := 0; i < len(args); i += 2 {
		found := false
		for _, p := range pins {
			if p.Block == args[i] && p.Name == args[i+1] {
				selected, found = append(selected, p), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%s has no %s %q; it has %s", file, args[i], args[i+1], strings.Join(there, ", "))
		}
	}
	return selected, nil
}

// announceAbove is the size from which hashing takes long enough to say so.
const announceAbove = 1 << 30

func hashFile(ctx context.Context, path string, log io.Writer) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("its source can't be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("its source %s is not an ordinary file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("its source can't be read: %w", err)
	}
	defer f.Close()
	if info.Size() > announceAbove {
		fmt.Fprintf(log, "reading %s (%s)\n", path, humanize.IBytes(uint64(info.Size())))
	}
	h := sha256.New()
	if _, err := io.Copy(h, cancelled{ctx, f}); err != nil {
		return "", fmt.Errorf("reading its source: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

func writeDigests(file string, entries []pinned) error {
	var edits []hostfile.Edit
	for _, e := range entries {
		if e.Changed {
			edits = append(edits, hostfile.Pin{Block: e.Kind, Name: e.Name}.Edit(e.New))
		}
	}
	_, err := hostfile.Rewrite(file, edits...)
	return err
}

func anyChanged(entries []pinned) bool {
	for _, e := range entries {
		if e.Changed {
			return true
		}
	}
	return false
}

func writePinsText(w io.Writer, entries []pinned, check bool) error {
	var b strings.Builder
	for _, e := range entries {
		switch {
		case !e.Changed:
			fmt.Fprintf(&b, "%s %s: %s, unchanged\n", e.Kind, e.Name, e.New)
		case e.Old == "":
			fmt.Fprintf(&b, "%s %s: no digest → %s\n", e.Kind, e.Name, e.New)
		default:
			fmt.Fprintf(&b, "%s %s: %s → %s\n", e.Kind, e.Name, e.Old, e.New)
		}
	}
	switch {
	case len(entries) == 0:
		b.WriteString("there are neither engines nor models to pin\n")
	case check && anyChanged(entries):
		b.WriteString("the host file has other digests: compare the files with their publishers' digests, then run llmhost pin\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
