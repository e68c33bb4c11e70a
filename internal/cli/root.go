package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/pulumi/pulumi/sdk/v3/go/common/diag/colors"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"

	"github.com/llmhost/llmhost/internal/engine"
	"github.com/llmhost/llmhost/internal/remote"
	"github.com/llmhost/llmhost/internal/version"
)

// The groups of the help text.
const (
	groupDeploy = "deploy"
	groupLook   = "look"
	groupUse    = "use"
	groupFiles  = "files"
	groupLab    = "lab"
)

// globals are the flags of every command; Pulumi's commands expect them under these names.
type globals struct {
	cwd         string
	color       string
	verbose     int
	logToStderr bool
}

// Main runs the command line and returns the exit code: Pulumi's for Pulumi's commands (0 done,
// 1 failed, 2 wrong usage, 6 no such stack, 7 unexpected changes, 8 cancelled), and what the
// others document.
func Main() int {
	defer func() { _ = remote.Shared().Close() }() // the agents end, whatever they say
	root := New()
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		if exit.Err != nil {
			engine.ShowError(root.Context(), exit.Err, os.Stderr)
		}
		return exit.Code
	}
	return engine.ShowError(root.Context(), err, os.Stderr)
}

// New makes the command with all its verbs.
func New() *cobra.Command {
	engine.Defaults()
	var g globals
	root := &cobra.Command{
		Use:   "llmhost",
		Short: "Turn a desktop with a GPU into a hardened private LLM host, and keep it so",
		Long: "llmhost turns a machine into a hardened private LLM inference host and keeps it so.\n\n" +
			"Everything about a machine is in hosts/NAME.hcl; -s NAME picks it. The commands that deploy are\n" +
			"Pulumi's, with Pulumi's flags; its engine is built in.",
		SilenceErrors:              true,
		SilenceUsage:               true,
		Version:                    version.Version,
		SuggestionsMinimumDistance: 2,
		PersistentPreRunE:          func(*cobra.Command, []string) error { return g.apply() },
	}
	f := root.PersistentFlags()
	f.StringVarP(&g.cwd, "cwd", "C", "", "change to this folder first")
	f.StringVar(&g.color, "color", "auto", "colour: always, never, raw or auto (only on a terminal, and not with NO_COLOR)")
	f.BoolVarP(&cmdutil.Emoji, "emoji", "e", runtime.GOOS == "darwin", "emojis in Pulumi's displays")
	f.BoolVar(&cmdutil.DisableInteractive, "non-interactive", false, "never ask")
	f.IntVarP(&g.verbose, "verbose", "v", 0, "log Pulumi's inner workings (9: much; 11: all)")
	f.BoolVar(&g.logToStderr, "logtostderr", false, "log to standard error instead of to files")

	root.AddGroup(
		&cobra.Group{ID: groupDeploy, Title: "Deploy:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
		&cobra.Group{ID: groupUse, Title: "Use:"},
		&cobra.Group{ID: groupFiles, Title: "Host files:"},
		&cobra.Group{ID: groupLab, Title: "Lab:"},
	)
	addPulumi(root, &g)
	add(root, groupLook, newDriftCmd(), newDoctorCmd(), newEnvCmd(), newVersionCmd())
	add(root, groupDeploy, newBackupCmd(), newRestoreCmd())
	add(root, groupUse, newAskCmd(), newTunnelCmd(), newSwitchCmd(), newModelCmd(), newSecretsCmd())
	add(root, groupFiles, newValidateCmd(), newPinCmd(), newBootstrapCmd(), newProbeCmd(), newRenderCmd(), newHardenCmd())
	add(root, groupLab, newLabCmd())
	root.SetHelpCommandGroupID(groupLook)
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

func add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
		root.AddCommand(c)
	}
}

// apply makes the global flags take effect.
func (g *globals) apply() error {
	if err := cmdutil.SetGlobalColorization(g.color); err != nil {
		return fmt.Errorf("--color: %w", err)
	}
	if g.cwd != "" {
		if err := os.Chdir(g.cwd); err != nil {
			return fmt.Errorf("--cwd: %w", err)
		}
	}
	logging.InitLogging(g.logToStderr, g.verbose, false)
	engine.HideSecrets()
	log.SetOutput(libraryLog{}) // the state's storage library logs to the standard logger
	return nil
}

// libraryLog sends what libraries log to Pulumi's log.
type libraryLog struct{}

func (libraryLog) Write(p []byte) (int, error) {
	logging.V(5).Infof("%s", p)
	return len(p), nil
}

// projectRoot is the nearest folder, from the current one upwards, that holds Pulumi.yaml.
func projectRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the project: %w", err)
	}
	for dir := start; ; {
		if _, err := os.Stat(filepath.Join(dir, "Pulumi.yaml")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no llmhost project here: neither %s nor a folder above it holds Pulumi.yaml; change into the project, or name it with -C", start)
		}
		dir = parent
	}
}

// useColor reports whether a view that writes to w may use colour.
func useColor(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && f == os.Stdout && cmdutil.GetGlobalColorization() != colors.Never
}
