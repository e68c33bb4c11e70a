// Package testimage writes container images without a container runtime, for tests and for the
// demo: an archive as `docker save` writes it, of one layer, whose bytes depend on what goes into
// it alone.
//
// It exists because the lab reaches no registry: its images are built FROM scratch, of an engine's
// archive.
package testimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Spec is what an image is made of.
type Spec struct {
	// Layer is a tar of the image's root folder, plain or compressed with zstd.
	Layer string
	// Entrypoint is the program with its leading arguments.
	Entrypoint   []string
	Architecture string // as Go names it
	Tags         []string
	// OCI also writes the OCI image layout, as newer Dockers do; without Docker only that.
	OCI, WithoutDocker bool
}

// Written is an archive that was written.
type Written struct {
	Path   string
	SHA256 string // of the archive
	// ID is the digest of the image's configuration, Manifest that of its manifest (with OCI), both
	// with sha256.
	ID, Manifest string
}

// Write writes an archive.
func Write(file string, s Spec) (*Written, error) {
	layer, err := plainLayer(s.Layer)
	if err != nil {
		return nil, fmt.Errorf("the layer of an image: %w", err)
	}
	diff := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": s.Architecture, "os": "linux",
		"config":  map[string]any{"Entrypoint": s.Entrypoint},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{diff}},
		"history": []map[string]any{{"created": "1970-01-01T00:00:00Z", "created_by": "llmhost testimage"}},
		"created": "1970-01-01T00:00:00Z",
	})
	if err != nil {
		return nil, err
	}
	w := &Written{Path: file, ID: digest(config)}
	files := []entry{{blob(w.ID), config}, {blob(diff), layer}}
	if !s.WithoutDocker {
		manifest, err := json.Marshal([]map[string]any{{"Config": blob(w.ID), "RepoTags": s.Tags, "Layers": []string{blob(diff)}}})
		if err != nil {
			return nil, err
		}
		files = append(files, entry{"manifest.json", manifest})
	}
	if s.OCI || s.WithoutDocker {
		more, err := layout(w, config, layer)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	content, err := pack(files)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	w.SHA256 = hex.EncodeToString(sum[:])
	return w, os.WriteFile(file, content, 0o600)
}

// layout are the documents of the OCI image layout.
func layout(w *Written, config, layer []byte) ([]entry, error) {
	describe := func(mediaType string, content []byte) map[string]any {
		return map[string]any{"mediaType": mediaType, "digest": digest(content), "size": len(content)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": describe("application/vnd.oci.image.config.v1+json", config),
		"layers": []any{describe("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		return nil, err
	}
	w.Manifest = digest(manifest)
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
		"manifests": []any{describe("application/vnd.oci.image.manifest.v1+json", manifest)},
	})
	if err != nil {
		return nil, err
	}
	return []entry{{blob(w.Manifest), manifest}, {"index.json", index}, {"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}}, nil
}

type entry struct {
	name    string
	content []byte
}

func pack(files []entry) ([]byte, error) {
	var out bytes.Buffer
	t := tar.NewWriter(&out)
	for _, f := range files {
		if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.content); err != nil {
			return nil, err
		}
	}
	err := t.Close()
	return out.Bytes(), err
}

func plainLayer(file string) ([]byte, error) {
	content, err := os.ReadFile(file)
	if err != nil || !bytes.HasPrefix(content, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		return content, err
	}
	d, err := zstd.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return io.ReadAll(d)
}

func blob(digest string) string { return "blobs/sha256/" + digest[len("sha256:"):] }

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
