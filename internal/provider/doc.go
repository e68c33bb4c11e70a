// Package provider holds llmhost's Pulumi resources: what must change on a host, decided
// from the declared inputs, the state, and what the host's agent observes.
//
// It exists apart from the components so that each can be tested without the other: the
// components render text and know no host; the resources know a host and render nothing.
// They meet at the schema. The host is reached only through package remote.
//
// Four rules hold for each resource, since infer's defaults would break them:
//   - Whatever can drift is an input with a default, and Read returns it as observed, so that
//     drift has a wanted and a found value and the default Diff sees it.
//   - The ID is the natural key (a path, a name), so that a creation that was cut off can be
//     found again by its inputs.
//   - A preview never has a connection.
//   - "Cannot reach" is an error. Only a host that answered can say that something is gone.
package provider
