package provider

import "github.com/pulumi/pulumi/sdk/v3/go/common/resource"

// explain names the resource in front of an error that the user will read. The error's own
// text is a sentence already: package remote makes one of what the transport says.
func explain(urn resource.URN, id string, err error) error {
	name := kindOf(urn)
	if id != "" {
		name += " " + id
	}
	return &operationError{name: name, err: err}
}

// operationError is what went wrong with one resource.
type operationError struct {
	name string
	err  error
}

func (e *operationError) Error() string { return e.name + ": " + e.err.Error() }
func (e *operationError) Unwrap() error { return e.err }
