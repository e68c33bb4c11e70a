package container

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// byID and byDigest are the two forms of a reference that names one image for ever.
var (
	byID     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	byDigest = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$`)
)

// ValidReference refuses what could mean another image tomorrow, and what a command line would
// take for an option.
func ValidReference(reference string) error {
	if !byID.MatchString(reference) && !byDigest.MatchString(reference) {
		return fault.New(agentpb.Reason_INVALID, "%q names no image by its digest", reference)
	}
	return nil
}

// ByID tells an image that is loaded, by its id, from one that is pulled, by its digest.
func ByID(reference string) bool { return byID.MatchString(reference) }

// Image is an image as a runtime has it.
type Image struct {
	// ID is what the runtime calls it, with sha256: the digest of its configuration, and where
	// Docker keeps images in containerd's store that of its manifest or index.
	ID   string
	Size uint64
	Tags []string
}

// Image looks up an image by a reference. It is nil when the runtime doesn't have it.
func (r *Runtime) Image(ctx context.Context, reference string) (*Image, error) {
	out, err := r.ask(ctx, "image", "inspect", "--format", "{{json .}}", "--", reference)
	var no *refusal
	if errors.As(err, &no) && no.says("no such image", "image not known", "no such object") {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err)
	}
	var seen struct {
		ID          string `json:"Id"`
		Size        uint64
		RepoTags    []string
		RepoDigests []string
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		return nil, fmt.Errorf("read what %s says of %s: %w", r.Name, reference, err)
	}
	image := &Image{ID: withAlgorithm(seen.ID), Size: seen.Size, Tags: seen.RepoTags}
	// A runtime also finds images by what merely looks like an id or a digest.
	_, digest, pulled := strings.Cut(reference, "@")
	if pulled && !slices.ContainsFunc(seen.RepoDigests, func(d string) bool { return strings.HasSuffix(d, "@"+digest) }) ||
		!pulled && image.ID != reference {
		return nil, nil
	}
	return image, nil
}

// withAlgorithm writes an id as Docker does; Podman leaves the algorithm away.
func withAlgorithm(id string) string {
	if strings.Contains(id, ":") {
		return id
	}
	return "sha256:" + id
}

// IDs are the ids of all images.
func (r *Runtime) IDs(ctx context.Context) ([]string, error) {
	out, err := r.ask(ctx, "image", "ls", "--quiet", "--no-trunc")
	if err != nil {
		return nil, failed(err)
	}
	var ids []string
	for line := range strings.Lines(string(out)) {
		ids = append(ids, withAlgorithm(strings.TrimSpace(line)))
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Load gives the runtime an archive.
func (r *Runtime) Load(ctx context.Context, archive *os.File) error {
	cmd := r.command(ctx, "load", "--quiet")
	cmd.Stdin = archive
	_, err := r.run(cmd)
	return failed(err)
}

// Pull has the runtime fetch an image by its digest, which the runtime checks. say gets a line
// of progress now and then.
func (r *Runtime) Pull(ctx context.Context, reference string, say func(string)) error {
	cmd := r.command(ctx, "pull", "--", reference)
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = write
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			say(strings.TrimSpace(lines.Text()))
		}
	}()
	_, err = r.run(cmd)
	write.Close()
	<-ended
	read.Close()
	return failed(err)
}

// Remove removes an image. What something else still uses is kept, and why is returned.
func (r *Runtime) Remove(ctx context.Context, reference string) (keptBecause string, err error) {
	_, err = r.ask(ctx, "image", "rm", "--", reference)
	var no *refusal
	switch {
	case !errors.As(err, &no):
		return "", err
	case no.says("no such image", "image not known"):
		return "", nil
	case no.says("image is being used", "image is in use", "must be forced", "cannot be forced", "multiple repositories", "dependent child images", "image used by"):
		return no.said, nil
	default:
		return "", failed(err)
	}
}
