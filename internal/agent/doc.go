// Package agent is what runs on a host for as long as llmhost is connected to it.
//
// It serves the protocol of package agentpb over one pipe. There is no daemon and nothing
// listens: the agent is started over SSH, and ends with the connection or when it has heard
// nothing for a minute. It exists so that a change is a typed operation with a typed error,
// checked on the host against its ledger and made atomically, and never a shell command that
// was put together from somebody's words.
//
// The parts of its work are packages below this one; the files here are the protocol's calls.
package agent
