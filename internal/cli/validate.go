package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/llmhost/llmhost/internal/hostfile"
)

// validation is what was found in one host file.
type validation struct {
	file  string
	host  *hostfile.Host // nil: the file isn't valid
	diags hcl.Diagnostics
}

func newValidateCmd() *cobra.Command {
	var asJSON bool
	var stack string
	cmd := &cobra.Command{
		Use:   "validate [FILE…]",
		Short: "Check host files and report every fault at once",
		Long: "Check host files, all of the project's without an argument, and report every fault with its place and\n" +
			"what was probably meant. Servers that don't fit on the machine together are a fault, by what the host file\n" +
			"and the machine's facts (`llmhost probe`) say. Nothing is contacted, and the local files that a host file\n" +
			"names needn't exist.\n\n" +
			"With --json the result is an array of {file, valid, diagnostics}, each diagnostic {severity, summary,\n" +
			"detail, line, column, endLine, endColumn}; a diagnostic about a whole file has line 0.\n\n" +
			"The exit code is 0 if every file is valid and 1 otherwise.",
		Example: "  llmhost validate\n  llmhost validate -s desktop\n  llmhost validate hosts/desktop.hcl",
		RunE: func(cmd *cobra.Command, files []string) error {
			files, err := filesToValidate(stack, files)
			if err != nil {
				return err
			}
			var results []validation
			valid := true
			for _, file := range files {
				host, _, diags := hostfile.LoadFit(file)
				results = append(results, validation{file, host, diags})
				valid = valid && host != nil
			}
			out := cmd.OutOrStdout()
			if asJSON {
				err = writeValidationJSON(out, results)
			} else {
				err = writeValidationText(out, results)
			}
			if err == nil && !valid {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host whose file is meant")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: an array of {file, valid, diagnostics}")
	return cmd
}

func filesToValidate(stack string, named []string) ([]string, error) {
	if stack != "" {
		if len(named) > 0 {
			return nil, errors.New("name either a host with -s or files, not both")
		}
		file, err := hostFile(stack)
		return []string{file}, err
	}
	if len(named) > 0 {
		return named, nil
	}
	root, err := projectRoot()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(root, "hosts")
	files, err := hostfile.Paths(folder)
	if err != nil {
		return nil, fmt.Errorf("list the host files: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there are no host files in %s yet", folder)
	}
	for i, f := range files {
		files[i] = fromHere(f)
	}
	return files, nil
}

func writeValidationText(w io.Writer, results []validation) error {
	invalid := 0
	for _, r := range results {
		if err := hostfile.WriteDiagnostics(w, r.diags, nil, useColor(w), columns(w)); err != nil {
			return err
		}
		if r.host == nil {
			invalid++
			continue
		}
		if _, err := fmt.Fprintf(w, "%s: valid: %s\n", r.file, outline(r.host)); err != nil {
			return err
		}
	}
	if invalid == 0 {
		return nil
	}
	_, err := fmt.Fprintf(w, "%d of %s invalid\n", invalid, plural(len(results), "host file is", "host files are"))
	return err
}

// outline says in one line what a host is: desktop, server fast (qwen3-4b), server hybrid (llama-3.3-70b).
func outline(h *hostfile.Host) string {
	parts := []string{"host " + h.Name}
	used := map[string]bool{}
	for _, s := range h.Servers {
		parts = append(parts, fmt.Sprintf("server %s (%s)", s.Name, s.Model))
		used[s.Model] = true
	}
	for _, m := range h.Models {
		if !used[m.Name] {
			parts = append(parts, fmt.Sprintf("model %s (no server)", m.Name))
		}
	}
	return strings.Join(parts, ", ")
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, one)
	}
	return fmt.Sprintf("%d %s", n, many)
}

// columns is the width of the terminal that w is, or 0.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0 // no terminal
	}
	return width
}

type validationJSON struct {
	File        string           `json:"file"`
	Valid       bool             `json:"valid"`
	Diagnostics []diagnosticJSON `json:"diagnostics"`
}

type diagnosticJSON struct {
	Severity  string `json:"severity"` // error or warning
	Summary   string `json:"summary"`
	Detail    string `json:"detail"`
	Line      int    `json:"line"` // from 1; 0 for the whole file
	Column    int    `json:"column"`
	EndLine   int    `json:"endLine"`
	EndColumn int    `json:"endColumn"`
}

func writeValidationJSON(w io.Writer, results []validation) error {
	list := make([]validationJSON, 0, len(results))
	for _, r := range results {
		v := validationJSON{File: r.file, Valid: r.host != nil, Diagnostics: []diagnosticJSON{}}
		for _, d := range r.diags {
			j := diagnosticJSON{Severity: "error", Summary: d.Summary, Detail: d.Detail}
			if d.Severity == hcl.DiagWarning {
				j.Severity = "warning"
			}
			if s := d.Subject; s != nil {
				j.Line, j.Column, j.EndLine, j.EndColumn = s.Start.Line, s.Start.Column, s.End.Line, s.End.Column
			}
			v.Diagnostics = append(v.Diagnostics, j)
		}
		list = append(list, v)
	}
	return encodeJSON(w, list)
}

// encodeJSON writes a value for machines, indented for people.
func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
