package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/llmhost/llmhost/internal/render"
	"github.com/llmhost/llmhost/stacks/program"
)

func newRenderCmd() *cobra.Command {
	var stack, dir string
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Write the files and units that a deployment would place, without a host",
		Long: "Run the same program as a deployment and write every file, unit and drop-in that it declares\n" +
			"below a folder, at its path on the host. Nothing is contacted and no state is read.\n\n" +
			"The content of secret files is replaced by a line that says so. The files belong to you; their\n" +
			"owners on the host are in the list.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := projectRoot()
			if err != nil {
				return err
			}
			stack, err := namedStack(stack)
			if err != nil {
				return err
			}
			if stack = cmp.Or(stack, onlyHost(root)); stack == "" {
				return whichHost(root)
			}
			resources, err := render.Program(program.Render, root, "llmhost", stack)
			if err != nil {
				return err
			}
			files, err := render.Files(resources)
			if err != nil {
				return err
			}
			if err := render.Write(dir, files, force); err != nil {
				return err
			}
			view := renderView{Stack: stack, Folder: dir, Files: newRenderedFiles(files)}
			if asJSON {
				return view.writeJSON(cmd.OutOrStdout())
			}
			return view.writeText(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&stack, "stack", "s", "", "the host to render")
	cmd.Flags().StringVarP(&dir, "output", "o", "", "the folder to write to, new or empty (required)")
	cmd.Flags().BoolVar(&force, "force", false, "write to a folder that isn't empty: rendered files replace those of the same path")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON: stack, folder, files")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag is defined above
	}
	return cmd
}

// renderView is what render has written.
type renderView struct {
	Stack  string         `json:"stack"`
	Folder string         `json:"folder"`
	Files  []renderedFile `json:"files"`
}

type renderedFile struct {
	Path   string `json:"path"` // on the host
	Mode   string `json:"mode"` // octal
	Owner  string `json:"owner"`
	Group  string `json:"group"`
	Size   int    `json:"size"`   // bytes; of the placeholder for a secret
	Secret bool   `json:"secret"` // the content isn't rendered
}

func newRenderedFiles(files []render.File) []renderedFile {
	all := make([]renderedFile, 0, len(files))
	for _, f := range files {
		all = append(all, renderedFile{
			Path: f.Path, Mode: fmt.Sprintf("%04o", f.Mode), Owner: f.Owner, Group: f.Group, Size: len(f.Content), Secret: f.Secret,
		})
	}
	return all
}

func (v renderView) writeJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (v renderView) writeText(w io.Writer) error {
	if len(v.Files) == 0 {
		_, err := fmt.Fprintf(w, "%s: nothing to render, since no file and no server is declared\n", v.Stack)
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PATH\tMODE\tOWNER\tSIZE")
	for _, f := range v.Files {
		size := humanize.IBytes(uint64(f.Size))
		if f.Secret {
			size = "secret, not rendered"
		}
		fmt.Fprintf(table, "%s\t%s\t%s:%s\t%s\n", f.Path, f.Mode, f.Owner, f.Group, size)
	}
	if err := table.Flush(); err != nil { // writes to the table itself are kept until here
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s of %s in %s\n", countFiles(len(v.Files)), v.Stack, v.Folder)
	return err
}

func countFiles(n int) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}
