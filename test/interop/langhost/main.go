// Command langhost stands in for pulumi-language-go, the Go language host. Pulumi's releases
// ship that beside their CLI, but it is in no module that can be built here, so the interop
// tests put this one beside a CLI built from modules. It compiles and runs the program as the
// real one does, and answers nothing beyond what deployments ask.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// bailCode is the exit code by which the Go SDK says that it has reported the failure already.
const bailCode = 32

func main() {
	flag.Parse()
	h := &host{engine: flag.Arg(flag.NArg() - 1)}
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{Init: func(s *grpc.Server) error {
		pulumirpc.RegisterLanguageRuntimeServer(s, h)
		return nil
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(handle.Port) // the engine reads it
	<-handle.Done
}

type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine string
}

func (h *host) Handshake(_ context.Context, r *pulumirpc.LanguageHandshakeRequest) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = r.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: "1.0.0"}, nil
}

func (h *host) GetRequiredPackages(context.Context, *pulumirpc.GetRequiredPackagesRequest) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

func (h *host) InstallDependencies(*pulumirpc.InstallDependenciesRequest, grpc.ServerStreamingServer[pulumirpc.InstallDependenciesResponse]) error {
	return nil
}

func (h *host) About(context.Context, *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	return &pulumirpc.AboutResponse{}, nil
}

func (h *host) GetProgramDependencies(context.Context, *pulumirpc.GetProgramDependenciesRequest) (*pulumirpc.GetProgramDependenciesResponse, error) {
	return &pulumirpc.GetProgramDependenciesResponse{}, nil
}

// Run compiles the program and runs it, as pulumi-language-go does.
func (h *host) Run(ctx context.Context, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	// Always in the same place, so that the compiler sees when there is nothing to do.
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	program := filepath.Join(home, "program")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", program, ".")
	build.Dir, build.Stderr = filepath.Join(r.GetInfo().GetProgramDirectory(), r.GetInfo().GetEntryPoint()), os.Stderr
	if err := build.Run(); err != nil {
		return &pulumirpc.RunResponse{Error: "go build: " + err.Error()}, nil
	}
	environment, err := h.environment(r)
	if err != nil {
		return nil, err
	}
	run := exec.CommandContext(ctx, program)
	run.Dir, run.Env, run.Stdout, run.Stderr = r.GetPwd(), environment, os.Stdout, os.Stderr
	err = run.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == bailCode:
		return &pulumirpc.RunResponse{Bail: true}, nil
	default:
		return &pulumirpc.RunResponse{Error: "the program ended: " + err.Error()}, nil
	}
}

// environment is how a compiled program is told what to do.
func (h *host) environment(r *pulumirpc.RunRequest) ([]string, error) {
	config, err := json.Marshal(r.GetConfig())
	if err != nil {
		return nil, err
	}
	secrets, err := json.Marshal(append([]string{}, r.GetConfigSecretKeys()...))
	if err != nil {
		return nil, err
	}
	return append(os.Environ(),
		pulumi.EnvOrganization+"="+r.GetOrganization(), pulumi.EnvProject+"="+r.GetProject(), pulumi.EnvStack+"="+r.GetStack(),
		pulumi.EnvConfig+"="+string(config), pulumi.EnvConfigSecretKeys+"="+string(secrets),
		pulumi.EnvDryRun+"="+fmt.Sprint(r.GetDryRun()), pulumi.EnvParallel+"="+fmt.Sprint(r.GetParallel()),
		pulumi.EnvPulumiRootDirectory+"="+r.GetInfo().GetRootDirectory(),
		pulumi.EnvMonitor+"="+r.GetMonitorAddress(), pulumi.EnvEngine+"="+h.engine), nil
}
