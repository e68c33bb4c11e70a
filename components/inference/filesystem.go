package inference

import (
	"fmt"
	"path"

	"github.com/llmhost/llmhost/components/systemd"
	"github.com/llmhost/llmhost/internal/hostfile"
)

// rootFS is what a server's unit has as its file system, before its model is put into it.
type rootFS struct {
	directory string
	inMemory  systemd.TemporaryFileSystems
	binds     systemd.Binds
}

// rootFilesystem is the engine's folder where it brings everything that it needs. An engine that
// needs the host's libraries has an empty root directory, in which the host's programs and
// libraries are mounted read-only and nothing else of the host: no configuration, no state, no
// home, and no other engine.
func (s *Server) rootFilesystem() rootFS {
	models := systemd.TemporaryFileSystem{Path: modelsInside, Options: []string{"ro"}}
	if s.Engine.Form() == hostfile.FormArchive {
		return rootFS{
			directory: path.Join(EnginesRoot, s.Engine.SHA256),
			inMemory:  systemd.TemporaryFileSystems{models},
		}
	}
	root := rootFS{
		directory: SharedRoot,
		inMemory: systemd.TemporaryFileSystems{
			models,
			// What is mounted below them needs a place, which isn't made in a folder that all share.
			{Path: "/etc", Options: []string{"ro"}},
			{Path: "/opt", Options: []string{"ro"}},
		},
		binds: systemd.Binds{
			{Source: "/usr", Target: "/usr"},
			{Source: "/etc/ld.so.cache", Target: "/etc/ld.so.cache", Optional: true},
			{Source: "/etc/alternatives", Target: "/etc/alternatives", Optional: true},
		},
	}
	if s.Engine.Form() == hostfile.FormVenv {
		root.binds = append(root.binds, systemd.Bind{Source: s.venv(), Target: s.venv()})
	}
	return root
}

// venv is the folder of the engine's virtual environment, on the host and as the server sees it:
// its programs name it.
func (s *Server) venv() string { return path.Join(VenvsRoot, s.Engine.Identity()) }

// fileBinds are the small files that the engine reads.
func (s *Server) fileBinds(command Command) systemd.Binds {
	var binds systemd.Binds
	for _, f := range command.Files {
		binds = append(binds, systemd.Bind{Source: s.HostFile(f), Target: f.Inside})
	}
	return binds
}

// leastScratch is what every server has to write to, in memory.
var leastScratch = []Scratch{
	// PrivateTmp= would also make /var/tmp, in the engine.
	{Path: "/tmp", Size: 64 << 20},
	// PrivateDevices= and ProtectSystem= leave the host's shared memory in place, and writable: a
	// way to other processes, and memory beyond /tmp's limit.
	{Path: "/dev/shm", Size: 64 << 20},
}

// scratch are the folders in memory that the server can write, as large as the engine needs.
func scratch(command Command) systemd.TemporaryFileSystems {
	var folders systemd.TemporaryFileSystems
	for _, f := range command.AllScratch() {
		size := fmt.Sprintf("size=%dM", f.Size>>20)
		options := []string{size, "mode=1777", "nodev", "nosuid"}
		if !f.Exec {
			options = append(options, "noexec")
		}
		folders = append(folders, systemd.TemporaryFileSystem{Path: f.Path, Options: options})
	}
	return folders
}

// AllScratch are the engine's folders, and those that every server has as far as the engine names
// none there.
func (c Command) AllScratch() []Scratch {
	all := append([]Scratch{}, leastScratch...)
	for _, own := range c.Scratch {
		found := false
		for i := range all {
			if all[i].Path == own.Path {
				all[i], found = own, true
			}
		}
		if !found {
			all = append(all, own)
		}
	}
	return all
}
