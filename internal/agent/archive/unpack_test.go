package archive_test

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/agent/agentpb"
	"github.com/llmhost/llmhost/internal/agent/archive"
	"github.com/llmhost/llmhost/internal/agent/archive/archivetest"
	"github.com/llmhost/llmhost/internal/agent/fault"
)

func unpack(t *testing.T, format string, content []byte, limits archive.Limits) (dir string, m *archive.Manifest, err error) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "engine")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m, err = archive.Unpack(context.Background(), bytes.NewReader(content), format, dir, limits)
	return dir, m, err
}

func device(name string) archivetest.Entry {
	return archivetest.Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}
}

func fifo(name string) archivetest.Entry {
	return archivetest.Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeFifo}}
}

func setuid(name string) archivetest.Entry {
	e := archivetest.Program(name, "x")
	e.Mode |= 0o4000
	return e
}

func TestHostileArchivesAreRefused(t *testing.T) {
	file, link, dir := archivetest.File, archivetest.Symlink, archivetest.Dir
	for name, entries := range map[string][]archivetest.Entry{
		"absolute path":                       {file("/etc/passwd", "x")},
		"climbing path":                       {file("../x", "x")},
		"path that climbs in the middle":      {file("a/../../x", "x")},
		"path that climbs and comes back":     {file("a/../x", "x")},
		"absolute folder":                     {dir("/usr/")},
		"link that climbs":                    {link("a", "../x")},
		"link that climbs from below":         {link("a/b/c", "../../../x")},
		"link without a target":               {link("a", "")},
		"file through a link to outside":      {link("a", "/etc"), file("a/x", "x")},
		"file through a link to inside":       {dir("b/"), link("a", "b"), file("a/x", "x")},
		"folder through a link":               {dir("b/"), link("a", "b"), dir("a/c/")},
		"folder over a link":                  {link("a", "b"), dir("a/")},
		"file over a link":                    {link("a", "/etc/passwd"), file("a", "x")},
		"file below a file":                   {file("a", "x"), file("a/b", "x")},
		"the same file twice":                 {file("a", "x"), file("a", "y")},
		"hard link to outside":                {archivetest.Link("a", "/etc/shadow")},
		"hard link that climbs":               {archivetest.Link("a", "../x")},
		"hard link to what is not there":      {archivetest.Link("a", "b")},
		"hard link to a symbolic link":        {link("b", "/etc/shadow"), archivetest.Link("a", "b")},
		"device":                              {device("null")},
		"named pipe":                          {fifo("pipe")},
		"setuid program":                      {setuid("su")},
		"nothing in it":                       {},
		"nothing but the folder itself":       {dir("./")},
		"more entries than are allowed":       {file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", ""), file("6", "")},
		"more bytes than are allowed":         {file("a", strings.Repeat("x", 1001))},
		"more bytes than are allowed, summed": {file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _, err := unpack(t, "tar", archivetest.Tar(entries...), archive.Limits{Bytes: 1000, Entries: 5})
			if fault.ReasonOf(err) != agentpb.Reason_BAD_ARCHIVE {
				t.Errorf("got %v", err)
			}
			left, err := os.ReadDir(filepath.Dir(dir))
			if err != nil || len(left) != 1 {
				t.Errorf("beside the folder is now %v, %v", left, err)
			}
		})
	}
}

func TestDamagedArchivesAreRefused(t *testing.T) {
	good := archivetest.Tar(archivetest.File("a", strings.Repeat("0123456789", 1000)))
	for name, test := range map[string]struct {
		format  string
		content []byte
	}{
		"cut off tar":  {"tar", good[:3000]},
		"cut off gzip": {"tar.gz", archivetest.Gzip(good)[:60]},
		"cut off zstd": {"tar.zst", archivetest.Zstd(good)[:30]},
		"no tar":       {"tar", bytes.Repeat([]byte("x"), 2000)},
		"no gzip":      {"tar.gz", good},
		"no zstd":      {"tar.zst", good},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := unpack(t, test.format, test.content, archive.DefaultLimits); fault.ReasonOf(err) != agentpb.Reason_BAD_ARCHIVE {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestUnpackedTree(t *testing.T) {
	content := archivetest.Tar(
		archivetest.Dir("./"), archivetest.Dir("./usr/"), archivetest.Program("./usr/bin/server", "program"),
		archivetest.Link("./usr/bin/alias", "./usr/bin/server"),
		archivetest.File("data", "data"), archivetest.Symlink("bin", "usr/bin"), archivetest.Symlink("usr/etc", "/etc"),
		archivetest.Symlink("usr/lib/x/y", "../../up"), archivetest.Dir("usr/"),
	)
	for format, packed := range map[string][]byte{"tar": content, "tar.gz": archivetest.Gzip(content), "tar.zst": archivetest.Zstd(content)} {
		t.Run(format, func(t *testing.T) {
			dir, m, err := unpack(t, format, packed, archive.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]os.FileMode{"usr": os.ModeDir | 0o755, "usr/bin": os.ModeDir | 0o755, "usr/bin/server": 0o755, "data": 0o644} {
				info, err := os.Lstat(filepath.Join(dir, name))
				if err != nil || info.Mode() != want {
					t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
				}
			}
			if m.Files() != 3 {
				t.Errorf("%d files", m.Files())
			}
			root, err := os.OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer root.Close()
			if modified, err := m.Compare(t.Context(), root); err != nil || len(modified) != 0 {
				t.Errorf("modified right after unpacking: %q, %v", modified, err)
			}
		})
	}
}
