package source_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/llmhost/llmhost/internal/source"
	"github.com/llmhost/llmhost/internal/source/fakehub"
)

// A hub's list says where another machine finds the files; an address says it by itself.
func TestLocate(t *testing.T) {
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": shelf()})
	o := source.Options{Hub: hub.URL, Token: "hf_private"}
	files, list, err := source.Locate(t.Context(), parse(t, "hf://org/name@main/text encoder"), o)
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Addresses(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if len(files) != 2 || files[1].Name != "weights%20.bin" || files[1].SHA256 == "" {
		t.Errorf("the files are %+v", files)
	}
	if got := read(t, src, 1, 0); got != "more" {
		t.Errorf("at the address is %q", got)
	}

	asked := len(hub.Requests())
	_, list, err = source.Locate(t.Context(), parse(t, hub.URL+"/org/name/resolve/main/big-00002-of-00002.gguf"), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0].Name != "big-00001-of-00002.gguf" || !strings.HasSuffix(list[0].URL, "/"+list[0].Name) || list[0].Token != o.Token {
		t.Errorf("the shards are at %+v", list)
	}
	if len(hub.Requests()) != asked {
		t.Error("what an address says was asked for")
	}
}

// The hub's token is no other server's, even if that asks for one.
func TestTokenIsTheHubs(t *testing.T) {
	var got []string
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Header.Get("Authorization"))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer other.Close()
	_, err := source.Open(t.Context(), parse(t, other.URL+"/a.gguf"), source.Options{Hub: "https://hub.test", Token: "hf_private"})
	wantError(t, err, "access is refused")
	if len(got) == 0 || strings.Join(got, "") != "" {
		t.Errorf("the server was sent %q", got)
	}
}

// A host that fetches by itself needs the addresses alone: those that a source names are not
// looked up from here.
func TestLocateAsksForNothingThatTheTextSays(t *testing.T) {
	repo := shelf()
	hub := fakehub.Start(t, map[string]fakehub.Repository{"org/name": repo})
	commit := hub.Commit("org/name")
	o := source.Options{Hub: hub.URL, Token: "hf_token"}
	base := hub.URL + "/org/name/resolve/" + commit + "/"
	for _, c := range []struct {
		text  string
		want  map[string]string // address by name
		token string
		asked bool
	}{
		{text: "https://files.example/m.gguf?key=1", want: map[string]string{"": "https://files.example/m.gguf?key=1"}},
		{text: hub.URL + "/m.gguf", want: map[string]string{"": hub.URL + "/m.gguf"}, token: "hf_token"},
		{text: "hf://org/name@" + commit + "/a b/m.gguf", want: map[string]string{"": base + "a%20b/m.gguf"}, token: "hf_token"},
		{text: "hf://org/name@" + commit + "/big-00001-of-00002.gguf", token: "hf_token", want: map[string]string{
			"big-00001-of-00002.gguf": base + "big-00001-of-00002.gguf", "big-00002-of-00002.gguf": base + "big-00002-of-00002.gguf"}},
		{text: "hf://org/name@main/model-Q4_K_M.gguf", want: map[string]string{"": base + "model-Q4_K_M.gguf"}, token: "hf_token", asked: true},
		{text: "hf://org/name@" + commit + "/text encoder", token: "hf_token", asked: true, want: map[string]string{
			"config #1.json": base + "text%20encoder/config%20%231.json", "weights%20.bin": base + "text%20encoder/weights%2520.bin"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			before := len(hub.Requests())
			files, list, err := source.Locate(t.Context(), parse(t, c.text), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(files) != len(c.want) || len(list) != len(files) {
				t.Fatalf("files %v at %v", files, list)
			}
			for i, f := range files {
				if got := list[i]; got.Name != f.Name || got.URL != c.want[f.Name] || got.Token != c.token {
					t.Errorf("%q is at %+v", f.Name, got)
				}
			}
			if asked := len(hub.Requests()) > before; asked != c.asked {
				t.Errorf("the hub was asked: %v", asked)
			}
		})
	}
	for _, text := range []string{"/srv/m.gguf", "ssh://host/srv/m.gguf", "host:/srv/m.gguf"} {
		if _, _, err := source.Locate(t.Context(), parse(t, text), o); err == nil {
			t.Errorf("%s has an address", text)
		}
	}
}
