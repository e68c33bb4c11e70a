// Package imagearchive reads which images an archive holds, as `docker save`, `podman save` and
// skopeo write them: docker-archive (manifest.json), OCI image layout (index.json), or both.
//
// It exists so that a wrong pin is found on the machine that has the archive, before gigabytes are
// sent, and so that pinning an image needs no container runtime.
package imagearchive

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Image is one image of an archive.
type Image struct {
	// ID is the digest of its configuration, with sha256: what Podman, and Docker with its own
	// store, call the image.
	ID string
	// Manifest is the digest of its manifest, which is what Docker calls the image where it keeps
	// images in containerd's store. It is empty for an archive without an OCI layout: containerd
	// then writes a manifest of its own.
	Manifest string
	// Tags are the names that the archive gives the image.
	Tags []string
	// Architecture and OS are what the image is for, as Go names them.
	Architecture, OS string
	// DockerLoads says that Docker's own store can load it, which reads no plain OCI layout.
	DockerLoads bool
}

const (
	// maxDocument bounds one JSON document of an archive, in bytes, and maxDocuments all of them.
	// Layers are never kept.
	maxDocument  = 4 << 20
	maxDocuments = 64 << 20
	// maxImages bounds what an archive may claim to hold.
	maxImages = 64
)

// ReadFile reads an archive: a tar, or one that is compressed with gzip or zstd.
func ReadFile(file string) ([]Image, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	images, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no archive of container images: %w", file, err)
	}
	return images, nil
}

// read reads an archive once, and keeps its documents: which of them matter is only known when
// all were seen.
func read(f *os.File) ([]Image, error) {
	r, err := decompress(f)
	if err != nil {
		return nil, err
	}
	documents, err := documentsOf(r)
	if err != nil {
		return nil, err
	}
	a := archive{documents: documents, byDigest: map[string][]byte{}}
	for _, content := range documents {
		a.byDigest[digestOf(content)] = content
	}
	return a.images()
}

// decompress recognizes the compression by its first bytes. A plain tar is read from the file
// itself, in which the reader can skip layers.
func decompress(f *os.File) (io.Reader, error) {
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("it is empty")
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head[:n], []byte{0x1f, 0x8b}):
		return gzip.NewReader(bufio.NewReader(f))
	case bytes.Equal(head[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		d, err := zstd.NewReader(f)
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return f, nil
}

// documentsOf are the archive's files that look like JSON, by name.
func documentsOf(r io.Reader) (map[string][]byte, error) {
	documents := map[string][]byte{}
	total := 0
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return documents, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg || h.Size < 2 || h.Size > maxDocument {
			continue
		}
		in := bufio.NewReader(t)
		if first, err := in.Peek(1); err != nil || first[0] != '{' && first[0] != '[' {
			continue
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		if total += len(content); total > maxDocuments {
			return nil, fmt.Errorf("its documents are larger than %d bytes", maxDocuments)
		}
		documents[path.Clean(h.Name)] = content
	}
}

type archive struct {
	documents map[string][]byte // by name
	byDigest  map[string][]byte
}

func (a archive) images() ([]Image, error) {
	byID := map[string]*Image{}
	if err := a.dockerArchive(byID); err != nil {
		return nil, err
	}
	if index := a.documents["index.json"]; index != nil {
		if err := a.index(byID, index, 0); err != nil {
			return nil, err
		}
	}
	if len(byID) == 0 {
		return nil, errors.New("it has neither a manifest.json nor an index.json")
	}
	var images []Image
	for _, i := range byID {
		images = append(images, *i)
	}
	slices.SortFunc(images, func(a, b Image) int { return strings.Compare(a.ID, b.ID) })
	return images, nil
}

// dockerArchive reads manifest.json.
func (a archive) dockerArchive(byID map[string]*Image) error {
	raw := a.documents["manifest.json"]
	if raw == nil {
		return nil
	}
	var entries []struct {
		Config   string
		RepoTags []string
	}
	if err := json.Unmarshal(raw, &entries); err != nil || len(entries) > maxImages {
		return errors.New("its manifest.json is not as docker save writes it")
	}
	for _, e := range entries {
		config := a.documents[path.Clean(e.Config)]
		if config == nil {
			return fmt.Errorf("its manifest.json names the configuration %q, which is not in it", e.Config)
		}
		image, err := describe(config)
		if err != nil {
			return err
		}
		image.Tags, image.DockerLoads = e.RepoTags, true
		byID[image.ID] = image
	}
	return nil
}

// index reads index.json, and the indexes that it names.
func (a archive) index(byID map[string]*Image, raw []byte, depth int) error {
	var index struct {
		Manifests []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &index); err != nil || len(index.Manifests) > maxImages || depth > 2 {
		return errors.New("its index.json is not as the OCI image layout has it")
	}
	for _, m := range index.Manifests {
		document := a.byDigest[m.Digest]
		if document == nil {
			continue // of another platform, which the archive leaves away
		}
		var manifest struct {
			Config struct {
				Digest string `json:"digest"`
			} `json:"config"`
			Manifests []json.RawMessage `json:"manifests"`
		}
		if err := json.Unmarshal(document, &manifest); err != nil {
			return fmt.Errorf("its manifest %s can't be read: %w", m.Digest, err)
		}
		if len(manifest.Manifests) > 0 {
			if err := a.index(byID, document, depth+1); err != nil {
				return err
			}
			continue
		}
		config := a.byDigest[manifest.Config.Digest]
		if config == nil {
			continue // an attestation, or a configuration that is elsewhere
		}
		image, err := describe(config)
		if err != nil {
			return err
		}
		if image.Architecture == "" || image.Architecture == "unknown" {
			continue // an attestation (buildkit marks it so)
		}
		if known := byID[image.ID]; known != nil {
			known.Manifest = m.Digest
			continue
		}
		image.Manifest = m.Digest
		if tag := m.Annotations["org.opencontainers.image.ref.name"]; tag != "" {
			image.Tags = []string{tag}
		}
		byID[image.ID] = image
	}
	return nil
}

// describe reads an image's configuration.
func describe(config []byte) (*Image, error) {
	var c struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("the configuration of its image can't be read: %w", err)
	}
	return &Image{ID: digestOf(config), Architecture: c.Architecture, OS: c.OS}, nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
