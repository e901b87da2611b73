package main

import (
	"crypto/sha256"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fileState is what must not change of a file by being looked at.
type fileState struct {
	Mode     fs.FileMode
	Size     int64
	Modified int64
	SHA256   [sha256.Size]byte
}

func (v *victim) files() map[string]fileState {
	v.t.Helper()
	all := map[string]fileState{}
	err := filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		state := fileState{Mode: info.Mode(), Size: info.Size(), Modified: info.ModTime().UnixNano()}
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			state.SHA256 = sha256.Sum256(data)
		}
		all[path] = state
		return nil
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return all
}

// TestLookingWritesNothing holds check and fsck to what they promise, in every state in which somebody asks them.
func TestLookingWritesNothing(t *testing.T) {
	program := filepath.Join(t.TempDir(), "signetd")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	tests := []struct {
		name  string
		spoil func(t *testing.T, v *victim)
		check string // in what check says; "ok" is how it ends well
		fsck  string
	}{
		{"killed", func(*testing.T, *victim) {}, ": ok\n", "clean"},
		{"killed, and no lock file", func(t *testing.T, v *victim) { remove(t, v, "store.db.lock") }, ": ok\n", "clean"},
		{"killed, and a store cut short", func(t *testing.T, v *victim) {
			if err := os.Truncate(filepath.Join(v.dir, "store.db"), 9000); err != nil {
				t.Fatal(err)
			}
		}, "opening the store", "opening the store"},
		{"killed, and no log", func(t *testing.T, v *victim) { remove(t, v, "log") }, "would start with a gap", "the log is not here"},
		{"killed, and no store", func(t *testing.T, v *victim) { remove(t, v, "store.db") }, "no such file", "no such file"},
		{"killed, and another node's name", func(t *testing.T, v *victim) {
			path := filepath.Join(v.dir, "signetd.yaml")
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.Replace(string(data), "node-1", "node-2", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "its nodes are node-1: correct node", "its nodes are node-1: correct node"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := &victim{t: t, dir: filepath.Join(t.TempDir(), "vault"), program: program}
			v.run(program, "init", "--dir", v.dir, "--listen", "127.0.0.1:0")
			v.start()
			v.kill()
			tt.spoil(t, v)
			before := v.files()
			for command, want := range map[string]string{"check": tt.check, "fsck": tt.fsck} {
				out, err := exec.Command(program, command, "--config", filepath.Join(v.dir, "signetd.yaml")).CombinedOutput()
				if !strings.Contains(string(out), want) || (err == nil) != (want == ": ok\n" || want == "clean") {
					t.Errorf("%s says %q (%v), want %q", command, out, err, want)
				}
				if strings.Count(string(out), "opening the store") > 1 {
					t.Errorf("%s says a thing twice: %q", command, out)
				}
				if diff := cmp.Diff(before, v.files()); diff != "" {
					t.Errorf("%s has changed the vault: %s", command, diff)
				}
			}
		})
	}
}

func remove(t *testing.T, v *victim, name string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(v.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// TestCheckWarnsOfListen: an address that is taken now may be free when the server starts.
func TestCheckWarnsOfListen(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := &victim{t: t, dir: filepath.Join(t.TempDir(), "vault"), program: filepath.Join(t.TempDir(), "signetd")}
	v.run("go", "build", "-o", v.program, ".")
	v.run(v.program, "init", "--dir", v.dir, "--listen", l.Addr().String())
	out, err := exec.Command(v.program, "check", "--config", filepath.Join(v.dir, "signetd.yaml")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "warning: nobody could be served now") || !strings.Contains(string(out), ": ok\n") {
		t.Errorf("check says %q (%v), want a warning and ok", out, err)
	}
}
