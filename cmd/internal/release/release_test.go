package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var built = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// compiled builds the server as a release has it.
func compiled(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signetd-linux-amd64")
	r := release{source: filepath.Join("..", "..", ".."), version: "v1.2.3"}
	if err := (target{os: "linux", arch: "amd64"}).compile(t.Context(), r, server, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestUnreachableIsLeftOut: what calls methods by names that are known only when it runs makes the linker keep them all.
func TestUnreachableIsLeftOut(t *testing.T) {
	if bytes.Contains(read(t, compiled(t)), []byte("text/template.(*state).evalField")) {
		t.Error("the server can execute templates: go build -ldflags=-dumpdep says by whom they are reached")
	}
}

func TestImage(t *testing.T) {
	program := compiled(t)
	image := filepath.Join(t.TempDir(), "image.tar")
	if err := writeImage(image, []platform{{"amd64", program}, {"arm64", program}}, "v1.2.3", built); err != nil {
		t.Fatal(err)
	}
	blobs := untar(t, read(t, image))
	if string(blobs["oci-layout"]) != `{"imageLayoutVersion":"1.0.0"}` {
		t.Errorf("oci-layout is %s", blobs["oci-layout"])
	}
	// Everything is reached by its hash, as whoever pulls the image does.
	fetch := func(d descriptor, v any) []byte {
		t.Helper()
		data := blobs["blobs/sha256/"+strings.TrimPrefix(d.Digest, "sha256:")]
		if fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != d.Digest || len(data) != d.Size {
			t.Fatalf("%s of %d bytes is not there", d.Digest, d.Size)
		}
		if v != nil {
			if err := json.Unmarshal(data, v); err != nil {
				t.Fatal(err)
			}
		}
		return data
	}
	var top, index manifest
	if err := json.Unmarshal(blobs["index.json"], &top); err != nil || len(top.Manifests) != 1 {
		t.Fatalf("index.json: %v, %v", top, err)
	}
	fetch(top.Manifests[0], &index)
	if len(index.Manifests) != 2 {
		t.Fatalf("%d images, want 2", len(index.Manifests))
	}
	for i, arch := range []string{"amd64", "arm64"} {
		var m manifest
		var config imageConfig
		fetch(index.Manifests[i], &m)
		fetch(*m.Config, &config)
		if p := index.Manifests[i].Platform; p.Architecture != arch || p.OS != "linux" || config.Architecture != arch {
			t.Errorf("image %d is for %v and says %s", i, p, config.Architecture)
		}
		if config.Config.User != "65532:65532" || strings.Join(config.Config.Entrypoint, " ") != "/signetd" || config.Config.Cmd[0] != "serve" {
			t.Errorf("it runs as %+v", config.Config)
		}
		if len(m.Layers) != 1 || len(config.RootFS.DiffIDs) != 1 || config.RootFS.DiffIDs[0] != m.Layers[0].Digest {
			t.Fatalf("layers %v, diff ids %v", m.Layers, config.RootFS.DiffIDs)
		}
		files := untar(t, fetch(m.Layers[0], nil))
		if len(files) != 1 || !bytes.Equal(files[server], read(t, program)) {
			t.Errorf("the image holds %d files and not the program alone", len(files))
		}
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	if err := writeImage(again, []platform{{"amd64", program}, {"arm64", program}}, "v1.2.3", built); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, image), read(t, again)) {
		t.Error("written again it is another image")
	}
}

// TestImageRuns runs the server where there is nothing but what the image holds, as its user.
func TestImageRuns(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root can take a process's file system away")
	}
	files, err := layer(read(t, compiled(t)), built)
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.MkdirTemp("", "signet-image-") // t.TempDir lies below directories that only root may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	volume := filepath.Join(root, "var", "lib", "signet")
	for _, err := range []error{
		os.Chmod(root, 0o755), os.MkdirAll(volume, 0o755), os.Chown(volume, nobody, nobody),
		os.WriteFile(filepath.Join(root, server), untar(t, files)[server], 0o555),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "--dir", "/var/lib/signet/vault", "--listen", "127.0.0.1:0"},
		{"check", "--config", "/var/lib/signet/vault/signetd.yaml"},
		{"fsck", "--config", "/var/lib/signet/vault/signetd.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), "/"+server, args...)
		cmd.Dir, cmd.Env = "/", []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", args[0], err, out)
		}
	}
}

// TestContainerfile holds the two ways to an image together.
func TestContainerfile(t *testing.T) {
	text := string(read(t, filepath.Join("..", "..", "..", "deploy", "image", "Containerfile")))
	for _, want := range []string{"FROM scratch\n", "USER 65532:65532\n", `ENTRYPOINT ["/signetd"]`, `CMD ["serve", "--config", "/var/lib/signet/vault/signetd.yaml"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %s", want)
		}
	}
	if n := strings.Count(text, "\nCOPY ") + strings.Count(text, "\nADD ") + strings.Count(text, "\nRUN "); n != 1 {
		t.Errorf("%d instructions put something into the image, want the one for the program", n)
	}
}

func TestImageWantsStaticPrograms(t *testing.T) {
	for name, path := range map[string]string{"a script": writeFile(t, []byte("#!/bin/sh\n")), "nothing": writeFile(t, nil)} {
		if err := writeImage(filepath.Join(t.TempDir(), "x"), []platform{{"amd64", path}}, "v", built); err == nil {
			t.Errorf("%s became an image", name)
		}
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no program is at hand that is known to be linked dynamically")
	}
	if err := static(read(t, sh)); err == nil {
		t.Skipf("%s is static here", sh)
	}
}

func TestSBOM(t *testing.T) {
	program := compiled(t)
	if err := writeSBOM(program, server, "v1.2.3", built); err != nil {
		t.Fatal(err)
	}
	var got sbom
	if err := json.Unmarshal(read(t, program+".cdx.json"), &got); err != nil {
		t.Fatal(err)
	}
	self := got.Metadata.Component
	if self.Hashes[0].Content != fmt.Sprintf("%x", sha256.Sum256(read(t, program))) || self.Version != "v1.2.3" || got.Metadata.Timestamp != "2026-11-26T12:00:00Z" {
		t.Errorf("it describes %+v of %s", self, got.Metadata.Timestamp)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std@" + strings.TrimPrefix(info.GoVersion, "go")}
	for _, m := range info.Deps {
		want = append(want, m.Path+"@"+m.Version)
	}
	var have []string
	for _, c := range got.Components {
		have = append(have, c.Name+"@"+c.Version)
		if c.Name != "std" && !strings.HasPrefix(c.Properties[0].Value, "h1:") {
			t.Errorf("%s has no checksum", c.Name)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" || len(want) < 10 {
		t.Errorf("components: %s", diff)
	}
	if len(got.Dependencies[0].DependsOn) != len(want) {
		t.Errorf("it depends on %d of %d components", len(got.Dependencies[0].DependsOn), len(want))
	}
	if err := writeSBOM(writeFile(t, []byte("no program")), server, "v", built); err == nil {
		t.Error("a file that is no program has an SBOM")
	}
}

// TestNothingOfTheMachine: neither a path of this machine nor its commit is in a program, and its flavour is.
func TestNothingOfTheMachine(t *testing.T) {
	program := compiled(t)
	here, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, program)
	for _, path := range []string{here, filepath.Join(home, "go"), os.TempDir() + "/go-build"} {
		if bytes.Contains(data, []byte(path)) {
			t.Errorf("the program names %s", path)
		}
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "vcs") {
			t.Errorf("the program has %s, which a tarball of the sources does not give", s.Key)
		}
	}
}

func TestFinish(t *testing.T) {
	r := release{out: t.TempDir(), time: built}
	for name, text := range map[string]string{"b": "two", "a": "one"} {
		if err := os.WriteFile(filepath.Join(r.out, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.finish(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x  a\n%x  b\n", sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two")))
	if got := string(read(t, filepath.Join(r.out, "SHA256SUMS"))); got != want {
		t.Errorf("SHA256SUMS is\n%s", got)
	}
	if info, err := os.Stat(filepath.Join(r.out, "a")); err != nil || !info.ModTime().Equal(built) {
		t.Errorf("a is of %v, %v", info.ModTime(), err)
	}
}

func TestCompare(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	put := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := compare(a, b); err == nil {
		t.Error("two builds of nothing are equal")
	}
	put(a, "x", "same")
	put(b, "x", "same")
	if n, err := compare(a, b); n != 1 || err != nil {
		t.Errorf("equal builds: %d, %v", n, err)
	}
	put(a, "y", "one")
	if _, err := compare(a, b); err == nil {
		t.Error("a file that is missing was not seen")
	}
	put(b, "y", "two")
	if _, err := compare(a, b); err == nil || !strings.Contains(err.Error(), "differ: y") {
		t.Errorf("a file that differs: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// untar reads regular files that anybody may read and nobody may write, and finds nothing else.
func untar(t *testing.T, data []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Mode&^0o111 != 0o444 || h.Uid != 0 || !h.ModTime.Equal(built) {
			t.Errorf("%s is of type %c, mode %o, user %d, time %v", h.Name, h.Typeflag, h.Mode, h.Uid, h.ModTime)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
