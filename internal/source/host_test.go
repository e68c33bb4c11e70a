package source_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/llmhost/llmhost/internal/agent"
	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/modelfile"
	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/transfer"
)

// dialAgent starts an agent, in place of one that a connection would start.
func dialAgent(t *testing.T) source.Dialer {
	return func(ctx context.Context, _ modelfile.Source) (source.Host, io.Closer, error) {
		ours, theirs := net.Pipe()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err := agent.Serve(context.Background(), theirs, agent.Options{StateDir: t.TempDir()}); err != nil {
				t.Errorf("the agent ended with: %v", err)
			}
		}()
		var dialled atomic.Bool
		conn, err := grpc.NewClient("passthrough:///agent", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				if dialled.Swap(true) {
					return nil, errors.New("the agent has ended")
				}
				return ours, nil
			}))
		if err != nil {
			return nil, nil, err
		}
		t.Cleanup(func() {
			ours.Close()
			<-ended
		})
		return agentpb.NewAgentClient(conn), conn, nil
	}
}

func TestAnotherHost(t *testing.T) {
	big := string(content())
	root := lay(t, map[string]string{
		"one.gguf": big, "folder/config.json": "{}", "folder/sub/weights": big, "folder/empty": "", "folder/.cache/x": "",
		"set-00001-of-00002.gguf": "one", "set-00002-of-00002.gguf": "two", "lone-00001-of-00002.gguf": "one",
	})
	o := source.Options{Dial: dialAgent(t)}
	for path, want := range map[string]map[string]string{
		"one.gguf":                {"": big},
		"folder":                  {"config.json": "{}", "empty": "", "sub/weights": big},
		"set-00002-of-00002.gguf": {"set-00001-of-00002.gguf": "one", "set-00002-of-00002.gguf": "two"},
	} {
		t.Run(path, func(t *testing.T) {
			src := open(t, "ssh://me@other"+root+"/"+path, o)
			if got := names(src); len(got) != len(want) || !slices.IsSorted(got) {
				t.Errorf("files: %q", got)
			}
			for i, f := range src.Files() {
				content := want[f.Name]
				sum := sha256.Sum256([]byte(content))
				if f.Size != uint64(len(content)) || f.SHA256 != hex.EncodeToString(sum[:]) {
					t.Errorf("%q: %+v", f.Name, f)
				}
				if read(t, src, i, 0) != content || read(t, src, i, f.Size/2) != content[f.Size/2:] || read(t, src, i, f.Size) != "" {
					t.Errorf("%q has other bytes", f.Name)
				}
			}
		})
	}
	for path, want := range map[string][]string{
		"none.gguf":                {"isn't on that host"},
		"none":                     {"isn't on that host"},
		"lone-00001-of-00002.gguf": {"lone-00002-of-00002.gguf isn't on that host"},
	} {
		_, err := source.Open(t.Context(), parse(t, "ssh://me@other"+root+"/"+path), o)
		wantError(t, err, append(want, "ssh://me@other")...)
	}
	if err := os.Symlink("one.gguf", filepath.Join(root, "link.gguf")); err != nil {
		t.Fatal(err)
	}
	_, err := source.Open(t.Context(), parse(t, "ssh://me@other"+root+"/link.gguf"), o)
	wantError(t, err, "link.gguf", "symbolic link")

	if err := os.Rename(filepath.Join(root, "folder"), filepath.Join(root, "folder.gguf")); err != nil {
		t.Fatal(err)
	}
	_, err = source.Open(t.Context(), parse(t, "ssh://me@other"+root+"/folder.gguf"), o)
	wantError(t, err, "is a folder there")
	_, err = source.Open(t.Context(), parse(t, "ssh://me@other"+root+"/one.gguf"), source.Options{})
	wantError(t, err, "another host")
}

// What another host's file has become meanwhile is never taken for what it was.
func TestAnotherHostsFileChanges(t *testing.T) {
	root := lay(t, map[string]string{"one.gguf": strings.Repeat("x", 100)})
	path := filepath.Join(root, "one.gguf")
	for name, size := range map[string]int64{"shorter": 50, "longer": 150} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(strings.Repeat("x", 100)), 0o644); err != nil {
				t.Fatal(err)
			}
			src := open(t, "ssh://other"+path, source.Options{Dial: dialAgent(t)})
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			r, err := src.Open(t.Context(), 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := io.ReadAll(r); !errors.Is(err, transfer.ErrChanged) {
				t.Errorf("error: %v", err)
			}
		})
	}
}
