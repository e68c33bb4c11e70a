package agent

import (
	"context"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// Hello opens the conversation and says where the state is kept.
func (s *Server) Hello(_ context.Context, req *agentpb.HelloRequest) (*agentpb.HelloResponse, error) {
	if req.GetProtocol() != agentpb.Protocol {
		return nil, fault.New(agentpb.Reason_PROTOCOL, "the agent speaks protocol %d and llmhost %s speaks %d", agentpb.Protocol, req.GetClientVersion(), req.GetProtocol()).
			Hint("use one version of llmhost")
	}
	if dir := req.GetStateDir(); dir != "" {
		if err := s.useDir(dir); err != nil {
			return nil, err
		}
	}
	hostname, err := os.Hostname()
	if err != nil {
		s.log.Warn("the host has no name", "error", err)
	}
	machineID, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		s.log.Warn("the machine has no id", "error", err)
	}
	return &agentpb.HelloResponse{
		Protocol:     agentpb.Protocol,
		AgentVersion: s.options.Version,
		Uid:          uint32(os.Geteuid()),
		Architecture: runtime.GOARCH,
		Systemd:      s.systemd.Available(),
		Hostname:     hostname,
		MachineId:    strings.TrimSpace(string(machineID)),
		UnixTime:     time.Now().Unix(),
	}, nil
}

// Ping does nothing: having been received, it has kept the agent alive.
func (s *Server) Ping(context.Context, *agentpb.PingRequest) (*agentpb.PingResponse, error) {
	return &agentpb.PingResponse{}, nil
}
