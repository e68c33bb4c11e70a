// Package sdk is the home of what is generated from the provider's schema: schema.json and
// the Go package llmhost, by which components declare resources without importing the
// provider. Change the provider and run go generate; never edit the result.
package sdk

//go:generate go run ./gen .
