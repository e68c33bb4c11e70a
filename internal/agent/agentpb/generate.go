// Package agentpb is the versioned protocol between llmhost and its agent on a host.
//
// It is generated from agent.proto, which is also the protocol's documentation.
package agentpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative agent.proto lane.proto

// Protocol is the number that both sides must share. It changes when an old peer could
// misunderstand a message; additions that an old peer may ignore do not change it.
const Protocol = 1

// ErrorDomain is the domain of the google.rpc.ErrorInfo in every error of the agent.
const ErrorDomain = "llmhost.agent"
