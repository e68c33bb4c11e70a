package engine

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// language is a language runtime that calls the program function directly.
type language struct {
	pulumirpc.LanguageRuntimeClient // nil: the engine calls nothing else for an operation on a stack

	program    pulumi.RunFunc
	engineAddr string
}

func (l *language) GetPluginInfo(context.Context, *emptypb.Empty, ...grpc.CallOption) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "1.0.0"}, nil
}

func (l *language) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest, ...grpc.CallOption) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

func (l *language) Cancel(context.Context, *emptypb.Empty, ...grpc.CallOption) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

func (l *language) Run(ctx context.Context, r *pulumirpc.RunRequest, _ ...grpc.CallOption) (resp *pulumirpc.RunResponse, err error) {
	defer func() {
		if e := recover(); e != nil {
			resp, err = &pulumirpc.RunResponse{Error: fmt.Sprintf("program panicked: %v", e)}, nil
		}
	}()
	pctx, err := pulumi.NewContext(ctx, pulumi.RunInfo{
		EngineAddr: l.engineAddr, MonitorAddr: r.GetMonitorAddress(),
		Config: r.GetConfig(), ConfigSecretKeys: r.GetConfigSecretKeys(),
		Project: r.GetProject(), Stack: r.GetStack(), Organization: r.GetOrganization(),
		RootDirectory: r.GetInfo().GetRootDirectory(),
		Parallel:      r.GetParallel(), DryRun: r.GetDryRun(),
	})
	if err != nil {
		return nil, fmt.Errorf("starting the program: %w", err)
	}
	defer pctx.Close()
	var failed error
	err = pulumi.RunWithContext(pctx, func(ctx *pulumi.Context) error {
		failed = l.program(ctx)
		return failed
	})
	if failed != nil {
		// Reported here, the program's error is shown as the program wrote it: the engine would call
		// it unhandled, and Pulumi's SDK would count and list it.
		if pctx.Log.Error(failed.Error(), nil) == nil {
			return &pulumirpc.RunResponse{Bail: true}, nil
		}
	}
	if err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}
	return &pulumirpc.RunResponse{}, nil
}
