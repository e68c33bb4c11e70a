// Package engine runs Pulumi inside this process, so that llmhost needs nothing installed: the
// program and the provider are Go values, Pulumi's own commands become llmhost's verbs, and the
// state is Pulumi's state, interchangeable with the ordinary pulumi CLI.
//
// On top of Pulumi it adds what a tool for one person's machines needs: a state folder and a key
// that appear by themselves, locks of dead processes that are broken, and a killed run that the
// next one heals. It is the only package that imports pulumi/pkg, besides the SDK's generator.
package engine
