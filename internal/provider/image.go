package provider

import (
	"context"
	"path"
	"regexp"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Image is a container image in the store of a container runtime on the host, named by its
// digest.
type Image struct{}

var (
	_ infer.CustomResource[ImageArgs, ImageState] = (*Image)(nil)
	_ infer.CustomCheck[ImageArgs]                = (*Image)(nil)
	_ infer.CustomRead[ImageArgs, ImageState]     = (*Image)(nil)
	_ infer.CustomUpdate[ImageArgs, ImageState]   = (*Image)(nil)
	_ infer.CustomDelete[ImageState]              = (*Image)(nil)
	_ infer.Annotated                             = (*Image)(nil)
	_ infer.Annotated                             = (*ImageArgs)(nil)
)

// The container runtimes.
const (
	runtimeDocker = "docker"
	runtimePodman = "podman"
)

// ImageArgs are an image's inputs.
type ImageArgs struct {
	Runtime   string `pulumi:"runtime" provider:"replaceOnChanges"`
	User      string `pulumi:"user,optional" provider:"replaceOnChanges"`
	Reference string `pulumi:"reference" provider:"replaceOnChanges"`
	Source    string `pulumi:"source,optional"`
	SHA256    string `pulumi:"sha256,optional"`
}

// ImageState is what is known of an image on the host.
type ImageState struct {
	ImageArgs
	Recorded
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (i *Image) Annotate(a infer.Annotator) {
	a.SetToken("index", "Image")
	a.Describe(i, "A container image, pulled by its digest or loaded from an archive by its id. An image that was there before is used, and stays when the resource is deleted; one that a container uses stays, too.")
}

// Annotate describes the inputs in the schema.
func (a *ImageArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Runtime, "`docker` or `podman`.")
	an.Describe(&a.User, "Whose images they are: `root`, or a user of the host that runs Podman without privileges.")
	an.SetDefault(&a.User, "root")
	an.Describe(&a.Reference, "`NAME@sha256:DIGEST` for an image that is pulled, `sha256:ID` for one that is loaded from `source`.")
	an.Describe(&a.Source, "Absolute path of the image's archive on the machine that runs Pulumi, as `docker save` writes it. It is read only when the host lacks the image, and a change of it alone is no change.")
	an.SetDefault(&a.Source, "")
	an.Describe(&a.SHA256, "SHA-256 of the archive, in lower-case hexadecimal. The host checks it before it loads anything.")
	an.SetDefault(&a.SHA256, "")
}

// id is RUNTIME/USER/REFERENCE, as the agent takes it apart again.
func (a *ImageArgs) id() string { return path.Join(a.Runtime, a.User, a.Reference) }

var (
	imageByDigest = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*@sha256:[0-9a-f]{64}$`)
	imageByID     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// imageReference demands a reference that names one image for ever.
func (c *checks) imageReference(property, v string) {
	if c.known(property) && !imageByDigest.MatchString(v) && !imageByID.MatchString(v) {
		c.fail(property, "must be NAME@sha256:DIGEST or sha256:ID, not %q: a tag means another image tomorrow", v)
	}
}

// Check validates the inputs.
func (*Image) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ImageArgs], error) {
	return check(ctx, req, func(c *checks, in *ImageArgs) {
		c.oneOf("runtime", in.Runtime, runtimeDocker, runtimePodman)
		c.account("user", in.User)
		if c.known("runtime") && c.known("user") && in.Runtime == runtimeDocker && in.User != "root" {
			c.fail("user", "must be root for Docker, whose images belong to no user")
		}
		c.imageReference("reference", in.Reference)
		c.localSource("source", in.Source)
		if !c.known("reference") || !c.known("source") || !c.known("sha256") {
			return
		}
		switch loaded := imageByID.MatchString(in.Reference); {
		case in.Source != "" && !loaded:
			c.fail("source", "is for an image by its id, sha256:ID, and %q is pulled", in.Reference)
		case in.Source != "" || in.SHA256 != "":
			c.sha256("sha256", in.SHA256)
		}
	})
}

// Create brings the image.
func (i *Image) Create(ctx context.Context, req infer.CreateRequest[ImageArgs]) (infer.CreateResponse[ImageState], error) {
	if req.DryRun {
		return infer.CreateResponse[ImageState]{Output: ImageState{req.Inputs, pending()}}, nil
	}
	rec, err := i.put(ctx, req.Inputs, nil)
	if err != nil {
		return infer.CreateResponse[ImageState]{}, err
	}
	return infer.CreateResponse[ImageState]{ID: req.Inputs.id(), Output: ImageState{req.Inputs, rec}}, nil
}

// Update brings the image if it has gone: all that makes up an image is in its name.
func (i *Image) Update(ctx context.Context, req infer.UpdateRequest[ImageArgs, ImageState]) (infer.UpdateResponse[ImageState], error) {
	if req.DryRun {
		return infer.UpdateResponse[ImageState]{Output: ImageState{req.Inputs, req.State.Recorded}}, nil
	}
	rec, err := i.put(ctx, req.Inputs, req.State.toUpdate())
	if err != nil {
		return infer.UpdateResponse[ImageState]{}, err
	}
	return infer.UpdateResponse[ImageState]{Output: ImageState{req.Inputs, rec}}, nil
}

// Read asks the runtime whether it has the image.
func (*Image) Read(ctx context.Context, req infer.ReadRequest[ImageArgs, ImageState]) (infer.ReadResponse[ImageArgs, ImageState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[ImageArgs, ImageState]{}, err
	}
	seen, err := h.Agent().ObserveImage(ctx, &agentpb.ObserveImageRequest{Id: req.ID})
	if err != nil {
		return infer.ReadResponse[ImageArgs, ImageState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[ImageArgs, ImageState]{}, nil
	}
	in := req.Inputs
	parts := strings.SplitN(req.ID, "/", 3)
	in.Runtime, in.User, in.Reference = parts[0], parts[1], parts[2] // the agent has taken it apart, too
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[ImageArgs, ImageState]{ID: req.ID, Inputs: in, State: ImageState{in, rec}}, nil
}

// Delete removes the image, if this resource has brought it and nothing uses it.
func (*Image) Delete(ctx context.Context, req infer.DeleteRequest[ImageState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
