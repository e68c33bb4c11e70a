package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// The test provider keeps files in a folder that stands in for a host. Files beside it steer it:
//
//	unreachable     every operation fails, as if the host were off
//	hold-early-X    an operation on X waits before its effect, until the file is gone or it is cancelled
//	hold-late-X     the same after its effect
//	hold-read-X     a read of X waits
//
// and it says where it waits in waiting-X, and what it wrote in the log.
const hostFolder = "TEST_HOST"

// deaf makes the provider ignore that it is cancelled.
const deaf = "TEST_DEAF"

type Note struct{}

type NoteArgs struct {
	Path   string            `pulumi:"path" provider:"replaceOnChanges"`
	Text   string            `pulumi:"text"`
	Secret *string           `pulumi:"secret,optional" provider:"secret"`
	Parts  map[string]string `pulumi:"parts,optional"`
}

type NoteState struct{ NoteArgs }

func (*Note) Annotate(a infer.Annotator) { a.SetToken("index", "Note") }

func testProvider() p.Provider {
	return infer.Provider(infer.Options{Resources: []infer.InferredResource{infer.Resource(&Note{})}})
}

func testPendingID(token string, inputs resource.PropertyMap) (string, bool) {
	path, ok := inputs["path"]
	return path.V.(string), ok && token == "test:index:Note"
}

func control(name string) string { return filepath.Join(os.Getenv(hostFolder), name) }

func onHost(path string) string { return filepath.Join(os.Getenv(hostFolder), "root", path) }

func reachable() error {
	if _, err := os.Stat(control("unreachable")); err == nil {
		return errors.New("cannot reach the test host")
	}
	return nil
}

// hold waits while the file that holds this operation exists.
func hold(ctx context.Context, when, path string) error {
	name := control("hold-" + when + "-" + path)
	if _, err := os.Stat(name); err != nil {
		return nil
	}
	if err := os.WriteFile(control("waiting-"+path), nil, 0o600); err != nil {
		return err
	}
	done := ctx.Done()
	if os.Getenv(deaf) != "" {
		done = nil
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return fmt.Errorf("stopped: %w", ctx.Err())
		case <-tick.C:
			if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
				return nil
			}
		}
	}
}

func logged(what, path string) error {
	f, err := os.OpenFile(control("log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintln(f, what, path)
	return err
}

func encode(a NoteArgs) []byte {
	s := a.Text
	for k, v := range a.Parts {
		s += "\n@" + k + "=" + v
	}
	if a.Secret != nil {
		s += "\n!" + *a.Secret
	}
	return []byte(s)
}

func put(ctx context.Context, what string, a NoteArgs) error {
	if err := reachable(); err != nil {
		return err
	}
	if err := hold(ctx, "early", a.Path); err != nil {
		return err
	}
	if err := os.WriteFile(onHost(a.Path), encode(a), 0o600); err != nil {
		return err
	}
	if err := logged(what, a.Path); err != nil {
		return err
	}
	return hold(ctx, "late", a.Path)
}

func (*Note) Create(ctx context.Context, req infer.CreateRequest[NoteArgs]) (infer.CreateResponse[NoteState], error) {
	r := infer.CreateResponse[NoteState]{ID: req.Inputs.Path, Output: NoteState{req.Inputs}}
	if req.DryRun {
		return r, nil
	}
	return r, put(ctx, "create", req.Inputs)
}

func (*Note) Update(ctx context.Context, req infer.UpdateRequest[NoteArgs, NoteState]) (infer.UpdateResponse[NoteState], error) {
	r := infer.UpdateResponse[NoteState]{Output: NoteState{req.Inputs}}
	if req.DryRun {
		return r, nil
	}
	return r, put(ctx, "update", req.Inputs)
}

func (*Note) Delete(ctx context.Context, req infer.DeleteRequest[NoteState]) (infer.DeleteResponse, error) {
	if err := reachable(); err != nil {
		return infer.DeleteResponse{}, err
	}
	if err := hold(ctx, "early", req.ID); err != nil {
		return infer.DeleteResponse{}, err
	}
	if err := os.Remove(onHost(req.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return infer.DeleteResponse{}, err
	}
	if err := logged("delete", req.ID); err != nil {
		return infer.DeleteResponse{}, err
	}
	return infer.DeleteResponse{}, hold(ctx, "late", req.ID)
}

func (*Note) Read(ctx context.Context, req infer.ReadRequest[NoteArgs, NoteState]) (infer.ReadResponse[NoteArgs, NoteState], error) {
	if err := reachable(); err != nil {
		return infer.ReadResponse[NoteArgs, NoteState]{}, err
	}
	if err := hold(ctx, "read", req.ID); err != nil {
		return infer.ReadResponse[NoteArgs, NoteState]{}, err
	}
	raw, err := os.ReadFile(onHost(req.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return infer.ReadResponse[NoteArgs, NoteState]{}, nil
	}
	if err != nil {
		return infer.ReadResponse[NoteArgs, NoteState]{}, err
	}
	in := decode(req.ID, string(raw))
	return infer.ReadResponse[NoteArgs, NoteState]{ID: req.ID, Inputs: in, State: NoteState{in}}, nil
}
