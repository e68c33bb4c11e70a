// Package cli is the llmhost command. Each verb is one file: it parses flags, runs something of
// another package, and hands the result to one view that writes text or JSON.
package cli
