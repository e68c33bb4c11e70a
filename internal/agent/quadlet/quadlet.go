// Package quadlet keeps the files of a Podman quadlet: a container that the service manager of a
// user without privileges runs (podman-systemd.unit(5)).
//
// What decides over the container is in folders of root, so that whoever takes over the user can't
// change it. What may overrule it there and in the user's own folders is found, so that it shows
// as drift, and removed without following links of the user's.
package quadlet

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
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/fault"
	"github.com/llmhost/llmhost/internal/agent/systemd"
)

// Place is where a quadlet belongs.
type Place struct {
	Root string // of the file system
	User string
	UID  int
	Home string // of the user
	Name string
}

// Files are what is there of a quadlet.
type Files struct {
	Exists  bool
	Content string
	// SocketFolder is the folder in /run/llmhost that is made at every boot. Of one that isn't made
	// as it should be, it is "changed".
	SocketFolder string
	// Overrides are the files that change, replace or mask the quadlet or its service.
	Overrides []string
}

// changed stands for a socket folder that is made otherwise.
const changed = "changed"

// Same reports whether nothing needs to be written.
func (f *Files) Same(want *Files) bool {
	return f.Exists == want.Exists && f.Content == want.Content && f.SocketFolder == want.SocketFolder && len(f.Overrides) == 0
}

// folder has the quadlets of one user, in a folder that is root's.
func (p Place) folder() string { return "/etc/containers/systemd/users/" + strconv.Itoa(p.UID) }

// File is the quadlet's path.
func (p Place) File() string { return p.folder() + "/" + p.Name + ".container" }

// tmpfiles is the path of what makes the socket folder (tmpfiles.d(5)).
func (p Place) tmpfiles() string { return "/etc/tmpfiles.d/" + p.Name + ".conf" }

func (p Place) at(path string) string { return filepath.Join(p.Root, path) }

// tmpfilesText has the folder made for the user and its group, whose members pass it to the socket.
func (p Place) tmpfilesText(folder string) string {
	return fmt.Sprintf("# Written by llmhost: the folder of the socket of %s.\nd /run/llmhost 0755 root root -\nd /run/llmhost/%s 0710 %s %s -\n",
		p.Name, folder, p.User, p.User)
}

// overriding are the places of files that overrule the quadlet or the service that is made of it:
// below folders of root, of the user, and of the user's manager.
func (p Place) overriding() map[string][]string {
	quadlet, service := p.Name+".container", p.Name+".service"
	return map[string][]string{
		p.folder():                      {quadlet + ".d"},
		"/etc/containers/systemd/users": {quadlet, quadlet + ".d"},
		"/etc/systemd/user":             {service, service + ".d"},
		p.Home: {
			".config/containers/systemd/" + quadlet, ".config/containers/systemd/" + quadlet + ".d",
			".config/systemd/user/" + service, ".config/systemd/user/" + service + ".d",
			".config/systemd/user.control/" + service, ".config/systemd/user.control/" + service + ".d",
		},
		systemd.UserRuntimeDir(p.UID): {
			"containers/systemd/" + quadlet, "containers/systemd/" + quadlet + ".d",
			"systemd/user/" + service, "systemd/user/" + service + ".d",
			"systemd/user.control/" + service, "systemd/user.control/" + service + ".d",
		},
	}
}

// Load reads what is there.
func (p Place) Load() (*Files, error) {
	f := &Files{}
	content, err := os.ReadFile(p.at(p.File()))
	switch {
	case err == nil:
		f.Exists, f.Content = true, string(content)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	made, err := os.ReadFile(p.at(p.tmpfiles()))
	switch {
	case err == nil:
		f.SocketFolder = changed
		if lines := strings.Split(string(made), "\n"); len(lines) > 2 {
			if folder, _, ok := strings.Cut(strings.TrimPrefix(lines[2], "d /run/llmhost/"), " "); ok && p.tmpfilesText(folder) == string(made) {
				f.SocketFolder = folder
			}
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	f.Overrides, err = p.overrides()
	return f, err
}

func (p Place) overrides() ([]string, error) {
	var found []string
	for base, names := range p.overriding() {
		root, err := os.OpenRoot(p.at(base))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			found = append(found, existing(root, base, name)...)
		}
		root.Close()
	}
	slices.Sort(found)
	return found, nil
}

// existing are a file, or the files of a folder of drop-ins. A link out of the folder isn't followed.
func existing(root *os.Root, base, name string) []string {
	info, err := root.Lstat(name)
	if err != nil {
		return nil
	}
	if !info.IsDir() {
		return []string{filepath.Join(base, name)}
	}
	entries, err := fs.ReadDir(root.FS(), name)
	if err != nil {
		return []string{filepath.Join(base, name)}
	}
	var found []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".conf" {
			found = append(found, filepath.Join(base, name, e.Name()))
		}
	}
	return found
}

// MissingParents are the folders that have to be made for the quadlet, outermost first.
func (p Place) MissingParents() ([]string, error) { return durable.MissingParents(p.at(p.File())) }

// Install writes and removes files, so that those that are wanted are there and no others. was is
// what is there.
func (p Place) Install(ctx context.Context, was, want *Files) error {
	root := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o644}
	for _, file := range was.Overrides {
		if err := p.removeOverride(file); err != nil {
			return fault.OfPath("remove", file, err)
		}
	}
	if want.SocketFolder != was.SocketFolder && want.SocketFolder != changed {
		if err := p.socketFolder(ctx, was.SocketFolder, want.SocketFolder, root); err != nil {
			return err
		}
	}
	if !want.Exists {
		return removeFile(p.at(p.File()))
	}
	parents, err := p.MissingParents()
	if err != nil {
		return fault.OfPath("look at the folder of", p.File(), err)
	}
	folder := root
	folder.Mode = 0o755
	if err := durable.MakeParents(parents, folder); err != nil {
		return fault.OfPath("make the folder of", p.File(), err)
	}
	return fault.OfPath("write", p.File(), durable.WriteFile(p.at(p.File()), []byte(want.Content), root))
}

// removeOverride removes a file that overrules the quadlet.
func (p Place) removeOverride(file string) error {
	for base := range p.overriding() {
		name, err := filepath.Rel(base, file)
		if err != nil || !filepath.IsLocal(name) {
			continue
		}
		root, err := os.OpenRoot(p.at(base))
		if err != nil {
			return err
		}
		err = root.Remove(name)
		_ = root.Remove(filepath.Dir(name)) // when it was the last drop-in
		root.Close()
		if errors.Is(err, fs.ErrNotExist) {
			continue // below another of the folders
		}
		return err
	}
	return nil
}

// socketFolder has the folder of the server's socket made, now and at every boot, or no longer.
func (p Place) socketFolder(ctx context.Context, was, want string, a durable.Attributes) error {
	file := p.at(p.tmpfiles())
	if was != "" && was != changed && was != want {
		if err := removeSocketFolder(p.at("/run/llmhost"), was); err != nil {
			return fault.OfPath("remove", "/run/llmhost/"+was, err)
		}
	}
	if want == "" {
		return removeFile(file)
	}
	parents, err := durable.MissingParents(file)
	if err == nil {
		folder := a
		folder.Mode = 0o755
		err = durable.MakeParents(parents, folder)
	}
	if err == nil {
		err = durable.WriteFile(file, []byte(p.tmpfilesText(want)), a)
	}
	if err != nil {
		return fault.OfPath("write", p.tmpfiles(), err)
	}
	_, err = p.tool(ctx, nil, "systemd-tmpfiles", "--create", p.tmpfiles())
	return err
}

// removeSocketFolder removes a folder with the socket in it, which a server that has ended leaves.
func removeSocketFolder(parent, name string) error {
	d, err := durable.Open(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return d.RemoveAll(name)
}

func removeFile(path string) error {
	d, name, err := durable.Parent(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.OfPath("remove", path, err)
	}
	defer d.Close()
	if is, err := d.Lstat(name); err != nil || is == nil {
		return fault.OfPath("remove", path, err)
	}
	if err := d.Remove(name); err != nil {
		return fault.OfPath("remove", path, err)
	}
	return d.Sync()
}

// generators are where distributions have Podman's generator, which is the same program for the
// host's manager and for a user's.
var generators = []string{"/usr/lib/systemd/system-generators/podman-system-generator", "/usr/libexec/podman/quadlet", "/usr/lib/podman/quadlet"}

// toolTimeout bounds the generator and systemd's tools.
const toolTimeout = time.Minute

// Verify has Podman's own generator make a service of a quadlet, before it replaces another, and
// systemd read that service. temporary is a folder to work in.
func (p Place) Verify(ctx context.Context, temporary, content string) error {
	generator := ""
	for _, g := range generators {
		if _, err := os.Stat(g); err == nil {
			generator = g
			break
		}
	}
	if generator == "" {
		return fault.New(agentpb.Reason_NO_TOOL, "Podman's generator of services from quadlets is missing on the host").With("tool", "podman").
			Hint("install Podman 4.4 or newer")
	}
	dir, err := os.MkdirTemp(temporary, "verify-")
	if err != nil {
		return fault.OfPath("write", temporary, err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, p.Name+".container"), []byte(content), 0o600); err != nil {
		return fault.OfPath("write", dir, err)
	}
	service, err := p.tool(ctx, []string{"QUADLET_UNIT_DIRS=" + dir}, generator, "--user", "--dryrun")
	if err != nil {
		return err
	}
	// The generator writes a line with the service's name before its text.
	_, text, ok := strings.Cut(service, "---"+p.Name+".service---\n")
	if !ok {
		return fault.New(agentpb.Reason_INVALID, "Podman's generator has made no service of %s.container: %s", p.Name, strings.TrimSpace(service))
	}
	return systemd.Verify(ctx, temporary, p.Name+".service", text, nil)
}

// tool runs a program and returns what it has written to its standard output. What it complains
// about is an error.
func (p Place) tool(ctx context.Context, env []string, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append([]string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fault.New(agentpb.Reason_NO_TOOL, "the program %s is missing on the host", program).With("tool", program)
	}
	if err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = err.Error()
		}
		return "", fault.New(agentpb.Reason_INVALID, "%s refused %s: %s", filepath.Base(program), p.Name, said)
	}
	return stdout.String(), nil
}
