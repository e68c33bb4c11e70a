package provider

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pulumi/pulumi-go-provider/infer"

	"github.com/llmhost/llmhost/internal/unitfile"
)

// SystemdUnit is a unit of the host's systemd.
type SystemdUnit struct{}

var (
	_ infer.CustomResource[SystemdUnitArgs, SystemdUnitState] = (*SystemdUnit)(nil)
	_ infer.CustomCheck[SystemdUnitArgs]                      = (*SystemdUnit)(nil)
	_ infer.CustomRead[SystemdUnitArgs, SystemdUnitState]     = (*SystemdUnit)(nil)
	_ infer.CustomUpdate[SystemdUnitArgs, SystemdUnitState]   = (*SystemdUnit)(nil)
	_ infer.CustomDelete[SystemdUnitState]                    = (*SystemdUnit)(nil)
	_ infer.Annotated                                         = (*SystemdUnit)(nil)
	_ infer.Annotated                                         = (*SystemdUnitArgs)(nil)
	_ infer.Annotated                                         = (*Readiness)(nil)
)

// The values of a unit's state input that can be declared. Read also finds others, such as
// failed.
const (
	stateRunning  = "running"
	stateStopped  = "stopped"
	stateOnDemand = "onDemand"
)

// SystemdUnitArgs are a unit's inputs.
type SystemdUnitArgs struct {
	Name      string            `pulumi:"name" provider:"replaceOnChanges"`
	Content   string            `pulumi:"content"`
	Enabled   *bool             `pulumi:"enabled,optional"`
	Masked    bool              `pulumi:"masked,optional"`
	State     string            `pulumi:"state,optional"`
	DropIns   map[string]string `pulumi:"dropIns,optional"`
	RestartOn map[string]string `pulumi:"restartOn,optional"`
	Readiness *Readiness        `pulumi:"readiness,optional"`
	// Alternatives conflict with the unit by their texts; here they say what counts as running.
	Alternatives []string `pulumi:"alternatives,optional"`
	Rollback     *bool    `pulumi:"rollback,optional"`
	Adopt        bool     `pulumi:"adopt,optional"`

	RuntimeProperties map[string]string `pulumi:"runtimeProperties,optional"`
	ShadowedBy        string            `pulumi:"shadowedBy,optional"`
	Outdated          string            `pulumi:"outdated,optional"`
	Exposure          *float64          `pulumi:"exposure,optional"`
}

// SystemdUnitState is what is known of a unit on the host.
type SystemdUnitState struct {
	SystemdUnitArgs
	Recorded
}

// Readiness is how the server behind a unit is asked whether it works.
type Readiness struct {
	Address        string  `pulumi:"address"`
	Model          string  `pulumi:"model"`
	TimeoutSeconds int     `pulumi:"timeoutSeconds,optional"`
	Credential     *string `pulumi:"credential,optional"`
}

// Annotate fixes the type's token, which is in every URN, and describes it.
func (u *SystemdUnit) Annotate(a infer.Annotator) {
	a.SetToken("index", "SystemdUnit")
	a.Describe(u, "A systemd unit in /etc/systemd/system: its text, its drop-ins, and whether it is enabled and running. "+
		"With `readiness` it counts as deployed only when its server has really answered; a new version that doesn't gives way to the old one.")
}

// Annotate describes the inputs in the schema.
func (a *SystemdUnitArgs) Annotate(an infer.Annotator) {
	an.Describe(&a.Name, "Name of the unit, with its suffix.")
	an.Describe(&a.Content, "Text of the unit file. What systemd reads alike is no difference: another order of directives or another spelling of a value.")
	an.Describe(&a.Enabled, "Started at boot.")
	an.SetDefault(&a.Enabled, true)
	an.Describe(&a.Masked, "Always false: a declared unit isn't masked. It is an input so that a unit which somebody has masked shows as drift.")
	an.SetDefault(&a.Masked, false)
	an.Describe(&a.State, "`running`, `stopped`, or `onDemand` for a unit that something else starts, such as a timer: whether it runs at the moment is no difference, and that it has failed is.")
	an.SetDefault(&a.State, stateRunning)
	an.Describe(&a.DropIns, "All drop-ins that may change the unit: text by path. Others are removed.")
	an.Describe(&a.RestartOn, "Digests of what the unit uses, by any name. A change restarts the unit.")
	an.Describe(&a.Alternatives, "Units of which one may run in this one's place: which of them runs at the moment is no difference, and that none does is. A change of this unit leaves the one running that runs.")
	an.Describe(&a.Readiness, "How to ask the server behind the unit whether it works.")
	an.Describe(&a.Rollback, "When a new text runs and doesn't become healthy, put back the one that ran before, start it and ask it again. The update has then failed.")
	an.SetDefault(&a.Rollback, true)
	an.Describe(&a.Exposure, "How much of its host a service could reach, from 0 to 10, as `systemd-analyze security` scores it. It is filled in, so that a unit which gets worse shows it, on the host too.")
	describeAdopt(an, &a.Adopt)
	an.Describe(&a.RuntimeProperties, "Always empty: properties that `systemctl set-property` has changed, with their values. It is an input so that they show as drift.")
	an.Describe(&a.ShadowedBy, "Always empty: a unit file of the same name that systemd prefers to this one. It is an input so that it shows as drift.")
	an.SetDefault(&a.ShadowedBy, "")
	an.Describe(&a.Outdated, "Always empty: in which way what runs isn't what the files say. It is an input so that it shows as drift.")
	an.SetDefault(&a.Outdated, "")
}

// Annotate fixes the type's token and describes it in the schema.
func (r *Readiness) Annotate(a infer.Annotator) {
	a.SetToken("index", "Readiness")
	a.Describe(r, "A server is ready when it answers a chat completion of one token.")
	a.Describe(&r.Address, "`unix:/run/llmhost/NAME/llm.sock` or `tcp:127.0.0.1:PORT`.")
	a.Describe(&r.Model, "Name of the model in the request.")
	a.Describe(&r.TimeoutSeconds, "How long to wait for the answer, in seconds.")
	a.SetDefault(&r.TimeoutSeconds, 300)
	a.Describe(&r.Credential, "Path on the host of the credential whose first API key the server has to be sent.")
}

// Check validates the inputs.
func (*SystemdUnit) Check(ctx context.Context, req infer.CheckRequest) (infer.CheckResponse[SystemdUnitArgs], error) {
	return check(ctx, req, func(c *checks, in *SystemdUnitArgs) {
		c.unitName("name", in.Name)
		c.unitText("content", "content", in.Content)
		c.oneOf("state", in.State, stateRunning, stateStopped, stateOnDemand)
		if c.known("masked") && in.Masked {
			c.fail("masked", `must be false: a masked unit can't run; use state = "stopped" and enabled = false`)
		}
		c.alwaysEmpty("runtimeProperties", len(in.RuntimeProperties) == 0)
		c.alwaysEmpty("shadowedBy", in.ShadowedBy == "")
		c.alwaysEmpty("outdated", in.Outdated == "")
		if c.known("dropIns") {
			for _, file := range slices.Sorted(maps.Keys(in.DropIns)) {
				c.dropIn(in.Name, file, in.DropIns[file])
			}
		}
		if c.known("enabled") && c.known("content") && c.known("dropIns") && *in.Enabled && !in.hasInstallSection() {
			c.fail("enabled", "needs an [Install] section in the unit, which says what starts it at boot; else set enabled = false")
		}
		if c.known("readiness") && in.Readiness != nil {
			c.readiness(in.Readiness)
		}
		if c.known("state") && in.State == stateOnDemand && in.Readiness != nil {
			c.fail("readiness", "is for a unit that runs, and this one runs on demand")
		}
		c.fillExposure(in)
	})
}

// alwaysEmpty refuses a value for what only an observation can fill.
func (c *checks) alwaysEmpty(property string, empty bool) {
	if c.known(property) && !empty {
		c.fail(property, "can't be declared: it is what a look at the host finds")
	}
}

// hasInstallSection tells whether systemd could enable the unit.
func (a *SystemdUnitArgs) hasInstallSection() bool {
	for _, text := range append(slices.Collect(maps.Values(a.DropIns)), a.Content) {
		assignments, err := unitfile.Parse(text)
		if err != nil {
			return true // a fault of its own
		}
		if slices.ContainsFunc(assignments, func(a unitfile.Assignment) bool { return a.Section == "Install" }) {
			return true
		}
	}
	return false
}

// unitSuffixes are the types of units that llmhost deploys.
var unitSuffixes = []string{".service", ".socket", ".timer", ".path", ".slice"}

func (c *checks) unitName(property, v string) {
	if !c.known(property) {
		return
	}
	suffix := path.Ext(v)
	stem := strings.TrimSuffix(v, suffix)
	switch {
	case !slices.Contains(unitSuffixes, suffix):
		c.fail(property, "must end in %s, not %q", strings.Join(unitSuffixes, ", "), v)
	case stem == "" || len(v) > 255 || strings.Trim(stem, validUnitRunes) != "":
		c.fail(property, "%q isn't a unit name: letters, digits and any of : - _ . \\ @, 255 at most (systemd.unit(5))", v)
	case strings.HasSuffix(stem, "@"):
		c.fail(property, "%q is a template: name the instance that is to run", v)
	}
}

const validUnitRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"

func (c *checks) unitText(property, what, v string) {
	if !c.known(property) {
		return
	}
	if _, err := unitfile.Parse(v); err != nil {
		c.fail(property, "%s isn't a unit file: %v", what, err)
	}
}

// dropInFolders are where systemd looks for a unit's drop-ins that an administrator or the
// run time has made (systemd.unit(5), UNIT FILE LOAD PATH).
var dropInFolders = []string{"/etc/systemd/system", "/run/systemd/system"}

func (c *checks) dropIn(unitName, file, text string) {
	var allowed []string
	for _, folder := range dropInFolders {
		allowed = append(allowed, folder+"/"+unitName+".d")
	}
	if c.known("name") && (!slices.Contains(allowed, path.Dir(file)) || path.Ext(file) != ".conf") {
		c.fail("dropIns", "%q must be a .conf file in %s", file, strings.Join(allowed, " or "))
	}
	c.unitText("dropIns", fmt.Sprintf("drop-in %q", file), text)
}

func (c *checks) readiness(r *Readiness) {
	if !strings.HasPrefix(r.Address, "unix:/run/llmhost/") && !strings.HasPrefix(r.Address, "tcp:") {
		c.fail("readiness", "address must be unix:/run/llmhost/NAME/llm.sock or tcp:127.0.0.1:PORT, not %q", r.Address)
	}
	if r.Model == "" {
		c.fail("readiness", "model must not be empty")
	}
	if r.TimeoutSeconds < 1 || r.TimeoutSeconds > 86400 {
		c.fail("readiness", "timeoutSeconds must be between 1 and 86400, not %d", r.TimeoutSeconds)
	}
}

// Create installs the unit, starts it, and waits until its server answers.
func (u *SystemdUnit) Create(ctx context.Context, req infer.CreateRequest[SystemdUnitArgs]) (infer.CreateResponse[SystemdUnitState], error) {
	if req.DryRun {
		return infer.CreateResponse[SystemdUnitState]{Output: SystemdUnitState{req.Inputs, pending()}}, nil
	}
	state, err := u.put(ctx, req.Inputs, nil, false)
	if err != nil && !installed(err) {
		return infer.CreateResponse[SystemdUnitState]{}, err
	}
	return infer.CreateResponse[SystemdUnitState]{ID: req.Inputs.Name, Output: state}, err
}

// Update installs the unit's new text and brings it to the declared state. It is also how a
// unit whose creation was only half a success is repaired.
func (u *SystemdUnit) Update(ctx context.Context, req infer.UpdateRequest[SystemdUnitArgs, SystemdUnitState]) (infer.UpdateResponse[SystemdUnitState], error) {
	if req.DryRun {
		return infer.UpdateResponse[SystemdUnitState]{Output: SystemdUnitState{req.Inputs, req.State.Recorded}}, nil
	}
	restart := !maps.Equal(req.State.RestartOn, req.Inputs.RestartOn) || req.State.State == stateUnresponsive
	state, err := u.put(ctx, req.Inputs, &req.State, restart)
	if err != nil && !installed(err) {
		return infer.UpdateResponse[SystemdUnitState]{}, err
	}
	return infer.UpdateResponse[SystemdUnitState]{Output: state}, err
}

// Delete stops and removes the unit, if this resource still owns it.
func (*SystemdUnit) Delete(ctx context.Context, req infer.DeleteRequest[SystemdUnitState]) (infer.DeleteResponse, error) {
	return infer.DeleteResponse{}, remove(ctx, req.ID, req.State.Generation)
}
