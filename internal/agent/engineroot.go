package agent

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/ledger"
)

// rootFolders are the places of a root directory that something is mounted on: all that systemd
// wants there and would make itself.
var rootFolders = []string{"dev", "etc", "models", "opt", "proc", "root", "run", "sys", "tmp", "usr", "var"}

// rootLinks are those by which programs and libraries are found in /usr. They are made as the host
// has them.
var rootLinks = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// PutEngineRoot makes an empty root directory, or puts it back as it was.
func (s *Server) PutEngineRoot(_ context.Context, req *agentpb.PutEngineRootRequest) (*agentpb.ChangeResponse, error) {
	st, unlock, err := s.change(kindEngineRoot, req.GetClaim())
	if err != nil {
		return nil, err
	}
	defer unlock()
	path := req.GetClaim().GetId()
	return st.putPath(req.GetClaim(), durable.Directory, func(was *durable.Info) (bool, error) {
		if was == nil {
			d, name, err := durable.Parent(path)
			if err != nil {
				return false, fault.OfPath("open the folder of", path, err)
			}
			defer d.Close()
			if err := d.Mkdir(name, engineAttributes()); err != nil {
				return false, fault.OfPath("make", path, err)
			}
		}
		changed, err := putRoot(path, hostLinks())
		return changed || was == nil, fault.OfPath("write", path, err)
	})
}

// hostLinks are the host's own links from its root into /usr.
func hostLinks() map[string]string {
	links := map[string]string{}
	for _, name := range rootLinks {
		if target, err := os.Readlink("/" + name); err == nil {
			links[name] = strings.TrimPrefix(target, "/")
		}
	}
	return links
}

func putRoot(path string, links map[string]string) (changed bool, err error) {
	modified, err := compareRoot(path, links)
	if err != nil || len(modified) == 0 {
		return false, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return false, err
	}
	defer root.Close()
	for _, name := range modified {
		target, link := links[name]
		switch {
		case name == ".":
			if err := os.Chmod(path, 0o755); err != nil {
				return true, err
			}
			if err := os.Lchown(path, os.Geteuid(), os.Getegid()); err != nil {
				return true, err
			}
			continue
		case link || !slices.Contains(rootFolders, name):
			if err := root.RemoveAll(name); err != nil {
				return true, err
			}
		}
		if link {
			err = root.Symlink(target, name)
		} else if slices.Contains(rootFolders, name) {
			err = putRootFolder(root, name)
		}
		if err != nil {
			return true, err
		}
	}
	d, _, err := durable.Parent(filepath.Join(path, "usr"))
	if err != nil {
		return true, err
	}
	defer d.Close()
	return true, d.Sync()
}

func putRootFolder(root *os.Root, name string) error {
	if info, err := root.Lstat(name); err == nil && !info.IsDir() {
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := root.Lchown(name, os.Geteuid(), os.Getegid()); err != nil {
		return err
	}
	return root.Chmod(name, 0o755)
}

// compareRoot returns what is not as it was made, sorted. What is in the folders doesn't count:
// it is mounted over. What is beside them does, since servers see it.
func compareRoot(path string, links map[string]string) ([]string, error) {
	var modified []string
	own, err := durable.Lstat(path)
	if err != nil || own == nil {
		return []string{"."}, err
	}
	if !own.Matches(engineAttributes()) {
		modified = append(modified, ".")
	}
	expected := map[string]bool{}
	for _, name := range rootFolders {
		expected[name] = true
		is, err := durable.Lstat(filepath.Join(path, name))
		if err != nil {
			return nil, err
		}
		if is == nil || is.Type != durable.Directory || !is.Matches(engineAttributes()) {
			modified = append(modified, name)
		}
	}
	for name, target := range links {
		expected[name] = true
		if is, err := os.Readlink(filepath.Join(path, name)); err != nil || is != target {
			modified = append(modified, name)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !expected[e.Name()] {
			modified = append(modified, e.Name())
		}
	}
	slices.Sort(modified)
	return modified, nil
}

// ObserveEngineRoot says what of a root directory is not as it was made.
func (s *Server) ObserveEngineRoot(_ context.Context, req *agentpb.ObserveEngineRootRequest) (*agentpb.EngineState, error) {
	path := req.GetPath()
	if err := validPath(path); err != nil {
		return nil, err
	}
	owned, err := s.owned(kindEngineRoot, path)
	if err != nil {
		return nil, err
	}
	resp := &agentpb.EngineState{Owned: owned}
	is, err := durable.Lstat(path)
	if err != nil {
		return nil, fault.OfPath("look at", path, err)
	}
	if is == nil {
		return resp, nil
	}
	resp.Exists = true
	if is.Type != durable.Directory {
		resp.ModifiedFiles = []string{"."}
		return resp, nil
	}
	resp.ModifiedFiles, err = compareRoot(path, hostLinks())
	return resp, fault.OfPath("look at", path, err)
}

// removeEngineRoot removes a root directory. Nothing is mounted on it any more: the servers that
// it was for are gone.
func (s *Server) removeEngineRoot(_ context.Context, st *state, e *ledger.Entry) (removal, error) {
	return st.removeFolder(e)
}
