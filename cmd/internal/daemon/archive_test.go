package daemon

import (
	"os"
	"path/filepath"
	"testing"
)

// TestArchivePlace: a directory that is the log's own, by whatever name, is no archive.
func TestArchivePlace(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"log/abc", "arch/abc", "beside/other", "linked"} {
		if err := os.MkdirAll(in(d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"log": "link", "log/abc": "linked/abc"} {
		if err := os.Symlink(in(from), in(to)); err != nil {
			t.Fatal(err)
		}
	}
	for to, good := range map[string]bool{
		"arch": true, "beside": true, ".": true,
		"missing": false, "log": false, "log/abc": false, "link": false, "link/abc": false, "linked": false,
	} {
		for _, log := range []string{"log", "link"} {
			if err := archivePlace(in(log), in(to)); (err == nil) != good {
				t.Errorf("the log is %s, the archive %s: %v", log, to, err)
			}
		}
	}
}
