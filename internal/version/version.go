// Package version holds llmhost's version, which the CLI, the provider and the generated
// SDK must agree on: it is stored with every resource, so that an old llmhost refuses the
// state of a newer one instead of misreading it.
package version

// Version is llmhost's semantic version, without a leading "v".
const Version = "0.1.0"
