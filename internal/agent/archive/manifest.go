package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/llmhost/llmhost/internal/agent/durable"
)

// Entry is something that was unpacked.
type Entry struct {
	Path   string `json:"path"` // below the folder
	Type   string `json:"type"`
	Mode   uint32 `json:"mode,omitempty"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Target string `json:"target,omitempty"` // of a symbolic link
	// Identity is the file as it was when it had the digest: while it is the same, the
	// file need not be read.
	Identity durable.Identity `json:"identity,omitzero"`
}

// Manifest lists what was unpacked, sorted by path.
type Manifest struct {
	Folder  string  `json:"folder"`
	SHA256  string  `json:"sha256"` // of the archive
	Entries []Entry `json:"entries"`
}

// Files is the number of regular files.
func (m *Manifest) Files() uint64 {
	var n uint64
	for _, e := range m.Entries {
		if e.Type == durable.Regular {
			n++
		}
	}
	return n
}

// Load reads a manifest, and returns nil when there is none.
func Load(path string) (*Manifest, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, fmt.Errorf("the manifest %s is damaged: %w", path, err)
	}
	return &m, nil
}

// Save writes a manifest for root alone.
func (m *Manifest) Save(path string) error {
	content, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	return durable.WriteFile(path, append(content, '\n'), a)
}

// Remember notes the identities of the files, whose digests must just have been checked.
func (m *Manifest) Remember(root *os.Root) error {
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Type != durable.Regular {
			continue
		}
		info, err := root.Lstat(e.Path)
		if err != nil {
			return err
		}
		e.Identity = identityOf(info)
	}
	return nil
}

func identityOf(info fs.FileInfo) durable.Identity {
	st := info.Sys().(*syscall.Stat_t)
	return durable.Identity{
		Device: uint64(st.Dev), Inode: st.Ino, Size: st.Size,
		ModifiedNano: st.Mtim.Nano(), StatusChangeNano: st.Ctim.Nano(),
	}
}
