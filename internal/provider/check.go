package provider

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"strings"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
)

// checks collects every fault of a resource's inputs. In a preview an input can be unknown,
// and infer then shows it as its zero value: a rule is asked only of values that are known.
type checks struct {
	inputs   property.Map
	failures []p.CheckFailure
}

// check decodes the inputs, applies defaults, and asks the resource's own rules.
func check[I any](ctx context.Context, req infer.CheckRequest, rules func(c *checks, in *I)) (infer.CheckResponse[I], error) {
	in, failures, err := infer.DefaultCheck[I](ctx, req.NewInputs)
	if err != nil || len(failures) > 0 {
		return infer.CheckResponse[I]{Inputs: in, Failures: failures}, err
	}
	c := &checks{inputs: req.NewInputs}
	rules(c, &in)
	return infer.CheckResponse[I]{Inputs: in, Failures: c.failures}, nil
}

func (c *checks) known(property string) bool {
	return !c.inputs.Get(property).HasComputed()
}

func (c *checks) fail(property, format string, args ...any) {
	c.failures = append(c.failures, p.CheckFailure{Property: property, Reason: fmt.Sprintf(format, args...)})
}

// absolutePath demands a path with one spelling, since it is the resource's identity.
func (c *checks) absolutePath(property, v string) {
	if !c.known(property) {
		return
	}
	switch {
	case !strings.HasPrefix(v, "/"):
		c.fail(property, "must be an absolute path, not %q", v)
	case path.Clean(v) != v:
		c.fail(property, "must be written as %q", path.Clean(v))
	case v == "/":
		c.fail(property, "must not be the root directory")
	case strings.ContainsAny(v, "\x00\n"):
		c.fail(property, "must not contain control characters")
	}
}

var octalMode = regexp.MustCompile(`^[0-7]{4}$`)

func (c *checks) mode(property, v string) {
	if c.known(property) && !octalMode.MatchString(v) {
		c.fail(property, "must be four octal digits such as \"0644\", not %q", v)
	}
}

// accountName is what useradd accepts on Debian and Fedora: lower case, 32 characters at
// most (useradd(8), CAVEATS).
var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func (c *checks) account(property, v string) {
	if c.known(property) && !accountName.MatchString(v) {
		c.fail(property, "must be a user or group name: lower case letters, digits, _ and -, 32 characters at most, not %q", v)
	}
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (c *checks) sha256(property, v string) {
	if c.known(property) && !hexDigest.MatchString(v) {
		c.fail(property, "must be a SHA-256 digest of 64 lower-case hexadecimal digits, not %q", v)
	}
}

func (c *checks) oneOf(property, v string, allowed ...string) {
	if !c.known(property) {
		return
	}
	for _, a := range allowed {
		if v == a {
			return
		}
	}
	c.fail(property, "must be %s, not %q", strings.Join(allowed, " or "), v)
}

// localSource is a file on the machine that runs Pulumi. Whether it is there matters only
// when its bytes are needed.
func (c *checks) localSource(property, v string) {
	if c.known(property) && v != "" && !strings.HasPrefix(v, "/") {
		c.fail(property, "must be an absolute path, since the engine's working folder isn't the project's: %q", v)
	}
}
