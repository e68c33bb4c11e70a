package provider

import (
	"context"
	"fmt"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// File is a file on the host.
type File struct{}

var (
	_ infer.CustomResource[FileArgs, FileState]       = (*File)(nil)
	_ infer.CustomCheck[FileArgs]                     = (*File)(nil)
	_ infer.CustomRead[FileArgs, FileState]           = (*File)(nil)
	_ infer.CustomUpdate[FileArgs, FileState]         = (*File)(nil)
	_ infer.CustomDelete[FileState]                   = (*File)(nil)
	_ infer.ExplicitDependencies[FileArgs, FileState] = (*File)(nil)
	_ infer.Annotated                                 = (*File)(nil)
	_ infer.Annotated                                 = (*FileArgs)(nil)
	_ infer.Annotated                                 = (*FileState)(nil)
)

// FileArgs are a file's inputs.
type FileArgs struct {
	Path          string  `pulumi:"path" provider:"replaceOnChanges"`
	Content       *string `pulumi:"content,optional"`
	SecretContent *string `pulumi:"secretContent,optional" provider:"secret"`
	Mode          string  `pulumi:"mode,optional"`
	Owner         string  `pulumi:"owner,optional"`
	Group         string  `pulumi:"group,optional"`
	Guard         *bool   `pulumi:"guard,optional"`
	Adopt         bool    `pulumi:"adopt,optional"`
}

// FileState is what is known of a file on the host.
type FileState struct {
	FileArgs
	Recorded
	SHA256 *string `pulumi:"sha256,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (f *File) Annotate(a infer.Annotator) {
	a.SetToken("index", "File")
	a.Describe(f, "A file on the host. It is replaced atomically: a reader sees the old content or the new.")
}

// Annotate describes the inputs in the schema.
func (a *FileArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.Describe(&a.Content, "The file's text. Exactly one of `content` and `secretContent` is set.")
	an.Describe(&a.SecretContent, "The file's text, which is never shown, never read back, and encrypted in state.")
	an.Describe(&a.Mode, "Permission bits as four octal digits.")
	an.SetDefault(&a.Mode, "0644")
	an.Describe(&a.Owner, "Name of the owning user.")
	an.SetDefault(&a.Owner, "root")
	an.Describe(&a.Group, "Name of the owning group.")
	an.SetDefault(&a.Group, "root")
	describeGuard(an, &a.Guard, "Without it a file of sshd, sudo, the firewall or the network is guarded, and others aren't. A guarded file is also checked and brought into force by its own tool.")
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *FileState) Annotate(an infer.Annotator) {
	an.Describe(&s.SHA256, "SHA-256 of `content`. Not set for `secretContent`, whose digest could be guessed from.")
}

// WireDependencies keeps the digest known in previews: it depends on the content alone.
func (*File) WireDependencies(f infer.FieldSelector, args *FileArgs, state *FileState) {
	if args.Content != nil && *args.Content != "" { // an unknown content looks empty
		f.OutputField(&state.SHA256).AlwaysKnown()
	}
}

// Check validates the inputs.
func (*File) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[FileArgs], error) {
	return check(ctx, req, func(c *checks, in *FileArgs) {
		c.absolutePath("path", in.Path)
		c.mode("mode", in.Mode)
		c.account("owner", in.Owner)
		c.account("group", in.Group)
		if (in.Content == nil) == (in.SecretContent == nil) {
			c.fail("content", "exactly one of content and secretContent must be set")
		}
		if len(in.text()) > maxFileContent {
			c.fail("content", "is larger than 1 MiB; push such a file as a Model")
		}
	})
}

// Create writes the file.
func (f *File) Create(ctx context.Context, req infer.CreateRequest[FileArgs]) (infer.CreateResponse[FileState], error) {
	if req.DryRun {
		return infer.CreateResponse[FileState]{Output: fileState(req.Inputs, pending())}, nil
	}
	rec, err := f.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[FileState]{}, err
	}
	return infer.CreateResponse[FileState]{ID: req.Inputs.Path, Output: fileState(req.Inputs, rec)}, nil
}

// Update writes the file again; the agent changes only what differs.
func (f *File) Update(ctx context.Context, req infer.UpdateRequest[FileArgs, FileState]) (infer.UpdateResponse[FileState], error) {
	if req.DryRun {
		return infer.UpdateResponse[FileState]{Output: fileState(req.Inputs, req.State.Recorded)}, nil
	}
	rec, err := f.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[FileState]{}, err
	}
	return infer.UpdateResponse[FileState]{Output: fileState(req.Inputs, rec)}, nil
}

func (*File) put(ctx context.Context, in FileArgs, generation *string) (Recorded, error) {
	mode, err := parseMode(in.Mode)
	if err != nil {
		return Recorded{}, err
	}
	guarded := isGuarded(in.Path, in.Guard)
	release, err := oneAtATime(ctx, guarded)
	if err != nil {
		return Recorded{}, err
	}
	defer release()
	h, err := connectToChange(ctx)
	if err != nil {
		return Recorded{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return Recorded{}, err
	}
	resp, err := h.Agent().PutFile(ctx, &agentpb.PutFileRequest{
		Claim: c, Content: []byte(in.text()), Mode: mode, Owner: in.Owner, Group: in.Group,
		Guard: guardOf(guarded),
	})
	if err != nil {
		return Recorded{}, err
	}
	if err := confirm(ctx, h, resp.GetGuarded()); err != nil {
		return Recorded{}, err
	}
	return recorded(resp.GetGeneration()), nil
}

// Read observes the file.
func (*File) Read(ctx context.Context, req infer.ReadRequest[FileArgs, FileState]) (infer.ReadResponse[FileArgs, FileState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[FileArgs, FileState]{}, err
	}
	ask := &agentpb.ObservePathRequest{Path: req.ID, Kind: "File"}
	if req.Inputs.SecretContent == nil {
		ask.MaxContent = maxFileContent
	}
	seen, err := h.Agent().ObservePath(ctx, ask)
	if err != nil {
		return infer.ReadResponse[FileArgs, FileState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[FileArgs, FileState]{}, nil
	}
	in := req.Inputs
	in.Path = req.ID
	in.Mode, in.Owner, in.Group = formatMode(seen.GetMode()), seen.GetOwner(), seen.GetGroup()
	in.observe(seen)
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[FileArgs, FileState]{ID: req.ID, Inputs: in, State: fileState(in, rec)}, nil
}

// Delete removes the file, if this resource still owns it.
func (*File) Delete(ctx context.Context, req infer.DeleteRequest[FileState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, removeGuarded(ctx, req.ID, req.State.Generation, isGuarded(req.ID, req.State.Guard))
}

func (a *FileArgs) text() string {
	switch {
	case a.SecretContent != nil:
		return *a.SecretContent
	case a.Content != nil:
		return *a.Content
	default:
		return ""
	}
}

// observe sets the content to what the host has, or to a note that stands for it.
func (a *FileArgs) observe(seen *agentpb.PathState) {
	switch {
	case seen.GetType() != "file":
		note := fmt.Sprintf("<not a file but a %s>", seen.GetType())
		a.setContent(note)
	case a.SecretContent != nil:
		text := observedSecret(*a.SecretContent, seen.GetSha256())
		a.SecretContent = &text
	case a.Content == nil && seen.GetMode()&0o007 == 0:
		// An import doesn't say whether the content is secret. A file that not everybody may
		// read could hold one, so its bytes stay on the host until the program names them.
		note := fmt.Sprintf("<not read: the file's mode is %s>", formatMode(seen.GetMode()))
		a.SecretContent = &note
	default:
		text := observedText(seen)
		a.Content = &text
	}
}

func (a *FileArgs) setContent(s string) {
	if a.SecretContent != nil {
		a.SecretContent = &s
		return
	}
	a.Content = &s
}

func fileState(in FileArgs, rec Recorded) FileState {
	s := FileState{FileArgs: in, Recorded: rec}
	if in.SecretContent == nil && in.Content != nil {
		sum := digest(*in.Content)
		s.SHA256 = &sum
	}
	return s
}
