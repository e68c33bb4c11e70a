package testmodel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func digest(t *testing.T, s Spec) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, s); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	return hex.EncodeToString(sum[:])
}

// Host files pin the model by its digest, so the bytes may change only on purpose.
func TestDefaultModelIsTheSameEverywhere(t *testing.T) {
	const want = "53f303f6df6c9ebb493e09f243755db77e5f6e587583fa01fd0b363549791e40"
	if got := digest(t, Spec{}); got != want {
		t.Errorf("the default model's SHA-256 is %s, was %s", got, want)
	}
	explicit := Spec{Name: "tiny-test", Reply: DefaultReply, Template: DefaultTemplate, Seed: 1}
	if got := digest(t, explicit); got != want {
		t.Errorf("the defaults, given explicitly, are another model: %s", got)
	}
}

func TestEachFieldChangesTheModel(t *testing.T) {
	seen := map[string]string{digest(t, Spec{}): "the default"}
	for name, s := range map[string]Spec{
		"Name":     {Name: "other"},
		"Reply":    {Reply: "Another answer."},
		"Template": {Template: "{{ messages[0].content }}"},
		"Context":  {Context: 512},
		"Layers":   {Layers: 1},
		"Width":    {Width: 128},
		"Hidden":   {Hidden: 64},
		"Heads":    {Heads: 2},
		"KVHeads":  {KVHeads: 4},
		"Half":     {Half: true},
		"Seed":     {Seed: 2},
	} {
		d := digest(t, s)
		if other, ok := seen[d]; ok {
			t.Errorf("%s gives the same model as %s", name, other)
		}
		seen[d] = name
	}
}

func TestHeader(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Spec{Layers: 3}); err != nil {
		t.Fatal(err)
	}
	var header struct {
		Magic         [4]byte
		Version       uint32
		Tensors, Keys uint64
	}
	if err := binary.Read(bytes.NewReader(b.Bytes()), binary.LittleEndian, &header); err != nil {
		t.Fatal(err)
	}
	if string(header.Magic[:]) != "GGUF" || header.Version != 3 {
		t.Errorf("magic %q and version %d, want GGUF and 3", header.Magic, header.Version)
	}
	if want := uint64(3 + 9*3); header.Tensors != want {
		t.Errorf("%d tensors, want %d", header.Tensors, want)
	}
	if b.Len()%ggufAlignment != 0 {
		t.Errorf("%d bytes are no multiple of the alignment", b.Len())
	}
}

// A model in shards has each tensor once, and the first shard says what the model is.
func TestShards(t *testing.T) {
	dir := t.TempDir()
	names, err := WriteShards(dir, "tiny", 3, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"tiny-00001-of-00003.gguf", "tiny-00002-of-00003.gguf", "tiny-00003-of-00003.gguf"}; !slices.Equal(names, want) {
		t.Errorf("the shards are %v, want %v", names, want)
	}
	tensors := uint64(0)
	for i, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		tensors += binary.LittleEndian.Uint64(content[8:])
		if described := bytes.Contains(content, []byte("general.architecture")); described != (i == 0) {
			t.Errorf("%s says what the model is: %t", name, described)
		}
	}
	if want := uint64(3 + 9*2); tensors != want {
		t.Errorf("the shards have %d tensors, want %d", tensors, want)
	}
	if _, err := WriteShards(dir, "tiny", 100, Spec{}); err == nil {
		t.Error("21 tensors were split into 100 files")
	}
}

// Two files of the same noise differ in their headers alone.
func TestNoise(t *testing.T) {
	write := func(n Noise) []byte {
		var b bytes.Buffer
		if _, err := n.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	const size = 64 << 10
	plain, longer, other := write(Noise{Bytes: size}), write(Noise{Bytes: size, Template: strings.Repeat("x", 4096)}), write(Noise{Bytes: size, Seed: 1})
	if len(longer) != len(plain)+4096 || !bytes.Equal(plain[len(plain)-size:], longer[len(longer)-size:]) {
		t.Errorf("%d and %d bytes: a longer template does more than to move the noise", len(plain), len(longer))
	}
	if bytes.Equal(plain[len(plain)-size:], other[len(other)-size:]) {
		t.Error("another seed gives the same noise")
	}
}

func TestImpossibleSpecs(t *testing.T) {
	for _, tt := range []struct {
		name string
		spec Spec
		want string
	}{
		{"a word twice", Spec{Reply: "the cat and the dog"}, `"the" twice`},
		{"no word", Spec{Reply: " "}, "no word"},
		{"odd width", Spec{Width: 48}, "Width is 48"},
		{"odd heads", Spec{KVHeads: 3}, "KVHeads is 3"},
		{"negative", Spec{Layers: -1}, "Layers is -1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Write(&bytes.Buffer{}, tt.spec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestWriteFileReportsWhatItWrote(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	sum, size, err := WriteFile(path, Spec{})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != sum {
		t.Errorf("the file isn't what its reported digest says")
	}
	if int64(len(content)) != size {
		t.Errorf("the file has %d bytes, reported were %d", len(content), size)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("beside the model there is something left over: %v", entries)
	}
}
