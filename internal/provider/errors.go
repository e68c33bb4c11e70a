package provider

import (
	"context"
	"errors"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// explain names the resource in front of an error that the user will read.
func explain(urn resource.URN, id string, err error) error {
	name := kindOf(urn)
	if id != "" {
		name += " " + id
	}
	return &operationError{text: name + ": " + sentence(err), err: err}
}

// operationError is an error with its text for people, that still is what it was for errors.Is.
type operationError struct {
	text string
	err  error
}

func (e *operationError) Error() string { return e.text }
func (e *operationError) Unwrap() error { return e.err }

// sentence puts an error into words without the transport's: "rpc error: code = …" tells an
// operator nothing.
func sentence(err error) string {
	if errors.Is(err, context.Canceled) {
		return "was cancelled"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "took longer than allowed"
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return err.Error()
	}
	switch st := s.GRPCStatus(); st.Code() {
	case codes.Canceled:
		return "was cancelled"
	case codes.DeadlineExceeded:
		return "took longer than allowed"
	default:
		return strings.TrimSuffix(st.Message(), ".")
	}
}
