package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/version"
)

// The test's own program is the agent when this is set.
const asAgent = "LLMHOST_TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asAgent+"=1")
	return cmd
}

func TestVersion(t *testing.T) {
	out, err := command("--version").CombinedOutput()
	if err != nil || string(out) != "llmhost-agent "+version.Version+"\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`there is no "serve"`: {"serve", "--root=/"},
		"needs to be told":    {"check"},
		"max-age":             {"verify", "--max-age", "soon", "/etc"},
		"not defined":         {"readable", "--force", "/etc"},
	} {
		cmd := command(args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), want) || !strings.Contains(string(out), "llmhost-agent check RECORD") {
			t.Errorf("%q: %v, %q; it should say %q and show the usage", args, cmd.ProcessState, out, want)
		}
	}
}

func TestChecksThatFail(t *testing.T) {
	for _, mode := range []string{"check", "readable"} {
		cmd := command(mode, "/nowhere/a", "/nowhere/b")
		out, _ := cmd.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if cmd.ProcessState.ExitCode() != 1 || len(lines) != 2 || !strings.HasPrefix(lines[0], "llmhost-agent: ") || !strings.Contains(lines[1], "/nowhere/b") {
			t.Errorf("%s: %v, %q", mode, cmd.ProcessState, out)
		}
	}
}

func TestReadableFiles(t *testing.T) {
	if out, err := command("readable", os.Args[0]).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v, %q", err, out)
	}
}

func TestFirstLineAndEnd(t *testing.T) {
	cmd := command()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "llmhost-agent-ready 1\n" || err != nil {
		t.Errorf("the first line is %q, %v", line, err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil || said.Len() > 0 {
		t.Errorf("it ended with %v and said %q", err, said.String())
	}
}
