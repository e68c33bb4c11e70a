package engine

import (
	"io"
	"strings"
)

// wording makes what Pulumi says about itself name the command that the user has.
var wording = strings.NewReplacer("`pulumi ", "`llmhost ", "$ pulumi ", "$ llmhost ", "    pulumi ", "    llmhost ", "'pulumi ", "'llmhost ")

// reworded is an error in llmhost's words.
type reworded struct{ error }

func (r reworded) Error() string { return wording.Replace(r.error.Error()) }

func (r reworded) Unwrap() error { return r.error }

// rewordingWriter passes on what is written, reworded. It is for messages and not for data.
type rewordingWriter struct{ w io.Writer }

func (r rewordingWriter) Write(p []byte) (int, error) {
	if _, err := wording.WriteString(r.w, string(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
