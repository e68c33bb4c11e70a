package agent

import (
	"context"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/confine"
	"github.com/llmhost/llmhost/internal/agent/machine"
	"github.com/llmhost/llmhost/internal/agent/packages"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// Facts describes the machine. What can't be found out is left empty.
func (s *Server) Facts(ctx context.Context, _ *agentpb.FactsRequest) (*agentpb.FactsResponse, error) {
	root := machine.Root("/")
	resp := &agentpb.FactsResponse{
		Architecture:   runtime.GOARCH,
		Kernel:         kernel(),
		SystemdVersion: systemd.InstalledVersion(ctx),
		MemoryBytes:    root.Memory(),
		DeviceClasses:  root.DeviceClasses(),
		Apparmor:       confine.AppArmor(),
		SshPorts:       confine.SSHPorts(ctx),
	}
	tools := machine.Tools(ctx)
	resp.Tools = &agentpb.Tools{
		Docker: tools["docker"], Compose: tools["compose"], Podman: tools["podman"], NvidiaToolkit: tools["nvidiaToolkit"],
		Python: tools["python"], PackageManager: packages.Installed(),
	}
	resp.OsId, resp.OsVersion = root.OS()
	resp.CpuModel, resp.CpuCores = root.CPU()
	for _, gpu := range root.GPUs(ctx, machine.QueryNVIDIA) {
		resp.Gpus = append(resp.Gpus, &agentpb.GPU{Vendor: gpu.Vendor, Name: gpu.Name, Driver: gpu.Driver, VramBytes: gpu.VRAM,
			Address: gpu.Address, Uuid: gpu.UUID, Node: gpu.Node})
	}
	return resp, nil
}

func kernel() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}
