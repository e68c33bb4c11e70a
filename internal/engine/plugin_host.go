package engine

import (
	"context"
	"net"
	"sync"

	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/pulumi/pulumi/pkg/v3/codegen/convert"
	"github.com/pulumi/pulumi/pkg/v3/codegen/schema"
	pulumiengine "github.com/pulumi/pulumi/pkg/v3/engine"
	pkghost "github.com/pulumi/pulumi/pkg/v3/host"
	"github.com/pulumi/pulumi/pkg/v3/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/env"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/workspace"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pprovider "github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// Provider is a provider that lives in this process instead of in a plugin's.
type Provider struct {
	Name    string
	Version semver.Version
	New     func() p.Provider
}

// hostFactory makes the engine's plugin host: Pulumi's own, except that the given providers and
// the program are in this process.
func hostFactory(program pulumi.RunFunc, providers []Provider) pulumiengine.HostFactory {
	return func(ctx context.Context, d, statusD diag.Sink, debug plugin.DebugContext) (plugin.Host, error) {
		base, err := pkghost.New(ctx, d, statusD, debug, nil,
			schema.NewLoaderServerFromContext, convert.NewMapperServerFromContext, nil)
		if err != nil {
			return nil, err
		}
		h := &pluginHost{Host: base, program: program, providers: map[string]Provider{}, live: map[*localProvider]*plugin.Context{}}
		for _, pr := range providers {
			h.providers[pr.Name] = pr
		}
		return h, nil
	}
}

type pluginHost struct {
	plugin.Host // Pulumi's own: log sinks, the engine's RPC server, the schema loader
	program     pulumi.RunFunc
	providers   map[string]Provider

	mu   sync.Mutex
	live map[*localProvider]*plugin.Context
}

func (h *pluginHost) Provider(ctx *plugin.Context, d workspace.PluginDescriptor, e env.Env) (plugin.Provider, error) {
	pr, ok := h.providers[d.Name]
	if !ok {
		return h.Host.Provider(ctx, d, e) // any other provider is a plugin, as always
	}
	local, err := serve(ctx, pr, h.ServerAddr())
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.live[local] = ctx.LifetimeContext()
	h.mu.Unlock()
	return local, nil
}

// maxMessage is the limit that Pulumi sets for its own RPCs (rpcutil, 400 MiB).
const maxMessage = 400 << 20

// serve starts a provider behind an in-memory pipe: plugin.Provider speaks gRPC, and no port is opened.
func serve(ctx *plugin.Context, pr Provider, engineAddr string) (*localProvider, error) {
	// infer 1.4.0 implements no Handshake, so the provider gets its client for log messages here.
	logs, err := pprovider.NewHostClient(engineAddr)
	if err != nil {
		return nil, err
	}
	resources, err := p.RawServer(pr.Name, pr.Version.String(), pr.New())(logs)
	if err != nil {
		return nil, err
	}
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.UnaryInterceptor(recovered(pr.Name)))
	pulumirpc.RegisterResourceProviderServer(server, resources)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	conn, err := grpc.NewClient("passthrough:///"+pr.Name,
		grpc.WithContextDialer(func(c context.Context, _ string) (net.Conn, error) { return listener.DialContext(c) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), rpcutil.GrpcChannelOptions())
	if err != nil {
		server.Stop()
		return nil, err
	}
	return &localProvider{
		Provider: plugin.NewProviderWithClient(ctx, pulumirpc.NewResourceProviderClient(conn), ctx.DisableProviderPreview()),
		stop:     func() { _ = conn.Close(); server.Stop(); _ = logs.Close() },
	}, nil
}

// recovered turns a panic in a provider's call into its error, so that it does not take the
// engine, and with it the state and its lock, along.
func recovered(name string) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (_ any, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = status.Errorf(codes.Internal, "provider %s panicked in %s: %v", name, info.FullMethod, r)
			}
		}()
		return next(ctx, req)
	}
}

type localProvider struct {
	plugin.Provider
	once sync.Once
	stop func()
}

func (l *localProvider) Close() error { l.once.Do(l.stop); return nil }

// SignalCancellation tells every provider to end what it is doing.
func (h *pluginHost) SignalCancellation() error {
	h.mu.Lock()
	live := make([]*localProvider, 0, len(h.live))
	for l := range h.live {
		live = append(live, l)
	}
	h.mu.Unlock()
	for _, l := range live {
		_ = l.SignalCancellation(context.Background())
	}
	return h.Host.SignalCancellation()
}

func (h *pluginHost) ReleaseContext(ctx *plugin.Context) error {
	h.mu.Lock()
	for l, c := range h.live {
		if c == ctx {
			_ = l.Close()
			delete(h.live, l)
		}
	}
	h.mu.Unlock()
	return h.Host.ReleaseContext(ctx)
}

func (h *pluginHost) ResolvePlugin(ctx *plugin.Context, d workspace.PluginDescriptor) (*workspace.PluginInfo, error) {
	if pr, ok := h.providers[d.Name]; ok && d.Kind == apitype.ResourcePlugin {
		return &workspace.PluginInfo{Name: d.Name, Kind: d.Kind, Version: &pr.Version}, nil
	}
	return h.Host.ResolvePlugin(ctx, d)
}

// LanguageRuntime ignores Pulumi.yaml's runtime: the program is a Go function of this process.
func (h *pluginHost) LanguageRuntime(*plugin.Context, string) (plugin.LanguageRuntime, error) {
	return plugin.NewLanguageRuntimeClient("go", &language{program: h.program, engineAddr: h.ServerAddr()}), nil
}
