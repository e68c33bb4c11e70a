package provider

import (
	"context"
	"path"
	"regexp"
	"time"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
)

// Credential is a secret on the host that units load.
type Credential struct{}

var (
	_ infer.CustomResource[CredentialArgs, CredentialState]       = (*Credential)(nil)
	_ infer.CustomCheck[CredentialArgs]                           = (*Credential)(nil)
	_ infer.CustomRead[CredentialArgs, CredentialState]           = (*Credential)(nil)
	_ infer.CustomUpdate[CredentialArgs, CredentialState]         = (*Credential)(nil)
	_ infer.CustomDelete[CredentialState]                         = (*Credential)(nil)
	_ infer.ExplicitDependencies[CredentialArgs, CredentialState] = (*Credential)(nil)
	_ infer.Annotated                                             = (*Credential)(nil)
	_ infer.Annotated                                             = (*CredentialArgs)(nil)
	_ infer.Annotated                                             = (*CredentialState)(nil)
)

// CredentialArgs are a credential's inputs.
type CredentialArgs struct {
	Path          string `pulumi:"path" provider:"replaceOnChanges"`
	Content       string `pulumi:"content" provider:"secret"`
	Encrypted     *bool  `pulumi:"encrypted,optional"`
	Secret        string `pulumi:"secret,optional"`
	Created       string `pulumi:"created,optional"`
	MaxAgeSeconds int    `pulumi:"maxAgeSeconds,optional"`
	Expires       string `pulumi:"expires,optional"`
	Condition     string `pulumi:"condition,optional"`
	Validity      string `pulumi:"validity,optional"`
	Adopt         bool   `pulumi:"adopt,optional"`
}

// CredentialState is what is known of a credential on the host.
type CredentialState struct {
	CredentialArgs
	Recorded
	SealedWith   *string `pulumi:"sealedWith,optional"`
	SealedDigest *string `pulumi:"sealedDigest,optional"`
}

// The values of the inputs that only show what is wrong.
const (
	conditionIntact = "intact"
	validityValid   = "valid"
)

// Annotate fixes the type's token, which is in every URN, and describes it.
func (r *Credential) Annotate(a infer.Annotator) {
	a.SetToken("index", "Credential")
	a.Describe(r, "A secret in a file that root alone can read, encrypted by systemd-creds with a key of the host, for units to load with `LoadCredentialEncrypted=`. "+
		"It is encrypted in state, it reaches the host inside the connection and systemd-creds by its standard input, and it is never read back.")
}

// Annotate describes the inputs in the schema.
func (a *CredentialArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Path, "Absolute path on the host. Its last part is the credential's name: letters, digits, `_` and `-`.")
	an.Describe(&a.Content, "The secret.")
	an.Describe(&a.Encrypted, "False for a host whose systemd is older than 250: the file is then in clear, for root alone, and loaded with `LoadCredential=`.")
	an.SetDefault(&a.Encrypted, true)
	an.Describe(&a.Secret, "Name of the secret in the host file, for what is said about it.")
	an.SetDefault(&a.Secret, "")
	an.Describe(&a.Created, "When the newest key in it was made (RFC 3339).")
	an.SetDefault(&a.Created, "")
	an.Describe(&a.MaxAgeSeconds, "After how many seconds from `created` it is too old; 0 for never.")
	an.SetDefault(&a.MaxAgeSeconds, 0)
	an.Describe(&a.Expires, "When the first key in it ends to be accepted (RFC 3339): the next deployment removes it.")
	an.SetDefault(&a.Expires, "")
	an.Describe(&a.Condition, "Always `intact`: the file holds the declared secret as llmhost has sealed it. It is an input so that another secret, one that somebody else has sealed, "+
		"and one that others may read show as drift. Another secret is told by a digest that is keyed with the declared one.")
	an.SetDefault(&a.Condition, conditionIntact)
	an.Describe(&a.Validity, "Always `valid`. It is an input so that a secret which is too old, or a key whose time is over, shows as drift.")
	an.SetDefault(&a.Validity, validityValid)
	describeAdopt(an, &a.Adopt)
}

// Annotate describes the outputs in the schema.
func (s *CredentialState) Annotate(an infer.Annotator) {
	an.Describe(&s.SealedWith, "What the file is encrypted with: `host` (a key in /var/lib/systemd), `tpm2` or `host+tpm2`; empty when it isn't encrypted.")
	an.Describe(&s.SealedDigest, "SHA-256 of the encrypted file, which says nothing about the secret.")
}

// WireDependencies says which outputs reveal nothing of the secret that they come with.
func (*Credential) WireDependencies(f infer.FieldSelector, _ *CredentialArgs, state *CredentialState) {
	f.OutputField(&state.SealedWith).NeverSecret()
	f.OutputField(&state.SealedDigest).NeverSecret()
	f.OutputField(&state.Generation).NeverSecret()
}

// credentialName is what the agent and systemd take.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// maxCredential is the agent's limit, in bytes.
const maxCredential = 64 << 10

// Check validates the inputs. No failure shows the content.
func (*Credential) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[CredentialArgs], error) {
	return check(ctx, req, func(c *checks, in *CredentialArgs) {
		c.absolutePath("path", in.Path)
		if c.known("path") && !credentialName.MatchString(path.Base(in.Path)) {
			c.fail("path", "must end in the name of a credential: letters, digits, _ and -, not %q", path.Base(in.Path))
		}
		if c.known("content") && (in.Content == "" || len(in.Content) > maxCredential) {
			c.fail("content", "has %d bytes, and must have 1 to %d", len(in.Content), maxCredential)
		}
		for property, v := range map[string]string{"created": in.Created, "expires": in.Expires} {
			if _, err := time.Parse(time.RFC3339, v); c.known(property) && v != "" && err != nil {
				c.fail(property, "must be a time such as 2026-11-30T12:00:00Z, not %q", v)
			}
		}
		if c.known("condition") && in.Condition != conditionIntact {
			c.fail("condition", "must be %q: it only shows what is wrong on the host", conditionIntact)
		}
		if c.known("validity") && in.Validity != validityValid {
			c.fail("validity", "must be %q: it only shows what is wrong", validityValid)
		}
		if validity := in.validity(time.Now()); len(c.failures) == 0 && validity != validityValid {
			warn(ctx, "the secret is "+validity)
		}
	})
}

// Create writes the credential.
func (r *Credential) Create(ctx context.Context, req infer.CreateRequest[CredentialArgs]) (infer.CreateResponse[CredentialState], error) {
	if req.DryRun {
		return infer.CreateResponse[CredentialState]{Output: CredentialState{CredentialArgs: req.Inputs, Recorded: pending()}}, nil
	}
	state, err := r.put(ctx, req.Inputs, nil, "")
	if err != nil {
		return infer.CreateResponse[CredentialState]{}, err
	}
	return infer.CreateResponse[CredentialState]{ID: req.Inputs.Path, Output: state}, nil
}

// Update writes the credential again, if it isn't the one that this resource has sealed.
func (r *Credential) Update(ctx context.Context, req infer.UpdateRequest[CredentialArgs, CredentialState]) (infer.UpdateResponse[CredentialState], error) {
	if req.DryRun {
		state := req.State
		state.CredentialArgs = req.Inputs
		return infer.UpdateResponse[CredentialState]{Output: state}, nil
	}
	sealed := ""
	if req.State.SealedDigest != nil {
		sealed = *req.State.SealedDigest
	}
	state, err := r.put(ctx, req.Inputs, req.State.toUpdate(), sealed)
	if err != nil {
		return infer.UpdateResponse[CredentialState]{}, err
	}
	return infer.UpdateResponse[CredentialState]{Output: state}, nil
}

func (*Credential) put(ctx context.Context, in CredentialArgs, generation *string, sealed string) (CredentialState, error) {
	h, err := connectToChange(ctx)
	if err != nil {
		return CredentialState{}, err
	}
	c, err := claim(ctx, in.Path, generation, in.Adopt)
	if err != nil {
		return CredentialState{}, err
	}
	resp, err := h.Agent().PutCredential(ctx, &agentpb.PutCredentialRequest{
		Claim: c, Content: []byte(in.Content), Plain: !in.encrypted(), SealedSha256: sealed,
	})
	if err != nil {
		return CredentialState{}, err
	}
	return credentialState(in, recorded(resp.GetGeneration()), resp.GetState()), nil
}

// Delete removes the credential, if this resource still owns it.
func (*Credential) Delete(ctx context.Context, req infer.DeleteRequest[CredentialState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}

func (a *CredentialArgs) encrypted() bool { return a.Encrypted == nil || *a.Encrypted }

func credentialState(in CredentialArgs, rec Recorded, seen *agentpb.CredentialState) CredentialState {
	with, sum := seen.GetSealedWith(), seen.GetSealedSha256()
	return CredentialState{CredentialArgs: in, Recorded: rec, SealedWith: &with, SealedDigest: &sum}
}
