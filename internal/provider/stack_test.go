package provider_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	pulumiprovider "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/llmhost/llmhost/internal/provider"
	"github.com/llmhost/llmhost/internal/remote"
)

// stack does with the provider what Pulumi's engine does with it, through the same client and
// the same gRPC messages, for one resource at a time.
type stack struct {
	t        *testing.T
	provider plugin.Provider
	log      *engineLog
	states   map[string]*savedState
}

// savedState is what the engine keeps of a resource.
type savedState struct {
	urn             resource.URN
	id              resource.ID
	inputs, outputs resource.PropertyMap
	initErrors      []string
}

func newStack(t *testing.T, h provider.Host) *stack {
	t.Helper()
	return newStackWith(t, func(context.Context, remote.Target) (provider.Host, error) { return h, nil })
}

func newStackWith(t *testing.T, dial provider.Dialer) *stack {
	t.Helper()
	s := &stack{t: t, log: &engineLog{}, states: map[string]*savedState{}}
	s.provider = servedProvider(t, s.log, dial)
	s.configure(resource.PropertyMap{"hostId": str("test"), "address": str("host.test")})
	return s
}

// servedProvider is the provider behind a gRPC connection in memory.
func servedProvider(t *testing.T, log *engineLog, dial provider.Dialer) plugin.Provider {
	t.Helper()
	engine, err := net.Listen("tcp", "127.0.0.1:0") // HostClient only takes an address
	if err != nil {
		t.Fatal(err)
	}
	serve(t, engine, func(s *grpc.Server) { pulumirpc.RegisterEngineServer(s, log) })
	host, err := pulumiprovider.NewHostClient(engine.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.EngineConn().Close() })
	server, err := p.RawServer(provider.Name, provider.Version, provider.New(provider.WithDialer(dial)))(host)
	if err != nil {
		t.Fatal(err)
	}
	conn := serveInMemory(t, func(s *grpc.Server) { pulumirpc.RegisterResourceProviderServer(s, server) })
	return plugin.NewProviderWithClient(nil, pulumirpc.NewResourceProviderClient(conn), false)
}

func (s *stack) configure(settings resource.PropertyMap) {
	s.t.Helper()
	urn := resource.NewURN("lab", "llmhost", "", "pulumi:providers:llmhost", "test")
	name, typ, id := urn.Name(), urn.Type(), resource.ID("provider-id")
	if _, err := s.provider.Configure(s.t.Context(), plugin.ConfigureRequest{
		URN: &urn, Name: &name, Type: &typ, ID: &id, Inputs: settings,
	}); err != nil {
		s.t.Fatal(err)
	}
}

// up previews and then deploys one resource, and says what it was: create, update, replace or
// same.
func (s *stack) up(kind, name string, inputs resource.PropertyMap) (string, error) {
	s.t.Helper()
	if _, err := s.step(kind, name, inputs, true, false); err != nil {
		return "", fmt.Errorf("preview: %w", err)
	}
	return s.step(kind, name, inputs, false, false)
}

func (s *stack) mustUp(kind, name string, inputs resource.PropertyMap, want string) *savedState {
	s.t.Helper()
	did, err := s.up(kind, name, inputs)
	if err != nil {
		s.t.Fatal(err)
	}
	if did != want {
		s.t.Fatalf("%s %s: the engine did %q, want %q", kind, name, did, want)
	}
	return s.states[name]
}

// replace is up --replace URN.
func (s *stack) replace(kind, name string, inputs resource.PropertyMap) error {
	s.t.Helper()
	_, err := s.step(kind, name, inputs, false, true)
	return err
}

func urnOf(kind, name string) resource.URN {
	return resource.NewURN("lab", "llmhost", "", tokens.Type("llmhost:index:"+kind), name)
}

func (s *stack) step(kind, name string, inputs resource.PropertyMap, preview, force bool) (string, error) {
	ctx, urn, old := s.t.Context(), urnOf(kind, name), s.states[name]
	var olds resource.PropertyMap
	if old != nil {
		olds = old.inputs
	}
	checked, err := s.provider.Check(ctx, plugin.CheckRequest{URN: urn, Olds: olds, News: inputs, AllowUnknowns: preview})
	if err != nil {
		return "", err
	}
	if len(checked.Failures) > 0 {
		return "", checkError(checked.Failures)
	}
	inputs = checked.Properties
	if old == nil {
		return "create", s.create(urn, name, inputs, preview)
	}
	diff := plugin.DiffResult{Changes: plugin.DiffSome, ReplaceKeys: []resource.PropertyKey{"id"}}
	if !force { // the engine doesn't ask the provider about a forced replacement
		diff, err = s.provider.Diff(ctx, plugin.DiffRequest{
			URN: urn, ID: old.id, OldInputs: old.inputs, OldOutputs: old.outputs, NewInputs: inputs, AllowUnknowns: preview,
		})
		if err != nil {
			return "", err
		}
	}
	switch {
	case diff.Changes == plugin.DiffSome && diff.Replace():
		if diff.DeleteBeforeReplace {
			s.t.Fatal("this engine creates before it deletes; the provider asked for the reverse")
		}
		if err := s.create(urn, name, inputs, preview); err != nil || preview {
			return "replace", err
		}
		return "replace", s.delete(old)
	case diff.Changes == plugin.DiffSome || len(old.initErrors) > 0:
		resp, err := s.provider.Update(ctx, plugin.UpdateRequest{
			URN: urn, ID: old.id, OldInputs: old.inputs, OldOutputs: old.outputs, NewInputs: inputs, Preview: preview,
		})
		return "update", s.save(name, &savedState{urn: urn, id: old.id, inputs: inputs, outputs: resp.Properties}, err, preview)
	default:
		old.inputs = inputs
		return "same", nil
	}
}

func (s *stack) create(urn resource.URN, name string, inputs resource.PropertyMap, preview bool) error {
	resp, err := s.provider.Create(s.t.Context(), plugin.CreateRequest{URN: urn, Properties: inputs, Preview: preview})
	return s.save(name, &savedState{urn: urn, id: resp.ID, inputs: inputs, outputs: resp.Properties}, err, preview)
}

// save keeps a state unless it is a preview's. Half a success is a state, too.
func (s *stack) save(name string, now *savedState, err error, preview bool) error {
	var half *plugin.InitError
	if errors.As(err, &half) {
		now.initErrors = half.Reasons
	} else if err != nil {
		return err
	}
	if !preview {
		s.states[name] = now
	}
	return err
}

// preview is what a preview would show as the resource's outputs.
func (s *stack) preview(kind, name string, inputs resource.PropertyMap) resource.PropertyMap {
	s.t.Helper()
	urn := urnOf(kind, name)
	checked, err := s.provider.Check(s.t.Context(), plugin.CheckRequest{URN: urn, News: inputs, AllowUnknowns: true})
	if err != nil || len(checked.Failures) > 0 {
		s.t.Fatal(err, checkError(checked.Failures))
	}
	if old := s.states[name]; old != nil {
		resp, err := s.provider.Update(s.t.Context(), plugin.UpdateRequest{
			URN: urn, ID: old.id, OldInputs: old.inputs, OldOutputs: old.outputs, NewInputs: checked.Properties, Preview: true,
		})
		if err != nil {
			s.t.Fatal(err)
		}
		return resp.Properties
	}
	resp, err := s.provider.Create(s.t.Context(), plugin.CreateRequest{URN: urn, Properties: checked.Properties, Preview: true})
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.Properties
}

func (s *stack) delete(old *savedState) error {
	_, err := s.provider.Delete(s.t.Context(), plugin.DeleteRequest{URN: old.urn, ID: old.id, Inputs: old.inputs, Outputs: old.outputs})
	return err
}

func (s *stack) destroy(name string) {
	s.t.Helper()
	if err := s.delete(s.states[name]); err != nil {
		s.t.Fatal(err)
	}
	delete(s.states, name)
}

func (s *stack) read(name string) (plugin.ReadResponse, error) {
	old := s.states[name]
	return s.provider.Read(s.t.Context(), plugin.ReadRequest{URN: old.urn, ID: old.id, Inputs: old.inputs, State: old.outputs})
}

// drift lists the properties that the host has otherwise than the state, as a refresh that is
// only previewed finds them; "gone" when the host doesn't have the resource.
func (s *stack) drift(name string) []string {
	s.t.Helper()
	old := s.states[name]
	now, err := s.read(name)
	if err != nil {
		s.t.Fatal(err)
	}
	if now.ID == "" {
		return []string{"gone"}
	}
	diff, err := s.provider.Diff(s.t.Context(), plugin.DiffRequest{
		URN: old.urn, ID: now.ID, OldInputs: now.Inputs, OldOutputs: now.Outputs, NewInputs: old.inputs,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(diff.DetailedDiff))
}

// refresh puts into the state what the host has.
func (s *stack) refresh(name string) {
	s.t.Helper()
	now, err := s.read(name)
	if err != nil {
		s.t.Fatal(err)
	}
	old := s.states[name]
	s.states[name] = &savedState{urn: old.urn, id: now.ID, inputs: now.Inputs, outputs: now.Outputs}
}

// importID reads a resource of which only the ID is known.
func (s *stack) importID(kind, name, id string) *savedState {
	s.t.Helper()
	urn := urnOf(kind, name)
	now, err := s.provider.Read(s.t.Context(), plugin.ReadRequest{URN: urn, ID: resource.ID(id)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.states[name] = &savedState{urn: urn, id: now.ID, inputs: now.Inputs, outputs: now.Outputs}
	return s.states[name]
}

type checkError []plugin.CheckFailure

func (e checkError) Error() string {
	var lines []string
	for _, f := range e {
		lines = append(lines, fmt.Sprintf("%s: %s", f.Property, f.Reason))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func str(s string) resource.PropertyValue    { return resource.NewProperty(s) }
func boolean(b bool) resource.PropertyValue  { return resource.NewProperty(b) }
func secret(s string) resource.PropertyValue { return resource.MakeSecret(str(s)) }
func unknown() resource.PropertyValue        { return resource.MakeComputed(str("")) }

// with is a copy of m with one property changed.
func with(m resource.PropertyMap, key string, v resource.PropertyValue) resource.PropertyMap {
	m = m.Copy()
	m[resource.PropertyKey(key)] = v
	return m
}

// engineLog is the engine's end of the provider's messages to the user.
type engineLog struct {
	pulumirpc.UnimplementedEngineServer
	mu    sync.Mutex
	lines []string
}

func (l *engineLog) Log(_ context.Context, req *pulumirpc.LogRequest) (*emptypb.Empty, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, req.GetSeverity().String()+": "+req.GetMessage())
	return &emptypb.Empty{}, nil
}

func (l *engineLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

func serve(t *testing.T, l net.Listener, register func(*grpc.Server), opts ...grpc.ServerOption) {
	t.Helper()
	server := grpc.NewServer(opts...)
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
}

func serveInMemory(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	serve(t, l, register, opts...)
	conn, err := dialInMemory(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func dialInMemory(l *bufconn.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///in-memory",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}
