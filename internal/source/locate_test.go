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
