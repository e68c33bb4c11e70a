package source

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/llmhost/llmhost/internal/atomicfile"
)

// Cache remembers the digests of this machine's files, so that one that nobody has written to
// isn't read again. It doesn't see a write through a memory mapping that was there before the file
// was read. A nil Cache remembers nothing.
type Cache struct {
	folder string
}

// UserCache is the cache in the user's cache folder, or nil if there is no such folder.
func UserCache() *Cache {
	folder, err := os.UserCacheDir()
	if err != nil {
		return nil
	}
	return &Cache{folder: filepath.Join(folder, "llmhost", "digests")}
}

// Remembering is implemented by a source that can remember the digest of a file that somebody
// has read to its end.
type Remembering interface {
	Remember(file int, sha256 string)
}

// settled is how long a file must have been left alone before its digest is remembered. A write
// within the resolution of the file system's clock, 10 ms at most on Linux and 2 s on FAT, leaves
// the times as they are.
var settled = 3 * time.Second

// cached is what a cache remembers of a file.
type cached struct {
	Path     string   `json:"path"`
	Identity identity `json:"identity"`
	SHA256   string   `json:"sha256"`
}

func (c *Cache) file(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(c.folder, hex.EncodeToString(sum[:16])+".json")
}

// find returns the digest of a file that is as it was when it was read, else nothing.
func (c *Cache) find(path string, is identity) string {
	if c == nil {
		return ""
	}
	content, err := os.ReadFile(c.file(path))
	if err != nil {
		return ""
	}
	var known cached
	if err := json.Unmarshal(content, &known); err != nil || known.Path != path || known.Identity != is || !isSHA256(known.SHA256) {
		return ""
	}
	return known.SHA256
}

// store remembers a digest. One that can't be remembered is computed again when it is needed.
func (c *Cache) store(path string, is identity, sum string) {
	if c == nil || time.Since(time.Unix(0, is.written())) < settled {
		return
	}
	content, err := json.Marshal(cached{Path: path, Identity: is, SHA256: sum})
	if err != nil {
		return
	}
	if err := os.MkdirAll(c.folder, 0o700); err != nil {
		return
	}
	_ = atomicfile.Write(c.file(path), append(content, '\n'))
}

// isSHA256 says whether a text is a SHA-256 in lower-case hexadecimal.
func isSHA256(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size && text == hex.EncodeToString(raw)
}
