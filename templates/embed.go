// Package templates holds the files that llmhost places on a host and that have a text of
// their own, each as a file that a person can read and review.
//
// It exists because these files decide what somebody may do as root. What fills a template is
// one struct, whose Text refuses values that the file's language would read as something else;
// so nothing but these files and their values is ever in the result. Units are no templates:
// they are made from typed directives in components/systemd.
package templates

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed *.tmpl
var files embed.FS

var parsed = template.Must(template.ParseFS(files, "*.tmpl"))

// fill is a template's text with its values, which the caller has checked.
func fill(name string, values any) (string, error) {
	var b strings.Builder
	if err := parsed.ExecuteTemplate(&b, name, values); err != nil {
		return "", fmt.Errorf("fill the template %s: %w", name, err)
	}
	return b.String(), nil
}
