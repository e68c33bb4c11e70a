package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

// composeRoot holds the compose projects, a folder each, which only root may enter.
const composeRoot = "/etc/llmhost/compose"

func composeFolder(name string) string  { return filepath.Join(composeRoot, name) }
func composePath(name string) string    { return filepath.Join(composeFolder(name), "compose.yaml") }
func composeEnvPath(name string) string { return filepath.Join(composeFolder(name), "accounts.env") }

// composeTmpfilesPath makes the folders of the sockets at each boot, before Docker starts.
func composeTmpfilesPath(name string) string {
	return "/etc/tmpfiles.d/llmhost-compose-" + name + ".conf"
}

// socketFolderMode lets the server's group pass and open the socket, which gets the group from the
// folder: the server itself need not be in it.
const socketFolderMode = 0o2710

// composeFiles are the files of a project, with the folders that are made for it.
type composeFiles struct {
	content, env, tmpfiles string
}

// composeFiles resolves the accounts, whose numbers only the host knows.
func (s *Server) composeFiles(req *agentpb.PutComposeRequest) (*composeFiles, error) {
	f := &composeFiles{content: req.GetContent()}
	for _, variable := range slices.Sorted(maps.Keys(req.GetAccounts())) {
		if strings.Trim(variable, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" || variable == "" {
			return nil, fault.New(agentpb.Reason_INVALID, "%q is no name of a variable", variable)
		}
		kind, name, _ := strings.Cut(req.GetAccounts()[variable], ":")
		id, err := s.accountNumber(kind, name)
		if err != nil {
			return nil, err
		}
		f.env += fmt.Sprintf("%s=%d\n", variable, id)
	}
	for _, folder := range slices.Sorted(maps.Keys(req.GetFolders())) {
		if filepath.Dir(folder) != s.servers.SocketDir || validProject(filepath.Base(folder)) != nil {
			return nil, fault.New(agentpb.Reason_INVALID, "%q is no folder in %s", folder, s.servers.SocketDir)
		}
		owner, group, _ := strings.Cut(req.GetFolders()[folder], ":")
		a, err := s.attributes(owner, group, socketFolderMode)
		if err != nil {
			return nil, err
		}
		f.tmpfiles += fmt.Sprintf("d %s %04o %d %d -\n", folder, a.Mode, a.UID, a.GID)
	}
	return f, nil
}

func (s *Server) accountNumber(kind, name string) (int, error) {
	find, ok := map[string]func(string) (int, bool, error){"user": s.accounts.UID, "group": s.accounts.GID}[kind]
	if !ok {
		return 0, fault.New(agentpb.Reason_INVALID, "an account is user:NAME or group:NAME, not %q", kind+":"+name)
	}
	id, found, err := find(name)
	switch {
	case err != nil:
		return 0, fault.OfPath("read", "the list of accounts", err)
	case !found:
		return 0, fault.New(agentpb.Reason_NO_SUCH_USER, "there is no %s %q on the host", kind, name)
	}
	return id, nil
}

func (f *composeFiles) same(other *composeFiles) bool { return *f == *other }

// install writes the files and makes the folders. was is what is there, or nil.
func (f *composeFiles) install(name string, was *composeFiles) (changed bool, err error) {
	for _, dir := range []string{filepath.Dir(composeRoot), composeRoot, composeFolder(name)} {
		mode := uint32(0o700)
		if dir == filepath.Dir(composeRoot) {
			mode = 0o755 // it holds what others read, too
		}
		if err := makeFolder(dir, durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: mode}, false); err != nil {
			return false, err
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(f.tmpfiles), "\n") {
		if line == "" {
			continue
		}
		folder, a, err := tmpfilesLine(line)
		if err != nil {
			return changed, err
		}
		above := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o755}
		if err := makeFolder(filepath.Dir(folder), above, false); err != nil {
			return changed, err
		}
		if err := makeFolder(folder, a, true); err != nil {
			return changed, err
		}
	}
	if was != nil && f.same(was) {
		return false, nil
	}
	for _, file := range []struct {
		path, content string
		mode          uint32
	}{
		{composeTmpfilesPath(name), f.tmpfiles, 0o644},
		{composeEnvPath(name), f.env, 0o600},
		{composePath(name), f.content, 0o600},
	} {
		a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: file.mode}
		if err := durable.WriteFile(file.path, []byte(file.content), a); err != nil {
			return true, fault.OfPath("write", file.path, err)
		}
	}
	return true, nil
}

// tmpfilesLine reads a line that composeFiles has written (tmpfiles.d(5), type d).
func tmpfilesLine(line string) (folder string, a durable.Attributes, err error) {
	fields := strings.Fields(line)
	if len(fields) != 6 || fields[0] != "d" {
		return "", a, fault.New(agentpb.Reason_INVALID, "%q isn't a line of llmhost's", line)
	}
	mode, modeErr := strconv.ParseUint(fields[2], 8, 32)
	uid, uidErr := strconv.Atoi(fields[3])
	gid, gidErr := strconv.Atoi(fields[4])
	if err := errors.Join(modeErr, uidErr, gidErr); err != nil {
		return "", a, fault.New(agentpb.Reason_INVALID, "%q isn't a line of llmhost's: %v", line, err)
	}
	return fields[1], durable.Attributes{UID: uid, GID: gid, Mode: uint32(mode)}, nil
}

// makeFolder makes a folder if there is none. With set, one that is there gets the attributes.
func makeFolder(path string, a durable.Attributes, set bool) error {
	d, name, err := durable.Parent(path)
	if err != nil {
		return fault.OfPath("make", path, err)
	}
	defer d.Close()
	is, err := d.Lstat(name)
	switch {
	case err != nil:
	case is == nil:
		err = d.Mkdir(name, a)
	case is.Type != durable.Directory:
		return fault.New(agentpb.Reason_WRONG_TYPE, "%s is a %s, and a folder is to be there", path, is.Type).With("path", path)
	case set && !is.Matches(a):
		err = d.SetOnDirectory(name, a)
	}
	return fault.OfPath("make", path, err)
}

// loadComposeFiles reads what is there of a project, and is nil without its compose file.
func loadComposeFiles(name string) (*composeFiles, error) {
	f := &composeFiles{}
	for _, file := range []struct {
		path string
		into *string
	}{{composePath(name), &f.content}, {composeEnvPath(name), &f.env}, {composeTmpfilesPath(name), &f.tmpfiles}} {
		content, err := os.ReadFile(file.path)
		if errors.Is(err, fs.ErrNotExist) {
			if file.into == &f.content {
				return nil, nil
			}
			continue
		}
		if err != nil {
			return nil, fault.OfPath("read", file.path, err)
		}
		*file.into = string(content)
	}
	return f, nil
}

// composeFolderDifferences are folders of sockets that aren't as they were made.
func (s *Server) composeFolderDifferences(f *composeFiles) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(f.tmpfiles) {
		folder, a, err := tmpfilesLine(strings.TrimSpace(line))
		if err != nil {
			found["tmpfiles"] = err.Error()
			continue
		}
		is, err := durable.Lstat(folder)
		switch server := filepath.Base(folder); {
		case err != nil:
			found[server+".folder"] = err.Error()
		case is == nil:
			found[server+".folder"] = folder + " is missing"
		case is.Type != durable.Directory || !is.Matches(a):
			found[server+".folder"] = fmt.Sprintf("%s is a %s %04o of %d:%d, and was made %04o of %d:%d", folder, is.Type, is.Mode, is.UID, is.GID, a.Mode, a.UID, a.GID)
		}
	}
	return found
}

// removeComposeFiles removes the files and folders of a project. Folders that something else has
// something in stay.
func removeComposeFiles(name string, f *composeFiles) error {
	var folders []string
	if f != nil {
		for line := range strings.Lines(f.tmpfiles) {
			if folder, _, err := tmpfilesLine(strings.TrimSpace(line)); err == nil {
				folders = append(folders, folder)
			}
		}
	}
	for _, path := range []string{composeTmpfilesPath(name), composePath(name), composeEnvPath(name)} {
		if err := removeIn(path, (*durable.Dir).Remove); err != nil {
			return err
		}
	}
	for _, folder := range folders {
		// A socket that a server has left.
		if err := removeIn(filepath.Join(folder, "llm.sock"), (*durable.Dir).Remove); err != nil {
			return err
		}
		_ = removeIn(folder, (*durable.Dir).RemoveDirectory)
	}
	for _, folder := range []string{composeFolder(name), composeRoot, filepath.Dir(composeRoot)} {
		_ = removeIn(folder, (*durable.Dir).RemoveDirectory)
	}
	return nil
}

func removeIn(path string, remove func(*durable.Dir, string) error) error {
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.OfPath("remove", path, err)
	}
	defer d.Close()
	d.Sweep(name)
	if err := remove(d, name); err != nil {
		return fault.OfPath("remove", path, err)
	}
	return d.Sync()
}
