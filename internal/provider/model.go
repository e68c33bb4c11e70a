package provider

import (
	"context"
	"maps"
	"slices"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/modelfile/header"
	"github.com/llmhost/llmhost/internal/signing"
)

// Model is a model file on the host, pushed from the machine that runs Pulumi.
type Model struct{}

var (
	_ infer.CustomResource[ModelArgs, ModelState] = (*Model)(nil)
	_ infer.CustomCheck[ModelArgs]                = (*Model)(nil)
	_ infer.CustomRead[ModelArgs, ModelState]     = (*Model)(nil)
	_ infer.CustomUpdate[ModelArgs, ModelState]   = (*Model)(nil)
	_ infer.CustomDelete[ModelState]              = (*Model)(nil)
	_ infer.Annotated                             = (*Model)(nil)
	_ infer.Annotated                             = (*ModelArgs)(nil)
)

// ModelArgs are a model's inputs.
type ModelArgs struct {
	Path        string  `pulumi:"path" provider:"replaceOnChanges"`
	Source      string  `pulumi:"source,optional"`
	SHA256      string  `pulumi:"sha256"`
	Folder      bool    `pulumi:"folder,optional"`
	Download    string  `pulumi:"download,optional"`
	Hub         string  `pulumi:"hub,optional"`
	Token       *string `pulumi:"token,optional" provider:"secret"`
	AllowPickle bool    `pulumi:"allowPickle,optional"`
	Role        string  `pulumi:"role,optional"`
	PublicKey   *string `pulumi:"publicKey,optional"`
	Signature   *string `pulumi:"signature,optional"`
	Mode        string  `pulumi:"mode,optional"`
	Owner       string  `pulumi:"owner,optional"`
	Group       string  `pulumi:"group,optional"`
	Verified    *bool   `pulumi:"verified,optional"`
	Adopt       bool    `pulumi:"adopt,optional"`
}

// ModelState is what is known of a model on the host.
type ModelState struct {
	ModelArgs
	Recorded
}

// Who fetches what comes from an address.
const (
	downloadByHost = "host"
	downloadHere   = "here"
)

// roles are what a model's file can be for.
var roles = map[string]header.Role{
	"model": header.Model, "mmproj": header.MMProj, "lora": header.LoRA, "draft": header.Draft,
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (m *Model) Annotate(a infer.Annotator) {
	a.SetToken("index", "Model")
	a.Describe(m, "A model: one file, or a folder of files. It has its name on the host only when all of it has arrived and has the pinned digest.")
}

// Annotate describes the inputs in the schema.
func (a *ModelArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host.")
	an.Describe(&a.Source, "Where the bytes come from: an absolute path on the machine that runs Pulumi, `https://…`, `hf://ORG/REPO@REVISION`, `ssh://[user@]host[:port]/path`, or `host:/path` for what is on the host already. It is used only when the host lacks the bytes, and a change of it alone is no change: `sha256` says which model it is.")
	an.SetDefault(&a.Source, "")
	an.Describe(&a.SHA256, "SHA-256 of the file, or of the folder's manifest, in lower-case hexadecimal.")
	an.Describe(&a.Folder, "The model is a folder.")
	an.SetDefault(&a.Folder, false)
	an.Describe(&a.Download, "Who fetches what comes from an address: `host` itself, or the machine that runs Pulumi, `here`.")
	an.SetDefault(&a.Download, downloadByHost)
	an.Describe(&a.Hub, "Address of the hub that `hf://` sources are on.")
	an.SetDefault(&a.Hub, "https://huggingface.co")
	an.Describe(&a.Token, "Token for a private repository or address. It goes to the hub, or to the address of an `https://` source on the hub's own host, and nowhere else.")
	an.Describe(&a.AllowPickle, "Accept formats that run code when they are loaded.")
	an.SetDefault(&a.AllowPickle, false)
	an.Describe(&a.Role, "What it is for: `model`, or a model's companion `mmproj`, `lora` or `draft`.")
	an.SetDefault(&a.Role, "model")
	an.Describe(&a.PublicKey, "Public key in PEM that must have signed the model. Empty: no signature is demanded.")
	an.Describe(&a.Signature, "Absolute path of the signature on the machine that runs Pulumi.")
	an.Describe(&a.Mode, "Permission bits of the files as four octal digits. A folder has the same, and may be entered by those who may read.")
	an.SetDefault(&a.Mode, "0640")
	an.Describe(&a.Owner, "Name of the owning user.")
	an.SetDefault(&a.Owner, "root")
	an.Describe(&a.Group, "Name of the owning group.")
	an.SetDefault(&a.Group, "root")
	an.Describe(&a.Verified, "Always true: false is what a refresh finds when the host has read these bytes again and they were no longer the pinned ones. It is an input so that this shows as drift.")
	an.SetDefault(&a.Verified, true)
	describeAdopt(an, &a.Adopt)
}

// Check validates the inputs.
func (*Model) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[ModelArgs], error) {
	return check(ctx, req, func(c *checks, in *ModelArgs) {
		c.absolutePath("path", in.Path)
		c.modelSource(in)
		c.sha256("sha256", in.SHA256)
		c.oneOf("download", in.Download, downloadByHost, downloadHere)
		c.oneOf("role", in.Role, slices.Sorted(maps.Keys(roles))...)
		c.signature(in)
		c.mode("mode", in.Mode)
		c.account("owner", in.Owner)
		c.account("group", in.Group)
		if c.known("verified") && in.Verified != nil && !*in.Verified {
			c.fail("verified", "must be true: it only shows that the host has found other bytes")
		}
	})
}

// modelSource checks the source's text, and that it agrees with the other inputs.
func (c *checks) modelSource(in *ModelArgs) {
	if !c.known("source") || in.Source == "" {
		return
	}
	from, err := modelfile.ParseSource(in.Source)
	switch {
	case err != nil:
		c.fail("source", "%v", err)
	case from.Kind == modelfile.Local:
		c.localSource("source", from.Path)
	case c.known("folder") && from.Folder != in.Folder:
		c.fail("folder", "must be %t: that is what the source %s names", from.Folder, in.Source)
	case from.Kind == modelfile.Host && c.known("adopt") && !in.Adopt:
		c.fail("adopt", "must be true for what is on the host already")
	}
}

// signature checks that a signature can be found when one is demanded.
func (c *checks) signature(in *ModelArgs) {
	if in.Signature != nil {
		c.localSource("signature", *in.Signature)
	}
	if !c.known("publicKey") || in.PublicKey == nil {
		return
	}
	if _, err := signing.ParsePublicKey([]byte(*in.PublicKey)); err != nil {
		c.fail("publicKey", "%v", err)
	}
	from, err := modelfile.ParseSource(in.Source)
	if err == nil && c.known("source") && c.known("signature") && in.signatureFile(from) == "" {
		c.fail("signature", "is required: beside a source of this kind none is looked for. Write the path of the signature's file on this machine")
	}
}

// Create pushes the model, unless the host has these very bytes already.
func (m *Model) Create(ctx context.Context, req infer.CreateRequest[ModelArgs]) (infer.CreateResponse[ModelState], error) {
	if req.DryRun {
		return infer.CreateResponse[ModelState]{Output: ModelState{req.Inputs, pending()}}, nil
	}
	rec, err := m.put(ctx, req.Inputs, nil, false)
	if err != nil {
		return infer.CreateResponse[ModelState]{}, err
	}
	return infer.CreateResponse[ModelState]{ID: req.Inputs.Path, Output: ModelState{req.Inputs, rec}}, nil
}

// Update pushes the model if its bytes aren't the pinned ones, and else sets its mode and
// owners.
func (m *Model) Update(ctx context.Context, req infer.UpdateRequest[ModelArgs, ModelState]) (infer.UpdateResponse[ModelState], error) {
	if req.DryRun {
		return infer.UpdateResponse[ModelState]{Output: ModelState{req.Inputs, req.State.Recorded}}, nil
	}
	doubted := req.State.Verified != nil && !*req.State.Verified
	rec, err := m.put(ctx, req.Inputs, req.State.toUpdate(), doubted)
	if err != nil {
		return infer.UpdateResponse[ModelState]{}, err
	}
	return infer.UpdateResponse[ModelState]{Output: ModelState{req.Inputs, rec}}, nil
}

// Read observes the model. The agent hashes it again only when the file seems to have changed
// since the last hash.
func (*Model) Read(ctx context.Context, req infer.ReadRequest[ModelArgs, ModelState]) (infer.ReadResponse[ModelArgs, ModelState], error) {
	h, err := connect(ctx)
	if err != nil {
		return infer.ReadResponse[ModelArgs, ModelState]{}, err
	}
	seen, err := h.Agent().ObserveModel(ctx, &agentpb.ObserveModelRequest{Path: req.ID})
	if err != nil {
		return infer.ReadResponse[ModelArgs, ModelState]{}, err
	}
	if !seen.GetExists() {
		return infer.ReadResponse[ModelArgs, ModelState]{}, nil
	}
	in := req.Inputs
	in.Path = req.ID
	in.SHA256, in.Folder = seen.GetSha256(), seen.GetFolder()
	verified := seen.GetVerifyFailure() == ""
	in.Verified = &verified
	in.Mode, in.Owner, in.Group = formatMode(seen.GetMode()), seen.GetOwner(), seen.GetGroup()
	rec := observedRecord(ctx, req.State.Recorded, seen.GetOwned())
	return infer.ReadResponse[ModelArgs, ModelState]{ID: req.ID, Inputs: in, State: ModelState{in, rec}}, nil
}

// Delete removes the model, if this resource still owns it.
func (*Model) Delete(ctx context.Context, req infer.DeleteRequest[ModelState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
