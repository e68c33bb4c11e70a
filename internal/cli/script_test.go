package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"llmhost": func() { os.Exit(Main()) }})
}

// The scripts in testdata/script are sessions at a terminal, in a home of their own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(home, ".config"))
			env.Setenv("PULUMI_HOME", filepath.Join(home, ".pulumi")) // by default that of the user database
			env.Setenv("NO_COLOR", "1")
			if err := shareLabCache(env); err != nil {
				return err
			}
			return os.MkdirAll(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"tinymodel": tinyModel,
			"origin":    startOrigin,
		},
	})
}

// exits runs llmhost and checks its exit code: exits CODE ARGS…
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARGS…")
	}
	want := args[0]
	err := ts.Exec("sh", append([]string{"-c", `code=0; llmhost "$@" || code=$?; test $code = "$0" || { echo "exit code $code, want $0" >&2; exit 1; }`, want}, args[1:]...)...)
	if err != nil {
		ts.Fatalf("llmhost %v: %v", args[1:], err)
	}
}

// shareLabCache lets scripts use the lab's image of this machine, which takes minutes to build.
func shareLabCache(env *testscript.Env) error {
	cache := os.Getenv("LLMHOST_LAB_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(base, "llmhost", "lab")
	}
	env.Setenv("LLMHOST_LAB_CACHE", cache)
	return nil
}
