package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/remote/agentbin"
)

// scriptedHost is a host that answers the start scripts as a test wants.
type scriptedHost struct {
	answer func(in *bufio.Reader, out, errs io.Writer)
}

func (scriptedHost) cork() (uncork func())   { return func() {} }
func (h scriptedHost) done() <-chan struct{} { return nil }
func (h scriptedHost) cause() error          { return nil }
func (h scriptedHost) close() error          { return nil }

func (h scriptedHost) shell(context.Context) (*process, error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &process{stdin: inWrite, stdout: outRead, stderr: &tail{}, exited: make(chan struct{})}
	p.kill = func() {
		inWrite.Close()
		outRead.Close()
	}
	go func() {
		h.answer(bufio.NewReader(inRead), outWrite, p.stderr)
		inRead.Close()
		outWrite.Close()
		close(p.exited)
	}()
	return p, nil
}

// skipTo reads until the line that a script ends with.
func skipTo(in *bufio.Reader, prefix string) string {
	for {
		line, err := in.ReadString('\n')
		if err != nil || (strings.HasPrefix(line, prefix) && !strings.Contains(line, "()")) {
			return line
		}
	}
}

func greet(in *bufio.Reader, out io.Writer, words string) {
	skipTo(in, "llmhost_greet ")
	fmt.Fprintf(out, "\nLLMHOST/1 host %s\n", words)
}

// agentFor is more than a pipe holds, so that sending it waits for the host.
func agentFor(arch string) []byte { return bytes.Repeat([]byte(arch), 100_000) }

const plainHost = "Linux x86_64 sudo ops"

func startOn(t *testing.T, answer func(in *bufio.Reader, out, errs io.Writer)) (*pipe, error) {
	t.Helper()
	o := Options{AgentBinary: func(_ context.Context, arch string) (agentbin.Binary, error) {
		return agentbin.Binary{Content: agentFor(arch), SHA256: strings.Repeat("a", 64)}, nil
	}}.withDefaults()
	return starter{host: "desk", options: o, state: DefaultStateDir}.start(t.Context(), scriptedHost{answer})
}

func TestFailuresOfTheStartAreSentences(t *testing.T) {
	scriptSays := func(text string) func(*bufio.Reader, io.Writer, io.Writer) {
		return func(in *bufio.Reader, out, _ io.Writer) {
			greet(in, out, plainHost)
			skipTo(in, "llmhost_start ")
			fmt.Fprintf(out, "\nLLMHOST/1 error %s\n", text)
		}
	}
	for name, tc := range map[string]struct {
		answer func(in *bufio.Reader, out, errs io.Writer)
		kind   error
		reason agentpb.Reason
		parts  []string
	}{
		"sudo wants a password": {
			answer: func(in *bufio.Reader, out, errs io.Writer) {
				greet(in, out, plainHost)
				fmt.Fprintln(errs, "sudo: a password is required")
			},
			kind:  ErrSudo,
			parts: []string{"desk", "may not become root", "a password is required", "llmhost bootstrap", "ops ALL=(root) NOPASSWD: /bin/sh"},
		},
		"user is not in sudoers": {
			answer: func(in *bufio.Reader, out, errs io.Writer) {
				greet(in, out, plainHost)
				fmt.Fprintln(errs, "Sorry, user plain is not allowed to execute '/bin/sh' as root on desk.")
			},
			kind:  ErrSudo,
			parts: []string{"may not become root", "not allowed to execute"},
		},
		"no sudo": {
			answer: func(in *bufio.Reader, out, _ io.Writer) { greet(in, out, "Linux x86_64 none ops") },
			kind:   ErrSudo,
			parts:  []string{"there is no sudo"},
		},
		"other architecture": {
			answer: func(in *bufio.Reader, out, _ io.Writer) { greet(in, out, "Linux riscv64 shell root") },
			kind:   ErrArchitecture,
			parts:  []string{"riscv64", "x86_64 and aarch64"},
		},
		"other system": {
			answer: func(in *bufio.Reader, out, _ io.Writer) { greet(in, out, "Darwin arm64 shell root") },
			kind:   ErrArchitecture,
			parts:  []string{"Darwin"},
		},
		"no login shell": {
			answer: func(in *bufio.Reader, out, _ io.Writer) {
				fmt.Fprintln(out, "This account is currently not available.")
			},
			kind:  ErrStart,
			parts: []string{"currently not available"},
		},
		"endless noise": {
			answer: func(in *bufio.Reader, out, _ io.Writer) {
				skipTo(in, "llmhost_greet ")
				for {
					if _, err := out.Write(bytes.Repeat([]byte("y"), 4096)); err != nil {
						return
					}
				}
			},
			kind:  ErrStart,
			parts: []string{"prints without end"},
		},
		"start script of another version": {
			answer: func(in *bufio.Reader, out, _ io.Writer) {
				skipTo(in, "llmhost_greet ")
				fmt.Fprintln(out, "LLMHOST/2 host a b c")
			},
			kind:  ErrProtocol,
			parts: []string{"another version", "llmhost bootstrap"},
		},
		"agent of another protocol": {
			answer: func(in *bufio.Reader, out, _ io.Writer) {
				greet(in, out, plainHost)
				skipTo(in, "llmhost_start ")
				fmt.Fprintln(out, "llmhost-agent-ready 7")
			},
			kind:  ErrProtocol,
			parts: []string{"protocol 7", "speaks 1"},
		},
		"no space":            {scriptSays("no-space /var/lib/llmhost/agent"), ErrStart, agentpb.Reason_NO_SPACE, []string{"no space", "/var/lib/llmhost/agent", "free at least"}},
		"read-only":           {scriptSays("read-only /var"), ErrStart, agentpb.Reason_READ_ONLY, []string{"read-only", "remount"}},
		"no sha256sum":        {scriptSays("no-tool sha256sum"), ErrStart, 0, []string{"sha256sum", "missing", "coreutils"}},
		"noexec everywhere":   {scriptSays("noexec /opt"), ErrStart, 0, []string{"noexec", "/opt"}},
		"folder of a user":    {scriptSays("foreign-folder /opt/x"), ErrStart, 0, []string{"/opt/x", "belongs to another user"}},
		"arrived damaged":     {scriptSays("digest abc"), ErrStart, 0, []string{"did not arrive as it was sent", "abc"}},
		"agent does not run":  {scriptSays("does-not-run exit status 1: boom"), ErrStart, 0, []string{"does not run", "boom"}},
		"some other trouble":  {scriptSays("no-folder mkdir: Not a directory"), ErrStart, 0, []string{"Not a directory"}},
		"fails while sending": {failsWhileSending, ErrStart, agentpb.Reason_NO_SPACE, []string{"no space"}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := startOn(t, tc.answer)
			if err == nil {
				p.Close()
				t.Fatal("the agent started")
			}
			if !errors.Is(err, tc.kind) {
				t.Errorf("got %v, want %q", err, tc.kind)
			}
			if got := ReasonOf(err); got != tc.reason {
				t.Errorf("reason %v, want %v", got, tc.reason)
			}
			for _, part := range tc.parts {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error does not say %q:\n%s", part, err)
				}
			}
		})
	}
}

func failsWhileSending(in *bufio.Reader, out, _ io.Writer) {
	greet(in, out, plainHost)
	skipTo(in, "llmhost_start ")
	fmt.Fprint(out, "\nLLMHOST/1 send 16\n")
	_, _ = in.ReadByte()
	fmt.Fprint(out, "\nLLMHOST/1 error no-space /var\n")
}

func TestNoiseOfTheLoginShellIsSkipped(t *testing.T) {
	p, err := startOn(t, func(in *bufio.Reader, out, errs io.Writer) {
		fmt.Fprint(out, "Welcome to desk!\r\n\n\x1b[31mfortune\x1b[0m without an end of line")
		fmt.Fprintln(errs, "stty: 'standard input': Inappropriate ioctl for device")
		greet(in, out, plainHost)
		fmt.Fprintln(out, "more noise")
		skipTo(in, "llmhost_start ")
		fmt.Fprint(out, "llmhost-agent-ready 1\nfirst bytes of the agent")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	got := make([]byte, len("first bytes of the agent"))
	if _, err := io.ReadFull(p, got); err != nil || string(got) != "first bytes of the agent" {
		t.Errorf("behind the agent's first line came %q (%v)", got, err)
	}
}

func TestTheLauncherGetsADigestAndASizeAlone(t *testing.T) {
	got := make(chan string, 1)
	p, err := startOn(t, func(in *bufio.Reader, out, _ io.Writer) {
		greet(in, out, "Linux aarch64 launcher ops")
		line, _ := in.ReadString('\n')
		got <- line
		fmt.Fprintln(out, "llmhost-agent-ready 1")
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	if want := fmt.Sprintf("%s %d\n", strings.Repeat("a", 64), len(agentFor("arm64"))); <-got != want {
		t.Errorf("got another line than %q", want)
	}
}

func TestAHostThatHangsDuringTheStartIsLeft(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{}.withDefaults()
	host := scriptedHost{func(in *bufio.Reader, _, _ io.Writer) {
		skipTo(in, "llmhost_greet ")
		cancel()
		_, _ = in.ReadByte() // until the other side gives up
	}}
	_, err := starter{host: "desk", options: o, state: DefaultStateDir}.start(ctx, host)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancellation", err)
	}
}
