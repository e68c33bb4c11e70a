package quadlet

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/llmhost/llmhost/components/inference"
	"github.com/llmhost/llmhost/internal/sdk/llmhost"
)

// ComponentArgs is what the container of a server is made of.
type ComponentArgs struct {
	Server *inference.Server
	// Needs have to be on the host before the container starts and stay until it is gone: its user,
	// its model with its records, and the program that checks it and starts it.
	Needs []pulumi.Resource
}

// Declare declares the container of a server: its image in the store of the server's user,
// "NAME-image", and the quadlet, "NAME-container". They are children of the server, which has the
// user. The names are part of every URN, so they are never changed.
func Declare(ctx *pulumi.Context, name string, args ComponentArgs, opts ...pulumi.ResourceOption) (*llmhost.Quadlet, error) {
	s := args.Server
	if err := possible(s); err != nil {
		return nil, fmt.Errorf("%s: server %q can't be a quadlet: %w", s.Server.Range, s.Server.Name, err)
	}
	text, err := Container(s).Text()
	if err != nil {
		return nil, fmt.Errorf("%s: server %q can't be written as a quadlet: %w", s.Server.Range, s.Server.Name, err)
	}
	user := pulumi.String(s.Server.UserName())
	image, err := llmhost.NewImage(ctx, name+"-image", &llmhost.ImageArgs{
		Runtime:   pulumi.String("podman"),
		User:      user,
		Reference: pulumi.String(s.Engine.Image),
		Source:    pulumi.String(s.Engine.Source),
		Sha256:    pulumi.String(s.Engine.SHA256),
	}, append(opts, pulumi.DependsOn(args.Needs))...)
	if err != nil {
		return nil, fmt.Errorf("declare the image of server %q: %w", name, err)
	}
	readiness := s.Readiness()
	container, err := llmhost.NewQuadlet(ctx, name+"-container", &llmhost.QuadletArgs{
		User:         user,
		Name:         pulumi.String(NameOf(&s.Server)),
		Content:      pulumi.String(text),
		SocketFolder: pulumi.String(path.Base(path.Dir(s.Server.Socket()))),
		Container:    pulumi.ToStringMap(Running(s)),
		RestartOn:    pulumi.ToStringMap(s.RestartOn()),
		Readiness: llmhost.ReadinessArgs{
			Address:        pulumi.String("unix:" + s.Server.Socket()),
			Model:          pulumi.String(readiness.Model),
			TimeoutSeconds: pulumi.Int(readiness.TimeoutSeconds),
		},
	}, append(opts, pulumi.DependsOn(slices.Concat(args.Needs, []pulumi.Resource{image})))...)
	if err != nil {
		return nil, fmt.Errorf("declare the container of server %q: %w", name, err)
	}
	return container, nil
}

// possible refuses what a container without privileges can't have here.
func possible(s *inference.Server) error {
	if !s.Server.Listen.Unix {
		return errors.New(`its container has no network, so that it has no port: set listen = "unix"`)
	}
	if s.APIKeys != nil {
		return errors.New("its key would be a file that its container doesn't get yet: leave api_key out, and let clients in by its socket's group")
	}
	if uid, _, written := strings.Cut(s.Server.User, ":"); written {
		if n, err := strconv.Atoi(uid); err != nil || n >= maxInsideUser {
			return fmt.Errorf("its user is %s, and ids in its container end at %d", uid, maxInsideUser-1)
		}
	}
	return nil
}

// maxInsideUser is how many subordinate ids a user is given.
const maxInsideUser = 1 << 16
