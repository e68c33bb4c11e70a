package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// unpacked makes a tar as mmdebstrap does, in the given order.
func unpacked(t *testing.T, at time.Time, headers []tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.ModTime = at
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

func packed(t *testing.T, r io.Reader) []byte {
	t.Helper()
	tree, err := readTree(r)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := writeTree(&b, tree); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var llamaPackages = []tar.Header{
	{Typeflag: tar.TypeReg, Name: "./usr/bin/llama-server", Mode: 0o4755, Uid: 1000, Uname: "builder"},
	{Typeflag: tar.TypeReg, Name: "./usr/bin/wget", Mode: 0o755},
	{Typeflag: tar.TypeReg, Name: "./lib/x86_64-linux-gnu/libc.so.6", Mode: 0o755},
	{Typeflag: tar.TypeLink, Name: "./usr/lib/a-link", Linkname: "./lib/x86_64-linux-gnu/libc.so.6"},
	{Typeflag: tar.TypeSymlink, Name: "./usr/lib64/ld.so", Linkname: "../lib/ld.so", Mode: 0o777},
	{Typeflag: tar.TypeReg, Name: "./usr/share/doc/llama.cpp/copyright", Mode: 0o644},
	{Typeflag: tar.TypeReg, Name: "./etc/apt/sources.list", Mode: 0o644},
	{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666},
}

func TestEngineArchiveIsARootDirectory(t *testing.T) {
	z, err := zstd.NewReader(bytes.NewReader(packed(t, unpacked(t, time.Unix(1e9, 0), llamaPackages))))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	got := map[string]string{}
	var order []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "root" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s belongs to %s (%d) at %v", h.Name, h.Uname, h.Uid, h.ModTime)
		}
		order = append(order, h.Name)
		got[h.Name] = string(h.Typeflag) + " " + h.FileInfo().Mode().Perm().String() + " " + h.Linkname
	}
	want := map[string]string{
		"bin": "2 -rwxrwxrwx usr/bin", "lib": "2 -rwxrwxrwx usr/lib", "lib64": "2 -rwxrwxrwx usr/lib64", "sbin": "2 -rwxrwxrwx usr/sbin",
		"usr/": "5 -rwxr-xr-x ", "usr/bin/": "5 -rwxr-xr-x ", "usr/lib/": "5 -rwxr-xr-x ", "usr/lib64/": "5 -rwxr-xr-x ",
		"usr/sbin/": "5 -rwxr-xr-x ", "usr/lib/x86_64-linux-gnu/": "5 -rwxr-xr-x ",
		"dev/": "5 -rwxr-xr-x ", "models/": "5 -rwxr-xr-x ", "proc/": "5 -rwxr-xr-x ", "run/": "5 -rwxr-xr-x ", "sys/": "5 -rwxr-xr-x ", "tmp/": "5 -rwxr-xr-x ",
		"usr/bin/llama-server":               "0 -rwxr-xr-x ", // no longer setuid
		"usr/lib/x86_64-linux-gnu/libc.so.6": "0 -rwxr-xr-x ",
		"usr/lib/a-link":                     "1 ---------- usr/lib/x86_64-linux-gnu/libc.so.6",
		"usr/lib64/ld.so":                    "2 -rwxr-xr-x ../lib/ld.so",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the archive (-want +got):\n%s", diff)
	}
	if slices.Index(order, "usr/lib/a-link") < slices.Index(order, "usr/lib/x86_64-linux-gnu/libc.so.6") {
		t.Error("a hard link comes before its target, so that it can't be unpacked")
	}
}

func TestEngineArchiveDependsOnThePackagesAlone(t *testing.T) {
	first := packed(t, unpacked(t, time.Unix(1e9, 0), llamaPackages))
	reversed := slices.Clone(llamaPackages)
	slices.Reverse(reversed)
	second := packed(t, unpacked(t, time.Unix(2e9, 0), reversed))
	if sha256.Sum256(first) != sha256.Sum256(second) {
		t.Error("the same packages, unpacked later and in another order, give another archive")
	}
}
