package modelfile_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/llmhost/llmhost/internal/modelfile"
)

const aCommit = "0123456789abcdef0123456789abcdef01234567"

func TestParseSource(t *testing.T) {
	for text, want := range map[string]modelfile.Source{
		"~/x.gguf":                   {Kind: modelfile.Local, Path: "~/x.gguf"},
		"../models/folder":           {Kind: modelfile.Local, Path: "../models/folder", Folder: true},
		"/m/x-00002-of-00003.gguf":   {Kind: modelfile.Local, Path: "/m/x-00002-of-00003.gguf", Folder: true},
		"/m/x-00000-of-00003.gguf":   {Kind: modelfile.Local, Path: "/m/x-00000-of-00003.gguf"}, // no shard is number 0
		"a:b.gguf":                   {Kind: modelfile.Local, Path: "a:b.gguf"},
		"https://e.org/a/x.gguf?d=1": {Kind: modelfile.HTTPS, URL: "https://e.org/a/x.gguf?d=1"},
		"http://127.0.0.1:80/x.gguf": {Kind: modelfile.HTTPS, URL: "http://127.0.0.1:80/x.gguf"},
		"https://e.org/x-00001-of-00002.gguf": {
			Kind: modelfile.HTTPS, URL: "https://e.org/x-00001-of-00002.gguf", Folder: true},
		"hf://org/repo@" + aCommit: {
			Kind: modelfile.Hub, Repository: "org/repo", Revision: aCommit, Folder: true},
		"hf://org/re.po@main/Q4/x.gguf": {
			Kind: modelfile.Hub, Repository: "org/re.po", Revision: "main", Path: "Q4/x.gguf"},
		"hf://org/repo@v1/Q4": {
			Kind: modelfile.Hub, Repository: "org/repo", Revision: "v1", Path: "Q4", Folder: true},
		"ssh://host/srv/models/x.gguf": {Kind: modelfile.SSH, Address: "host", Path: "/srv/models/x.gguf"},
		"ssh://me@[fe80::1]:2222/srv/a folder": {
			Kind: modelfile.SSH, User: "me", Address: "fe80::1", Port: 2222, Path: "/srv/a folder", Folder: true},
		"host:/data/x.gguf": {Kind: modelfile.Host, Path: "/data/x.gguf"},
	} {
		want.Text = text
		got, err := modelfile.ParseSource(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

// What is nearly right says what is right.
func TestSourceNearMisses(t *testing.T) {
	for text, hint := range map[string]string{
		"":                         "hf://ORG/REPO@REVISION",
		"a\nb.gguf":                "control character",
		"http://e.org/x.gguf":      `Write "https://e.org/x.gguf"`,
		"https:/e.org/x.gguf":      `Write "https://e.org/x.gguf"`,
		"https:///x.gguf":          "has no host",
		"https://e.org/x.gguf#a":   "has a # in it",
		"https://e.org/model":      "names no GGUF file",
		"https://e.org/%zz.gguf":   "is no address",
		"https://e.org/x.pth":      "another format than GGUF",
		"https://huggingface.co/o": "hf://ORG/REPO@REVISION",
		"https://huggingface.co/o/r/blob/main/x.gguf": "https://huggingface.co/o/r/resolve/main/x.gguf",
		"hf:org/repo@main":                            `Write "hf://org/repo@main"`,
		"hf://org/repo":                               "llmhost model add finds it",
		"hf://org/repo@":                              "has no revision",
		"hf://org/repo@a b":                           `the revision "a b"`,
		"hf://repo@main":                              "names no repository",
		"hf://models/org/repo@main":                   `Write "hf://org/repo@main"`,
		"hf://org/repo@main/../x.gguf":                "isn't in its shortest form",
		"hf://org/repo@main/a//x.gguf":                "isn't in its shortest form",
		"me@host:models/x.gguf":                       `Write "ssh://me@host/models/x.gguf"`,
		"ssh://host":                                  "has no path",
		"ssh://host/":                                 "has no path",
		"ssh://-oProxyCommand=x/a.gguf":               "names no host",
		"ssh://-l@host/a.gguf":                        "isn't a valid name",
		"ssh://host:0/a.gguf":                         "no valid port",
		"ssh://host:99999/a.gguf":                     "no valid port",
		"ssh://[fe80::1/a.gguf":                       "bracket",
		"ssh://host/srv/../x.gguf":                    `Write "ssh://host/x.gguf"`,
		"host:x.gguf":                                 "starts with /",
		"host:~/x.gguf":                               "starts with /",
		"host://data/x.gguf":                          `Write "host:/data/x.gguf"`,
		"host:/data/../etc/x.gguf":                    `Write "host:/etc/x.gguf"`,
		"file:///m/x.gguf":                            `"/m/x.gguf"`,
		"s3://bucket/x.gguf":                          "doesn't know",
		"~/m/model.safetensors":                       "name the folder",
		"~/m/pytorch_model.bin":                       "name the folder",
		"https://me:pw@e.org/x.gguf":                  "llmhost:modelToken",
		"/m/model.safetensors.index.json":             "name the folder",
	} {
		_, err := modelfile.ParseSource(text)
		var fault *modelfile.SourceError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v; want %q", text, err, hint)
			continue
		}
		if strings.Contains(err.Error(), "pw") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestSourceNames(t *testing.T) {
	for text, want := range map[string]string{
		"https://e.org/a/x.gguf?x=/y": "x.gguf",
		"hf://org/repo@main":          "repo",
		"hf://org/repo@main/a/b.gguf": "b.gguf",
		"/m/folder/":                  "folder",
		"host:/data/x.gguf":           "x.gguf",
	} {
		s, err := modelfile.ParseSource(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name() != want {
			t.Errorf("the name of %s is %s, not %s", text, s.Name(), want)
		}
	}
}

func TestShards(t *testing.T) {
	s, ok := modelfile.ParseShard("a-b-00002-of-00003.gguf")
	if !ok || s != (modelfile.Shard{Prefix: "a-b", Number: 2, Count: 3}) {
		t.Fatalf("got %+v, %v", s, ok)
	}
	if diff := cmp.Diff([]string{"a-b-00001-of-00003.gguf", "a-b-00002-of-00003.gguf", "a-b-00003-of-00003.gguf"}, s.All()); diff != "" {
		t.Error(diff)
	}
	if s.First().Name() != "a-b-00001-of-00003.gguf" {
		t.Errorf("the first is %s", s.First().Name())
	}
	for _, name := range []string{"x.gguf", "x-00004-of-00003.gguf", "x-1-of-3.gguf", "-00001-of-00002.gguf", "x-00001-of-00002.gguf.part"} {
		if s, ok := modelfile.ParseShard(name); ok {
			t.Errorf("%s is a shard: %+v", name, s)
		}
	}
}

// Whatever is accepted is read back as the same, and is safe to be a word of a command line.
func FuzzParseSource(f *testing.F) {
	for _, text := range []string{"~/x.gguf", "https://e.org/x.gguf", "hf://o/r@main/p/x.gguf", "ssh://u@[::1]:22/x.gguf", "host:/x.gguf"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := modelfile.ParseSource(text)
		if err != nil {
			return
		}
		if again, err := modelfile.ParseSource(s.Text); err != nil || again != s {
			t.Errorf("%q is read as %+v and then as %+v, %v", text, s, again, err)
		}
		if strings.HasPrefix(s.Address, "-") || strings.HasPrefix(s.User, "-") {
			t.Errorf("%q gives ssh an option: %+v", text, s)
		}
		if (s.Kind == modelfile.SSH || s.Kind == modelfile.Host) && !strings.HasPrefix(s.Path, "/") {
			t.Errorf("%q has a relative path: %+v", text, s)
		}
	})
}
