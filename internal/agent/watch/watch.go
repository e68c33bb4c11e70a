// Package watch is how a host checks its models itself, when llmhost isn't connected: at every
// start of a server, and in turn every few days.
//
// It exists because a model is read once and then trusted for months. What a check compares with
// is the model's record on the host (package checkrecord), and how it looks at the bytes is what
// the agent's calls do (package models), with the same memory, so that a host, a drift run and a
// deployment never disagree.
package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/checkrecord"
	"github.com/llmhost/llmhost/internal/signing"
)

// Watcher checks the models of a host.
type Watcher struct {
	// Digests is the agent's memory of the models' bytes and of their verifications.
	Digests digest.Cache
	// Metrics is the folder that takes models.prom.
	Metrics string
	// Out takes a line now and then, for the journal.
	Out io.Writer
}

// ErrRefused is the error of a check after which a server must not start, and of a verification
// that a model didn't pass. What was wrong is on its lines.
var ErrRefused = errors.New("not as it should be")

// refusal collects what is wrong, a line for each model.
type refusal []string

func (r refusal) Error() string        { return strings.Join(r, "\n") }
func (r refusal) Is(target error) bool { return target == ErrRefused }

func (r *refusal) addf(format string, args ...any) { *r = append(*r, fmt.Sprintf(format, args...)) }

func (r refusal) err() error {
	if len(r) == 0 {
		return nil
	}
	return r
}

// Check looks at the models of the records before a server is started with them. It reads a
// model only when the host doesn't remember its bytes.
func (w *Watcher) Check(ctx context.Context, files []string) error {
	var wrong refusal
	for _, file := range files {
		r, err := readRecord(file)
		if err != nil {
			wrong.addf("%v", err)
			continue
		}
		begun := time.Now()
		m, err := models.Look(ctx, w.Digests, r.Path, models.Options{Remember: true, Progress: w.progress(r.Name)})
		if err != nil {
			wrong.addf("model %s: %s can't be read: %v", r.Name, r.Path, err)
			continue
		}
		if why := fault(r, m); why != "" {
			wrong.addf("model %s: %s", r.Name, why)
			continue
		}
		how := "it was read"
		if m.Remembered && m.Verity() {
			how = "fs-verity protects it"
		} else if m.Remembered {
			how = "nothing has touched it since it was read"
		}
		fmt.Fprintf(w.Out, "model %s: %s is as pinned (%s, in %s)\n", r.Name, r.Path, how, time.Since(begun).Round(10*time.Microsecond))
	}
	return wrong.err()
}

// again is what helps against wrong bytes.
const again = "`llmhost up --refresh` puts the right ones there"

// fault says what is wrong with a model, by what was found. It is empty when nothing is.
func fault(r *checkrecord.Record, m *models.Model) string {
	switch {
	case !m.Exists:
		return fmt.Sprintf("%s is not on the host; `llmhost up --refresh` brings it", r.Path)
	case m.Unusable != "":
		return fmt.Sprintf("%s can't be used: %s; %s", r.Path, m.Unusable, again)
	case m.Folder != r.Folder:
		return fmt.Sprintf("%s is a %s, and a %s is to be there; %s", r.Path, kind(m.Folder), kind(r.Folder), again)
	case m.SHA256 != r.SHA256:
		return fmt.Sprintf("%s has the SHA-256 %s and is pinned as %s: somebody or something has changed it; %s", r.Path, m.SHA256, r.SHA256, again)
	}
	if err := signed(r, m); err != nil {
		return fmt.Sprintf("%s: %v; sign it with `llmhost model sign`, or correct the signature block in the host file", r.Path, err)
	}
	if m.Verified != nil && m.Verified.Failure != "" {
		return fmt.Sprintf("%s did not pass its verification at %s: %s; %s", r.Path, time.Unix(m.Verified.Unix, 0).UTC().Format(time.RFC3339), m.Verified.Failure, again)
	}
	return ""
}

// signed checks a signature, if one is demanded.
func signed(r *checkrecord.Record, m *models.Model) error {
	if r.Signature == nil {
		return nil
	}
	key, err := signing.ParsePublicKey([]byte(r.Signature.PublicKey))
	if err != nil {
		return fmt.Errorf("the public key that must have signed it: %w", err)
	}
	statement, err := signing.Verify([]byte(r.Signature.Bundle), key)
	if err != nil {
		return fmt.Errorf("its signature: %w", err)
	}
	if !m.Folder {
		return statement.CoversFile(m.SHA256)
	}
	var files []signing.File
	for _, f := range m.Files {
		files = append(files, signing.File{Name: f.Name, SHA256: f.SHA256})
	}
	return statement.CoversFolder(files, r.Signature.Name)
}

func kind(folder bool) string {
	if folder {
		return "folder"
	}
	return "file"
}

// readRecord reads the record in a file. The folder is root's, and what is in it decides what a
// server may load, so that a link in it leads nowhere.
func readRecord(file string) (*checkrecord.Record, error) {
	d, name, err := durable.Parent(file)
	if err != nil {
		return nil, unread(file, err)
	}
	defer d.Close()
	f, is, err := d.OpenFile(name)
	if err != nil {
		return nil, unread(file, err)
	}
	defer f.Close()
	if is.Mode&0o022 != 0 || is.UID != 0 && int(is.UID) != os.Geteuid() {
		return nil, fmt.Errorf("record %s: others than root may write it, so that it says nothing; `llmhost up --refresh` sets its owner and mode", file)
	}
	r, err := checkrecord.Read(f)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w; `llmhost up --refresh` writes it again", file, err)
	}
	return r, nil
}

func unread(file string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("record %s is not there; `llmhost up --refresh` writes it", file)
	}
	return fmt.Errorf("record %s can't be read: %w", file, err)
}

// recordFiles are the records that arguments name: a folder stands for all in it.
func recordFiles(args []string) ([]string, error) {
	var files []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil || !info.IsDir() {
			files = append(files, arg) // what is wrong with it shows when it is read
			continue
		}
		entries, err := os.ReadDir(arg)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), ".") && filepath.Ext(e.Name()) == ".json" {
				files = append(files, filepath.Join(arg, e.Name()))
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}
