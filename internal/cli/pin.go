package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/hostfile"
	"github.com/llmhost/llmhost/internal/imagearchive"
)

// pinned is one entry of a host file with the digest that its source has now.
type pinned struct {
	Kind    string `json:"kind"` // engine, model or companion
	Name    string `json:"name"`
	Source  string `json:"source"`
	Old     string `json:"old"` // "" when the host file had no valid digest
	New     string `json:"new"`
	Changed bool   `json:"changed"`
	Image   string `json:"image,omitempty"` // the id of the container image in the source

	oldImage string
	origin   string          // where the digest is from
	shape    *hostfile.Shape // another one than the host file's; nil: it is as it was, or can't be known
}

func newPinCmd() *cobra.Command {
	var stack string
	var check, asJSON bool
	cmd := &cobra.Command{
		Use:   "pin [(engine|model|companion) NAME]…",
		Short: "Write the SHA-256 of engines and models into the host file",
		Long: "Find out the SHA-256 of what engine, model and companion blocks name, of all of them or those given, and\n" +
			"write it into the host file. Comments and layout stay, and a digest that is right already isn't touched.\n" +
			"Of models and companions also their shape is written, which says how much memory they need.\n" +
			"Of an image's archive also the image's id is written.\n" +
			"Local files are read, and remembered until they change; a hub or a host is asked; and where nobody says\n" +
			"a digest, the bytes are read through. A companion's name is MODEL/NAME.\n\n" +
			"Pin a file only after you have compared it with what its publisher says: a deployment trusts the digest.\n\n" +
			"With --json the result is an array of {kind, name, source, old, new, changed, image}.\n\n" +
			"The exit code is 0, with --check 2 if a digest differs, 1 if it could not tell, and 8 if you interrupt it.",
		Example: "  llmhost pin -s desktop\n  llmhost pin -s desktop model qwen3-4b\n  llmhost pin -s desktop --check",
		RunE: func(cmd *cobra.Command, args []string) error {
			file, err := hostFile(stack)
			if err != nil {
				return err
			}
			ctx, stop := untilInterrupted(cmd)
			defer stop()
			entries, err := digests(ctx, cmd, file, args)
			if ctx.Err() != nil {
				return interrupted("nothing was written")
			}
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: an array of {kind, name, source, old, new, changed, image}")
	return cmd
}

// digests finds out the digests of the entries that the arguments name.
func digests(ctx context.Context, cmd *cobra.Command, file string, args []string) ([]pinned, error) {
	h, diags := hostfile.LoadUnpinned(file)
	if err := hostfile.AsError(diags); err != nil {
		return nil, err
	}
	pins, err := selectPins(h.Pins(), file, args)
	if err != nil {
		return nil, err
	}
	look := newLooker(cmd, h)
	defer look.close()
	entries := make([]pinned, 0, len(pins))
	var failed []error
	for _, p := range pins {
		digest, origin, shape, err := look.pin(ctx, p)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s %q: %w", p.Block, p.Name, err))
			continue
		}
		entry := pinned{Kind: p.Block, Name: p.Name, Source: p.Source.Text, Old: p.SHA256, New: digest, Changed: digest != p.SHA256, origin: origin, shape: shape}
		if p.Image != nil {
			entry.oldImage = *p.Image
			if entry.Image, err = imageIn(p.Source.Path); err != nil {
				failed = append(failed, fmt.Errorf("%s %q: %w", p.Block, p.Name, err))
				continue
			}
			entry.Changed = entry.Changed || entry.Image != entry.oldImage
		}
		entries = append(entries, entry)
	}
	return entries, errors.Join(failed...)
}

// imageIn is the id of the only container image in an archive.
func imageIn(archive string) (string, error) {
	images, err := imagearchive.ReadFile(archive)
	if err != nil {
		return "", err
	}
	if len(images) > 1 {
		return "", fmt.Errorf("%s holds %d images: save the one that is wanted", archive, len(images))
	}
	return images[0].ID, nil
}

// selectPins picks the pins that pairs of a kind and a name stand for, all of them without arguments.
func selectPins(pins []hostfile.Pin, file string, args []string) ([]hostfile.Pin, error) {
	if len(args) == 0 {
		return pins, nil
	}
	if len(args)%2 != 0 {
		return nil, fmt.Errorf("%q: name each as engine NAME, model NAME or companion MODEL/NAME", strings.Join(args, " "))
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

func writeDigests(file string, entries []pinned) error {
	var edits []hostfile.Change
	for _, e := range entries {
		if e.shape != nil {
			edits = append(edits, hostfile.NewShape{Block: e.Kind, Name: e.Name, Shape: *e.shape})
		}
		if e.Changed {
			edits = append(edits, hostfile.Pin{Block: e.Kind, Name: e.Name}.Edit(e.New),
				hostfile.Origin{Block: e.Kind, Name: e.Name, Text: e.origin, Refresh: true})
		}
		if e.Image != e.oldImage {
			edits = append(edits, hostfile.Pin{Block: e.Kind, Name: e.Name}.EditImage(e.Image))
		}
	}
	_, err := hostfile.Rewrite(file, edits...)
	return err
}

// shapeText says what of a model decides how much memory it needs.
func shapeText(s hostfile.Shape) string {
	text := humanize.IBytes(uint64(s.Size)) + " of weights"
	if s.Layers > 0 {
		text += fmt.Sprintf(" in %s", plural(s.Layers, "layer", "layers"))
	}
	if s.KVPerToken > 0 {
		text += fmt.Sprintf(", %s of KV cache for 1024 tokens", humanize.IBytes(1024*uint64(s.KVPerToken)))
	}
	return text
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
		if e.Image != "" {
			fmt.Fprintf(&b, "%s %s: image %s\n", e.Kind, e.Name, e.Image)
		}
		if e.shape != nil && !check {
			fmt.Fprintf(&b, "%s %s: %s\n", e.Kind, e.Name, shapeText(*e.shape))
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
