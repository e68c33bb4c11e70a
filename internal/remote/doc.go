// Package remote is the only door to a host.
//
// It exists so that everything above it sees one typed connection: it finds out how to
// reach a host as the user's own ssh would, refuses a host whose key nobody has confirmed,
// puts the agent there, checks it before each start, and translates every failure into a
// sentence that says what to do. Nothing else in llmhost opens an SSH connection, and no
// other program than the agent is ever run on a host with data of the user.
//
// goph is the connection layer: its signers, its known_hosts reader and its client are used
// here. The handshake itself is ours, because goph's can neither be cancelled nor be told
// which host key types are known.
package remote
