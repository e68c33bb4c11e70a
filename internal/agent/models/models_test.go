package models_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/llmhost/llmhost/internal/agent/digest"
	"github.com/llmhost/llmhost/internal/agent/durable"
	"github.com/llmhost/llmhost/internal/agent/models"
	"github.com/llmhost/llmhost/internal/modelfile"
)

func sum(content string) string {
	s := sha256.Sum256([]byte(content))
	return hex.EncodeToString(s[:])
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
}

// tamper changes a file's first byte in place and hides it, as far as its times can.
func tamper(t *testing.T, path string) {
	t.Helper()
	is, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("!"), 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, is.ModTime(), is.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// look looks at a model, keeps what it finds out, and says how many bytes it had to read.
func look(t *testing.T, cache digest.Cache, path string) (m *models.Model, read uint64) {
	t.Helper()
	m, err := models.Look(t.Context(), cache, path, models.Options{
		Remember: true, Progress: func(_ string, done, _ uint64) { read = done },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m, read
}

func newFolder(t *testing.T) (cache digest.Cache, path string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	files = map[string]string{
		"model-00001-of-00002.safetensors": "first shard", "model-00002-of-00002.safetensors": "second shard, longer",
		"config.json": "{}", "tokenizer/vocab with spaces.txt": "a b c", "Z": "sorted by bytes",
	}
	path = filepath.Join(dir, "model")
	for name, content := range files {
		write(t, filepath.Join(path, name), content)
	}
	return digest.Cache(filepath.Join(dir, "cache")), path, files
}

func TestFolderHasTheDigestThatOrdinaryToolsMake(t *testing.T) {
	cache, path, files := newFolder(t)
	out, err := exec.Command("sh", "-c", `cd "$0" && find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum`, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	m, read := look(t, cache, path)
	var size uint64
	for _, content := range files {
		size += uint64(len(content))
	}
	if m.SHA256 != strings.Fields(string(out))[0] || !m.Folder || m.Size != size || read != size || m.Remembered {
		t.Errorf("looked: %+v after %d bytes, and the tools say %s", m, read, out)
	}
	if again, read := look(t, cache, path); again.SHA256 != m.SHA256 || read != 0 || !again.Remembered {
		t.Errorf("again: %+v after %d bytes", again, read)
	}
}

func TestOneTouchedFileCostsOneHash(t *testing.T) {
	cache, path, files := newFolder(t)
	before, _ := look(t, cache, path)
	tamper(t, filepath.Join(path, "config.json"))
	after, read := look(t, cache, path)
	if after.SHA256 == before.SHA256 || after.SHA256 == "" || read != uint64(len(files["config.json"])) {
		t.Errorf("digest %s after %d bytes", after.SHA256, read)
	}
}

func TestWhatIsAddedToAFolderOrTakenFromItIsSeen(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path string){
		"a file more":   func(t *testing.T, path string) { write(t, filepath.Join(path, "tokenizer/extra"), "x") },
		"an empty file": func(t *testing.T, path string) { write(t, filepath.Join(path, "empty"), "") },
		"a file less":   func(t *testing.T, path string) { must(t, os.Remove(filepath.Join(path, "Z"))) },
		"another name": func(t *testing.T, path string) {
			must(t, os.Rename(filepath.Join(path, "Z"), filepath.Join(path, "z")))
		},
		"a link for a file": func(t *testing.T, path string) {
			must(t, os.Rename(filepath.Join(path, "Z"), filepath.Join(filepath.Dir(path), "Z")))
			must(t, os.Symlink("../Z", filepath.Join(path, "Z")))
		},
		"a link more":   func(t *testing.T, path string) { must(t, os.Symlink("config.json", filepath.Join(path, "link"))) },
		"a folder link": func(t *testing.T, path string) { must(t, os.Symlink("/etc", filepath.Join(path, "tokenizer/etc"))) },
		"a pipe":        func(t *testing.T, path string) { must(t, unix.Mkfifo(filepath.Join(path, "pipe"), 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			cache, path, _ := newFolder(t)
			before, _ := look(t, cache, path)
			change(t, path)
			after, _ := look(t, cache, path)
			if after.SHA256 == before.SHA256 {
				t.Error("the digest is the same")
			}
			if special := strings.Contains(name, "link") || name == "a pipe"; special != (after.Unusable != "") {
				t.Errorf("unusable: %q", after.Unusable)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTamperingIsSeen(t *testing.T) {
	dir := t.TempDir()
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
	write(t, path, "weights")
	look(t, cache, path)
	for i := range 20 { // right after it was read, too
		tamper(t, path)
		content, err := os.ReadFile(path)
		must(t, err)
		if m, _ := look(t, cache, path); m.SHA256 != sum(string(content)) {
			t.Fatalf("round %d: an old digest is believed", i)
		}
		must(t, os.WriteFile(path, fmt.Appendf(nil, "weights %d", i), 0o640))
		if m, _ := look(t, cache, path); m.SHA256 != sum(fmt.Sprintf("weights %d", i)) {
			t.Fatalf("round %d: an old digest is believed", i)
		}
	}
}

// What was read in the tick of the clock in which the file was last changed, or at a time that
// is still to come, proves nothing.
func TestClocksAreNotBelieved(t *testing.T) {
	for name, bend := range map[string]func(f *digest.File){
		"read in the tick of the change":   func(f *digest.File) { f.ReadNano = f.Identity.StatusChangeNano + 1 },
		"read before the change":           func(f *digest.File) { f.ReadNano = f.Identity.StatusChangeNano - 1e9 },
		"the clock was set back since":     func(f *digest.File) { f.ReadNano = time.Now().Add(time.Hour).UnixNano() },
		"read when the clock was no guide": func(f *digest.File) { f.ReadNano = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
			write(t, path, "weights")
			look(t, cache, path)
			record := cache.Load(path)
			if !record.Files[0].Holds(record.Files[0].Identity, "", time.Now()) {
				t.Fatal("what was just read isn't believed")
			}
			record.Files[0].SHA256 = sum("something else")
			bend(&record.Files[0])
			cache.Store(record)
			if m, read := look(t, cache, path); m.SHA256 != sum("weights") || read == 0 {
				t.Errorf("it was believed: %+v", m)
			}
		})
	}
}

// A file system that keeps whole seconds hides a change for as long.
func TestCoarseTimesNeedMorePatience(t *testing.T) {
	id := durable.Identity{Inode: 1, StatusChangeNano: time.Now().Add(-time.Hour).Truncate(time.Second).UnixNano()}
	f := digest.File{Identity: id, SHA256: sum("x"), ReadNano: id.StatusChangeNano + 1e9}
	if f.Holds(id, "", time.Now()) {
		t.Error("a second after a change that was stamped with a whole second it is believed")
	}
	f.ReadNano += 2e9
	if !f.Holds(id, "", time.Now()) {
		t.Error("three seconds after it isn't")
	}
}

// The kernel's own digest of a file is worth more than its times, and can't be lost.
func TestProtectionDecidesAlone(t *testing.T) {
	f := digest.File{Identity: durable.Identity{Inode: 1}, SHA256: sum("x"), Verity: "sha256:aa"}
	other := durable.Identity{Inode: 2, StatusChangeNano: time.Now().UnixNano()}
	if !f.Holds(other, "sha256:aa", time.Now()) {
		t.Error("a copy with the same digest isn't believed")
	}
	if f.Holds(f.Identity, "", time.Now()) || f.Holds(f.Identity, "sha256:bb", time.Now()) {
		t.Error("another file, or one without protection, is believed")
	}
}

func TestVerifyFindsWhatLooksUntouched(t *testing.T) {
	dir := t.TempDir()
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
	write(t, path, "weights")
	look(t, cache, path)
	// A disk that returns other bytes than were written: what was remembered of the same file is
	// something else.
	record := cache.Load(path)
	record.Files[0].SHA256 = sum("WEIGHTS")
	cache.Store(record)
	if m, read := look(t, cache, path); m.SHA256 != sum("WEIGHTS") || read != 0 {
		t.Fatalf("the test is pointless: %+v", m)
	}
	m, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{Remember: true})
	must(t, err)
	if want := "it has the SHA-256 " + sum("weights") + " and not " + sum("WEIGHTS"); m.Verified.Failure != want {
		t.Errorf("failure %q, want %q", m.Verified.Failure, want)
	}
	if m, read := look(t, cache, path); m.SHA256 != sum("weights") || m.Verified == nil || m.Verified.Failure == "" || read != 0 {
		t.Errorf("afterwards: %+v, %+v", m, m.Verified)
	}
	// A new file of the right bytes has never failed.
	must(t, os.Remove(path))
	write(t, path, "WEIGHTS")
	if m, _ := look(t, cache, path); m.Verified != nil || m.SHA256 != sum("WEIGHTS") {
		t.Errorf("the new file: %+v", m)
	}
}

func TestVerifyAgainstThePin(t *testing.T) {
	cache, path, _ := newFolder(t)
	m, _ := look(t, cache, path)
	good, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{Want: m.SHA256, Remember: true, Idle: true})
	must(t, err)
	if good.Verified.Failure != "" || good.Verified.Unix == 0 {
		t.Errorf("verified: %+v", good.Verified)
	}
	if m, read := look(t, cache, path); m.Verified == nil || m.Verified.Unix != good.Verified.Unix || read != 0 {
		t.Errorf("what is reported afterwards: %+v", m.Verified)
	}
	tamper(t, filepath.Join(path, "Z"))
	bad, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{Want: m.SHA256, Remember: true})
	must(t, err)
	if !strings.Contains(bad.Verified.Failure, "and not "+m.SHA256) {
		t.Errorf("failure %q", bad.Verified.Failure)
	}
	for what, path := range map[string]string{
		"there is no model":     filepath.Join(filepath.Dir(path), "absent"),
		"it is a symbolic link": filepath.Join(filepath.Dir(path), "link"),
	} {
		_ = os.Symlink("model", filepath.Join(filepath.Dir(path), "link"))
		m, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{})
		if err != nil || m.Verified.Failure != what {
			t.Errorf("%s: %q, %v", path, m.Verified.Failure, err)
		}
	}
}

func TestAFileThatCouldNotBeReadIsNotReadAgain(t *testing.T) {
	dir := t.TempDir()
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
	write(t, path, "weights")
	look(t, cache, path)
	record := cache.Load(path)
	record.Files[0].SHA256, record.Verified = "", &digest.Verification{Unix: 7, Failure: "it can't be read: input/output error"}
	cache.Store(record)
	seen, read := look(t, cache, path)
	if read != 0 || seen.SHA256 != "" || seen.Unusable != record.Verified.Failure || seen.Verified == nil || seen.Verified.Failure == "" {
		t.Errorf("a look after that reads it again, or doesn't say why: %+v", seen)
	}
}

func TestVerifyStopsAtOnce(t *testing.T) {
	cache, path, _ := newFolder(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := models.Verify(ctx, cache, path, models.VerifyOptions{Remember: true}); err != context.Canceled {
		t.Errorf("got %v", err)
	}
	if cache.Load(path) != nil {
		t.Error("a verification that was stopped is remembered")
	}
}

func TestAttributesAgreeOrAreReported(t *testing.T) {
	cache, path, _ := newFolder(t)
	m, _ := look(t, cache, path)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o640}
	if !m.Has(a) {
		u, g, mode := m.Attributes()
		t.Fatalf("users %v, groups %v, mode %o", u, g, mode)
	}
	for name, mode := range map[string]os.FileMode{"Z": 0o644, "tokenizer": 0o755, ".": 0o700} {
		is, err := os.Stat(filepath.Join(path, name))
		must(t, err)
		must(t, os.Chmod(filepath.Join(path, name), mode))
		m, _ := look(t, cache, path)
		if _, _, mode := m.Attributes(); mode != 0 || m.Has(a) {
			t.Errorf("%s is %o, and the model's mode is %o", name, is.Mode(), mode)
		}
		must(t, m.SetAttributes(t.Context(), a, nil))
		if m, _ := look(t, cache, path); !m.Has(a) {
			t.Errorf("%s was not repaired", name)
		}
	}
}

// A link shares attributes, so that a change for one name must leave the other alone.
func TestAttributesOfLinkedFilesPart(t *testing.T) {
	dir := t.TempDir()
	cache, path, other := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf"), filepath.Join(dir, "other.gguf")
	write(t, path, "weights")
	must(t, os.Link(path, other))
	look(t, cache, other)
	m, _ := look(t, cache, path)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	must(t, models.Keep(t.Context(), cache, []string{path}, func() error { return m.SetAttributes(t.Context(), a, nil) }))
	m, _ = look(t, cache, path)
	theirs, read := look(t, cache, other)
	if _, _, mode := theirs.Attributes(); mode != 0o640 || !m.Has(a) || m.SHA256 != theirs.SHA256 {
		t.Errorf("the other name has the mode %o", mode)
	}
	if read != 0 {
		t.Error("the other name, which lost a link, had to be read again")
	}
}

func TestWhatIsRememberedOutlivesAChangeOfAttributes(t *testing.T) {
	cache, path, _ := newFolder(t)
	m, _ := look(t, cache, path)
	_, err := models.Verify(t.Context(), cache, path, models.VerifyOptions{Remember: true})
	must(t, err)
	a := durable.Attributes{UID: os.Geteuid(), GID: os.Getegid(), Mode: 0o600}
	must(t, models.Keep(t.Context(), cache, []string{path}, func() error { return m.SetAttributes(t.Context(), a, nil) }))
	if m, read := look(t, cache, path); read != 0 || !m.Has(a) || m.Verified == nil {
		t.Errorf("%d bytes were read, verified %v", read, m.Verified)
	}
	// Bytes that change at the same time aren't covered by that.
	must(t, models.Keep(t.Context(), cache, []string{path}, func() error { return os.WriteFile(filepath.Join(path, "Z"), []byte("SORTED BY BYTES"), 0) }))
	if _, read := look(t, cache, path); read != uint64(len("sorted by bytes")) {
		t.Errorf("%d bytes were read", read)
	}
}

func TestPlacedModelsAreKnownAtOnce(t *testing.T) {
	cache, path, files := newFolder(t)
	var entries []modelfile.Entry
	for name, content := range files {
		entries = append(entries, modelfile.Entry{Name: name, SHA256: sum(content)})
	}
	models.Placed(t.Context(), cache, path, true, entries)
	if m, read := look(t, cache, path); read != 0 || m.SHA256 != modelfile.Digest(entries) || !m.Placed {
		t.Errorf("%d bytes were read of %+v", read, m)
	}
	// What isn't there as it is said to be is not believed.
	write(t, filepath.Join(path, "more"), "")
	cache.Forget(path)
	models.Placed(t.Context(), cache, path, true, entries)
	if cache.Load(path) != nil {
		t.Error("a folder with one more file is remembered as the one without")
	}
}

func TestHugeFolder(t *testing.T) {
	dir := t.TempDir()
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "model")
	deep := path
	for range 70 {
		deep = filepath.Join(deep, "d")
	}
	write(t, filepath.Join(deep, "x"), "x")
	if _, err := models.Look(t.Context(), cache, path, models.Options{}); err == nil || !strings.Contains(err.Error(), "more than 64 deep") {
		t.Errorf("got %v", err)
	}
	must(t, os.RemoveAll(path))
	for i := range 1000 {
		write(t, filepath.Join(path, fmt.Sprintf("%d/%d", i%50, i)), "x")
	}
	m, _ := look(t, cache, path)
	if again, read := look(t, cache, path); len(m.Files) != 1000 || again.SHA256 != m.SHA256 || read != 0 {
		t.Errorf("%d files, then %d bytes read", len(m.Files), read)
	}
}

func BenchmarkUnchangedModel(b *testing.B) {
	dir := b.TempDir()
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
	if err := os.WriteFile(path, []byte("weights"), 0o640); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := models.Look(b.Context(), cache, path, models.Options{Remember: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// A process that has a file mapped changes it without a system call. Memory that was written to
// the disk is the last that may change without a trace; /var/tmp is on one everywhere.
func TestAMappedFileThatChangesIsSeen(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "llmhost-test-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	cache, path := digest.Cache(filepath.Join(dir, "cache")), filepath.Join(dir, "m.gguf")
	write(t, path, strings.Repeat("weights ", 1000))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), 0, 8000, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	defer unix.Munmap(memory)
	for i := range 5 {
		memory[0] = byte('a' + i)
		time.Sleep(100 * time.Millisecond) // so that the next change has other times
		before, _ := look(t, cache, path)
		memory[0] = byte('A' + i)
		if after, _ := look(t, cache, path); after.SHA256 == before.SHA256 {
			t.Fatalf("round %d: the change isn't noticed", i)
		}
	}
}
