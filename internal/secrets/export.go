package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// Exported is the current key of a secret, as clients get it.
type Exported struct {
	Name  string // of the secret
	Kind  string
	Value string
}

// The formats of an export.
const (
	FormatFiles = "files" // a file for each secret, by its name
	FormatEnv   = "env"   // one file .env of variables
)

// Variable is the name of the environment variable that holds a secret.
func Variable(name string) string {
	return "LLMHOST_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// EnvText is the text of an .env file. Without values it is that of an example.
func EnvText(all []Exported, values bool) string {
	var b strings.Builder
	for _, e := range all {
		value := ""
		if values {
			value = e.Value
		}
		fmt.Fprintf(&b, "# secret %q (%s)\n%s=%s\n", e.Name, e.Kind, Variable(e.Name), value)
	}
	return b.String()
}

const (
	ignoreFile  = ".gitignore"
	envFile     = ".env"
	exampleFile = ".env.example"
)

// ignoreText keeps everything in a folder out of git but itself and the example. It is also how
// a folder of exports is known again.
const ignoreText = "# Secrets that llmhost has exported. None of them belongs into git.\n*\n!.gitignore\n!.env.example\n"

// Export writes secrets to a folder that is llmhost's alone: a new or empty one, or one of an
// earlier export. Files have the mode 0600 and the folder 0700. Before a value is written, git is
// asked whether it would track the file, where the folder is in a repository.
func Export(ctx context.Context, folder, format string, all []Exported) ([]string, error) {
	files := map[string]string{exampleFile: EnvText(all, false)}
	var private []string
	switch format {
	case FormatEnv:
		files[envFile] = EnvText(all, true)
		private = []string{envFile}
	case FormatFiles:
		for _, e := range all {
			files[e.Name] = e.Value + "\n"
			private = append(private, e.Name)
		}
	default:
		return nil, fmt.Errorf("an export is of the format %s or %s, not %q", FormatFiles, FormatEnv, format)
	}
	made, err := prepare(folder)
	if err != nil {
		return nil, err
	}
	if err := untracked(ctx, folder, private); err != nil {
		made.undo()
		return nil, err
	}
	names := []string{exampleFile}
	names = append(names, private...)
	slices.Sort(names)
	for _, name := range names {
		if err := atomicfile.Write(filepath.Join(folder, name), []byte(files[name])); err != nil {
			return nil, fmt.Errorf("write the export: %w", err)
		}
	}
	return names, nil
}

// preparation is what an export has made before it is sure that it may go on.
type preparation struct {
	folder          string
	folderIsNew     bool
	ignoreFileIsNew bool
}

func (p preparation) undo() {
	if p.ignoreFileIsNew {
		_ = os.Remove(filepath.Join(p.folder, ignoreFile))
	}
	if p.folderIsNew {
		_ = os.Remove(p.folder)
	}
}

// prepare makes the folder, or makes sure that it is one of exports.
func prepare(folder string) (preparation, error) {
	p := preparation{folder: folder}
	entries, err := os.ReadDir(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return p, fmt.Errorf("make the folder of the export: %w", err)
		}
		p.folderIsNew = true
	case err != nil:
		return p, fmt.Errorf("read the folder of the export: %w", err)
	case len(entries) > 0:
		ignored, err := os.ReadFile(filepath.Join(folder, ignoreFile))
		if err != nil || string(ignored) != ignoreText {
			return p, fmt.Errorf("%s isn't empty, and isn't a folder of an earlier export: name another one", folder)
		}
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		return p, fmt.Errorf("close the folder of the export to others: %w", err)
	}
	if err := atomicfile.WriteNew(filepath.Join(folder, ignoreFile), []byte(ignoreText)); err == nil {
		p.ignoreFileIsNew = true
	} else if !errors.Is(err, fs.ErrExist) {
		p.undo()
		return p, fmt.Errorf("write the export: %w", err)
	}
	return p, nil
}

// untracked makes sure that git tracks none of the files, and would track none.
func untracked(ctx context.Context, folder string, files []string) error {
	repository, err := repositoryOf(folder)
	if err != nil || repository == "" {
		return err
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return fmt.Errorf("%s is in the git repository %s, and git isn't installed to ask whether it would track the secrets: name a folder outside", folder, repository)
	}
	tracked, err := run(ctx, git, folder, "ls-files", "--", ".")
	if err != nil {
		return err
	}
	if name, _, _ := strings.Cut(tracked, "\n"); name != "" {
		return fmt.Errorf("git tracks files in %s (%s): secrets don't go there; name another folder", folder, name)
	}
	for _, name := range files {
		ignored, err := run(ctx, git, folder, "check-ignore", "--", name)
		if err != nil {
			return err
		}
		if ignored == "" {
			return fmt.Errorf("git would track %s: secrets don't go there; name another folder, or ignore it", filepath.Join(folder, name))
		}
	}
	return nil
}

// run returns what git says in a folder. Exit status 1 is an answer of its own: nothing matches.
func run(ctx context.Context, git, folder string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, git, append([]string{"-C", folder}, args...)...)
	// As a repository is found by git itself, whatever runs llmhost, be it a hook, has set.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") })
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("git can't say whether it would track the secrets in %s: %s", folder, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// repositoryOf is the folder of the git repository that a folder is in, empty for none.
func repositoryOf(folder string) (string, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if folder, err = filepath.EvalSymlinks(folder); err != nil {
		return "", fmt.Errorf("find the folder of the export: %w", err)
	}
	for dir := folder; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", nil
		}
	}
}
