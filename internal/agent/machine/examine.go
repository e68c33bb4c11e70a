package machine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Evidence is one file or one program's output, as it is.
type Evidence struct {
	Source string // a path, or a program with its arguments
	Text   string
	Error  string // why there is no text, or how the program ended
	Absent bool   // there is no such file or program
}

// examinedFiles are read whole.
var examinedFiles = []string{
	"/etc/group",
	"/proc/driver/nvidia/version",
	"/proc/meminfo",
	"/proc/swaps",
	"/proc/sys/kernel/core_pattern",
	"/sys/fs/cgroup/cgroup.controllers",
}

// examinedFolders are listed.
var examinedFolders = []string{"/dev/char"}

// examinedTools only look. Their arguments are fixed: nothing of a request becomes a part of them.
var examinedTools = [][]string{
	{"apt-config", "dump"},
	{"docker", "compose", "version", "--short"},
	{"docker", "version", "--format", "{{.Server.Version}}"},
	{"nvidia-ctk", "--version"},
	{"nvidia-smi", "--query-gpu=index,name,driver_version,memory.total,memory.used,power.limit,persistence_mode", "--format=csv,noheader,nounits"},
	{"podman", "--version"},
	{"ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes", "--cgroup"},
	{"sshd", "-T"},
	{"systemd-analyze", "cat-config", "systemd/coredump.conf"},
	{"timedatectl", "show"},
}

const (
	examineLimit = 20 * time.Second // for one program: nvidia-smi loads the driver first
	mostEvidence = 256 << 10        // bytes of one file or output
)

// toolPath is where root's tools are, whatever the environment says.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Examine collects the evidence, sorted by its source.
func (r Root) Examine(ctx context.Context) []Evidence {
	var all []Evidence
	for _, file := range examinedFiles {
		all = append(all, r.read(file))
	}
	for _, folder := range examinedFolders {
		all = append(all, Evidence{Source: folder, Text: strings.Join(r.list(folder), "\n"), Absent: !r.isFolder(folder)})
	}
	outputs := make([]Evidence, len(examinedTools))
	var running sync.WaitGroup
	for i, argv := range examinedTools {
		running.Go(func() { outputs[i] = output(ctx, argv) })
	}
	running.Wait()
	all = append(all, outputs...)
	slices.SortFunc(all, func(a, b Evidence) int { return strings.Compare(a.Source, b.Source) })
	return all
}

func (r Root) isFolder(p string) bool {
	info, err := os.Stat(r.at(p))
	return err == nil && info.IsDir()
}

func (r Root) read(file string) Evidence {
	e := Evidence{Source: file}
	f, err := os.Open(r.at(file))
	if err == nil {
		defer f.Close()
		var text []byte
		text, err = io.ReadAll(io.LimitReader(f, mostEvidence))
		e.Text = strings.ToValidUTF8(string(text), "?")
	}
	e.Absent = errors.Is(err, fs.ErrNotExist)
	if err != nil {
		e.Error = err.Error()
	}
	return e
}

// output runs one program.
func output(ctx context.Context, argv []string) Evidence {
	e := Evidence{Source: strings.Join(argv, " ")}
	tool := ""
	for dir := range strings.SplitSeq(toolPath, ":") {
		if info, err := os.Stat(filepath.Join(dir, argv[0])); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			tool = filepath.Join(dir, argv[0])
			break
		}
	}
	if tool == "" {
		e.Absent = true
		return e
	}
	ctx, cancel := context.WithTimeout(ctx, examineLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, argv[1:]...)
	cmd.Env = []string{"PATH=" + toolPath, "LC_ALL=C", "HOME=/root"}
	cmd.WaitDelay = time.Second
	var out, said limited
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	e.Text = strings.ToValidUTF8(out.String(), "?")
	switch {
	case ctx.Err() != nil:
		e.Error = "it took longer than " + examineLimit.String()
	case err != nil:
		e.Error = err.Error()
		if text := strings.TrimSpace(strings.ToValidUTF8(said.String(), "?")); text != "" {
			e.Error = text
		}
	}
	return e
}

// limited keeps the beginning of what is written to it.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if room := mostEvidence - l.Len(); room > 0 {
		l.Builder.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// Folder is the file system that a folder is on, or would be.
type Folder struct {
	Path        string
	Exists      bool
	Mode        uint32 // permission bits, if it exists
	Free, Total uint64 // bytes; free for root
	MountPoint  string
	FileSystem  string
	Options     []string // of the mount
	Protects    bool     // files can be protected by the kernel (fs-verity)
}

// ExamineFolder describes the file system of a folder.
func (r Root) ExamineFolder(ctx context.Context, folder string) (Folder, error) {
	f := Folder{Path: folder}
	there := folder
	for {
		info, err := os.Stat(r.at(there))
		if err == nil {
			if f.Exists = there == folder; f.Exists {
				f.Mode = uint32(info.Mode().Perm())
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || there == "/" {
			return f, err
		}
		there = path.Dir(there)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(r.at(there), &st); err != nil {
		return f, &os.PathError{Op: "statfs", Path: there, Err: err}
	}
	f.Free, f.Total = st.Bfree*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	real, err := filepath.EvalSymlinks(r.at(there))
	if err != nil {
		return f, err
	}
	device := f.mount(r.text("/proc/self/mountinfo"), real)
	switch f.FileSystem {
	case "btrfs":
		f.Protects = true
	case "ext4":
		features := output(ctx, []string{"tune2fs", "-l", device})
		f.Protects = slices.Contains(strings.Fields(field(features.Text, "Filesystem features")), "verity")
	}
	return f, nil
}

// mount finds the mount of a path in mountinfo (proc_pid_mountinfo(5)) and returns its device. A later line covers an earlier one.
func (f *Folder) mount(table, real string) (device string) {
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 6 || len(right) < 3 {
			continue
		}
		point := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(left[4])
		if point != "/" && real != point && !strings.HasPrefix(real, point+"/") {
			continue
		}
		if len(point) >= len(f.MountPoint) {
			f.MountPoint, f.FileSystem, device = point, right[0], right[1]
			f.Options = strings.Split(left[5], ",")
		}
	}
	return device
}
