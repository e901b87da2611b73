package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// nobody is whom the server runs as in an image: a user that is nobody's elsewhere either.
const nobody = 65532

// platform is a server of one architecture.
type platform struct{ arch, path string }

// The parts of the OCI image format that our image has.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Platform    *ociPlatform      `json:"platform,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	ociPlatform struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	}
	manifest struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        *descriptor  `json:"config,omitempty"`
		Layers        []descriptor `json:"layers,omitempty"`
		Manifests     []descriptor `json:"manifests,omitempty"` // of an index
	}
	imageConfig struct {
		Created      string    `json:"created"`
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Config       runConfig `json:"config"`
		RootFS       rootFS    `json:"rootfs"`
		History      []history `json:"history"`
	}
	runConfig struct {
		User         string              `json:"User"`
		ExposedPorts map[string]struct{} `json:"ExposedPorts"`
		Entrypoint   []string            `json:"Entrypoint"`
		Cmd          []string            `json:"Cmd"`
		Labels       map[string]string   `json:"Labels"`
	}
	rootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	}
	history struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
)

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar"
)

// writeImage writes an OCI layout in a tar: for each platform an image that holds the program and nothing else, as
// deploy/image/Containerfile says it. It needs no engine, and the same programs give the same bytes.
func writeImage(path string, servers []platform, version string, built time.Time) error {
	l := &layout{time: built}
	l.tar = tar.NewWriter(&l.out)
	l.add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	index := manifest{SchemaVersion: 2, MediaType: typeIndex}
	for _, s := range servers {
		program, err := os.ReadFile(s.path)
		if err != nil {
			return err
		}
		if err := static(program); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		m, err := l.image(s.arch, program, version)
		if err != nil {
			return err
		}
		index.Manifests = append(index.Manifests, m)
	}
	all, err := l.blobJSON(typeIndex, index)
	if err != nil {
		return err
	}
	all.Annotations = map[string]string{"org.opencontainers.image.ref.name": version}
	text, err := json.Marshal(manifest{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{all}})
	if err != nil {
		return err
	}
	l.add("index.json", text)
	if l.err == nil {
		l.err = l.tar.Close()
	}
	if l.err != nil {
		return fmt.Errorf("writing the image: %w", l.err)
	}
	return os.WriteFile(path, l.out.Bytes(), 0o644)
}

// static refuses a program that would look for a loader or a library in an image that has none.
func static(program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return errors.New("it is not a static program")
		}
	}
	return nil
}

// layout is an OCI layout that is being written; err is the first failure.
type layout struct {
	out  bytes.Buffer
	tar  *tar.Writer
	time time.Time
	err  error
}

// image adds the image of one platform.
func (l *layout) image(arch string, program []byte, version string) (descriptor, error) {
	files, err := layer(program, l.time)
	if err != nil {
		return descriptor{}, err
	}
	created := l.time.UTC().Format(time.RFC3339)
	content := l.blob(typeLayer, files)
	config, err := l.blobJSON(typeConfig, imageConfig{
		Created: created, Architecture: arch, OS: "linux",
		Config: runConfig{
			User:         strconv.Itoa(nobody) + ":" + strconv.Itoa(nobody),
			ExposedPorts: map[string]struct{}{"7443/tcp": {}},
			Entrypoint:   []string{"/" + server},
			Cmd:          []string{"serve", "--config", "/var/lib/signet/vault/signetd.yaml"},
			Labels: map[string]string{
				"org.opencontainers.image.title":    server,
				"org.opencontainers.image.version":  version,
				"org.opencontainers.image.source":   "https://github.com/p8signet/signet",
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
		RootFS:  rootFS{"layers", []string{content.Digest}},
		History: []history{{created, "make release"}},
	})
	if err != nil {
		return descriptor{}, err
	}
	m, err := l.blobJSON(typeManifest, manifest{SchemaVersion: 2, MediaType: typeManifest, Config: &config, Layers: []descriptor{content}})
	m.Platform = &ociPlatform{arch, "linux"}
	return m, err
}

// layer is a file system with one file.
func layer(program []byte, built time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: server, Mode: 0o555, Size: int64(len(program)), ModTime: built, Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write(program)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("writing the image's file system: %w", err)
	}
	return out.Bytes(), nil
}

func (l *layout) blobJSON(mediaType string, v any) (descriptor, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("writing the image: %w", err)
	}
	return l.blob(mediaType, text), nil
}

// blob adds content under its hash.
func (l *layout) blob(mediaType string, data []byte) descriptor {
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	l.add("blobs/sha256/"+sum, data)
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: len(data)}
}

func (l *layout) add(name string, data []byte) {
	if l.err == nil {
		l.err = l.tar.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(data)), ModTime: l.time, Format: tar.FormatUSTAR})
	}
	if l.err == nil {
		_, l.err = l.tar.Write(data)
	}
}
