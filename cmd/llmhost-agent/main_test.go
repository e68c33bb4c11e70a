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

func TestOtherArgumentsAreRefused(t *testing.T) {
	out, err := command("serve", "--root=/").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no arguments") {
		t.Errorf("%q, %v", out, err)
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
