package boltstore_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/kek"
	"github.com/p8signet/signet/store/storetest"
)

// vault makes a vault on disk; its KEK is a file, so that another process can
// open it.
func vault(t testing.TB, dir string) (*store.Store, *boltstore.Backend) {
	t.Helper()
	if err := kek.CreateFile(filepath.Join(dir, "kek")); err != nil {
		t.Fatal(err)
	}
	b := create(t, filepath.Join(dir, "store.db"))
	s, err := store.Create(t.Context(), config(t, dir, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, b
}

func config(t testing.TB, dir string, b store.Backend) store.Config {
	t.Helper()
	k, err := kek.Open("file:kek", dir)
	if err != nil {
		t.Fatal(err)
	}
	return store.Config{Backend: b, KEKs: []envelope.KEK{k}, Node: "n1", Now: time.Now}
}

// put commits a document.
func put(s *store.Store, name string) error {
	tx := s.Begin()
	if err := tx.PutDocument(name, []byte(name)); err != nil {
		return err
	}
	_, err := s.Commit(context.Background(), tx, store.LogHead{Log: "log"})
	return err
}

func wantDocument(t testing.TB, s *store.Store, name string, there bool) {
	t.Helper()
	got, err := s.Document(t.Context(), name)
	switch {
	case there && (err != nil || string(got) != name):
		t.Errorf("Document(%s) = %q, %v, want it there", name, got, err)
	case !there && !errors.Is(err, store.ErrNotFound):
		t.Errorf("Document(%s) = %q, %v, want ErrNotFound", name, got, err)
	}
}

func stat(t testing.TB, path string) os.FileInfo {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// TestHealLostWrites puts /dev/null in the place of the store's descriptor: what
// is written is lost, and the sync fails. The commit must be known not to have
// happened, and the next ones must.
func TestHealLostWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s, b := vault(t, dir)
	if err := put(s, "before"); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		old := stat(t, path)
		if err := unix.Dup3(int(null.Fd()), b.Fd(), unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		lost := fmt.Sprint("lost", i)
		err := put(s, lost)
		if err == nil || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrConflict) {
			t.Fatalf("Commit = %v, want a plain failure: it has been settled", err)
		}
		wantDocument(t, s, lost, false)
		wantDocument(t, s, "before", true)
		if os.SameFile(old, stat(t, path)) {
			t.Error("the file was not copied")
		}
		// Who has it, has it still.
		if _, err := boltstore.Open(path, boltstore.Options{}); !errors.Is(err, store.ErrInUse) {
			t.Errorf("a second one after the copy: %v, want ErrInUse", err)
		}
		kept := fmt.Sprint("kept", i)
		if err := put(s, kept); err != nil {
			t.Fatal(err)
		}
		wantDocument(t, s, kept, true)
	}
	if got := files(t, dir); got != "kek store.db store.db.lock" {
		t.Errorf("the directory has %s", got)
	}
	closeBackend(t, b)
	snap := storetest.CheckInvariants(t, config(t, dir, open(t, path)))
	if snap.RootID() != s.Snapshot().RootID() {
		t.Errorf("after opening the root is %+v, before it was %+v", snap.RootID(), s.Snapshot().RootID())
	}
}

// TestHealReplaced: a file that someone else put there is not taken for ours.
func TestHealReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s, b := vault(t, dir)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(path), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(int(null.Fd()), b.Fd(), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	err = put(s, "x")
	if !errors.Is(err, store.ErrUnknown) || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("Commit = %v, want ErrUnknown that says why", err)
	}
	// It stays so, and reading what was open goes on.
	if err := put(s, "y"); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("Commit = %v, want ErrUnknown", err)
	}
	if _, err := b.Root(t.Context()); err == nil {
		t.Error("Root answers though nobody knows what lasts")
	}
}

// TestHealFailedSync makes fdatasync fail with EIO in a child process (seccomp)
// while writes go through: as a dying disk does. What the commit wrote is there,
// or half there, and may or may not last.
func TestHealFailedSync(t *testing.T) {
	if task := os.Getenv("BOLTSTORE_CHILD"); task != "" {
		failedSyncChild(t, task, os.Getenv("BOLTSTORE_DIR"))
		return
	}
	for _, tc := range []struct {
		task string
		// want is whether the document is there when all is over.
		want bool
	}{
		{"first", false},    // the pages' sync fails: the root was never written
		{"second", true},    // the root's sync fails: it is there, and unknown
		{"all", false},      // no sync works for a while
		{"abandoned", true}, // the same as second, and the process dies before it can heal
	} {
		t.Run(tc.task, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "store.db")
			childOf(t, tc.task, dir)
			old := stat(t, path)
			b := open(t, path)
			cfg := config(t, dir, b)
			storetest.CheckInvariants(t, cfg)
			s, err := store.Open(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			wantDocument(t, s, "doc", tc.want)
			if tc.task == "abandoned" && os.SameFile(old, stat(t, path)) {
				t.Error("after a process that left a sync unsettled, the file was not copied")
			}
			if err := put(s, "after"); err != nil {
				t.Error(err)
			}
		})
	}
}

// childOf runs the test again in a process of its own, with that task.
func childOf(t *testing.T, task, dir string) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+name+"$", "-test.v")
	cmd.Env = append(os.Environ(), "BOLTSTORE_CHILD="+task, "BOLTSTORE_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if _, why, ok := bytes.Cut(out, []byte("child: skip: ")); ok {
		t.Skipf("this machine does not let a process filter its own system calls: %s", bytes.TrimSpace(why))
	}
	if err != nil || !bytes.Contains(out, []byte("child: done")) {
		t.Fatalf("child %q: %v\n%s", task, err, out)
	}
}

func failedSyncChild(t *testing.T, task, dir string) {
	gate, err := gateSyncs()
	if err != nil {
		fmt.Printf("child: skip: %v\n", err)
		return
	}
	path := filepath.Join(dir, "store.db")
	s, b := vault(t, dir)
	// A new file is synced before it gets its name, and the directory after.
	order := []string{"fsync store.db.new", "fsync " + filepath.Base(dir)}
	// The last one is that of the reserve.
	trace := gate.traced()
	if n := len(trace); n < 3 || !slices.Equal(trace[n-3:n-1], order) {
		t.Errorf("syncs of a creation: %q, want %q at the end", trace, order)
	}
	if err := put(s, "before"); err != nil {
		t.Fatal(err)
	}
	old := stat(t, path)
	switch task {
	case "first", "second":
		gate.traced()
		gate.failNth(map[string]int{"first": 1, "second": 2}[task])
		err := put(s, "doc")
		if gate.failed() != 1 {
			t.Fatalf("%d syncs were made to fail, want 1", gate.failed())
		}
		switch {
		case task == "first" && (err == nil || errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrConflict)):
			t.Errorf("Commit = %v, want a plain failure: it has been settled", err)
		case task == "second" && err != nil:
			t.Errorf("Commit = %v, want nil: it has been settled", err)
		}
		if os.SameFile(old, stat(t, path)) {
			t.Error("the file was not copied")
		}
		// The copy is synced before it takes its place, and the directory after,
		// both before anything is written to it.
		// (The kernel calls a new store by the name it was made under.)
		want := []string{"fdatasync store.db.new", "fsync store.db.new", "fsync " + filepath.Base(dir)}
		if task == "second" {
			want = slices.Insert(want, 0, want[0])
		}
		if got := gate.traced(); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
			t.Errorf("syncs: %q, want first %q", got, want)
		}
		wantDocument(t, s, "doc", task == "second")
		if err := put(s, "next"); err != nil {
			t.Error(err)
		}
		wantDocument(t, s, "next", true)
		closeBackend(t, b)
	case "all":
		gate.failAll(true)
		for range 2 {
			if err := put(s, "doc"); !errors.Is(err, store.ErrUnknown) {
				t.Errorf("Commit = %v, want ErrUnknown", err)
			}
		}
		if _, err := b.Root(t.Context()); err == nil {
			t.Error("Root answers though nobody knows what lasts")
		}
		wantDocument(t, s, "before", true) // reading goes on
		gate.failAll(false)
		if err := s.Settle(t.Context()); err != nil {
			t.Error(err)
		}
		wantDocument(t, s, "doc", false)
		if err := put(s, "next"); err != nil {
			t.Error(err)
		}
		closeBackend(t, b)
	case "abandoned":
		gate.failNth(2)
		gate.failAllAfter(true)
		if err := put(s, "doc"); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("Commit = %v, want ErrUnknown", err)
		}
	}
	if t.Failed() {
		return
	}
	fmt.Println("child: done")
	if task == "abandoned" {
		os.Exit(0) // nothing is closed
	}
}

// TestKilled kills a process that commits, again and again: what it was told is
// there, and the store opens.
func TestKilled(t *testing.T) {
	if os.Getenv("BOLTSTORE_CHILD") != "" {
		killedChild(t, os.Getenv("BOLTSTORE_DIR"))
		return
	}
	if testing.Short() {
		t.Skip("it starts and kills processes for a while; -short is set")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "store.db")
	s, b := vault(t, dir)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	closeBackend(t, b)
	commits := 0
	for round := range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$", "-test.v")
		cmd.Env = append(os.Environ(), "BOLTSTORE_CHILD=commit", "BOLTSTORE_DIR="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The child says what it has been told.
		last, seen := uint64(0), 0
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			rev, ok := strings.CutPrefix(lines.Text(), "child: committed ")
			if !ok {
				continue
			}
			if last, err = strconv.ParseUint(rev, 10, 64); err != nil {
				t.Fatal(err)
			}
			if seen++; seen == 1+round*3 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // it was killed
		if seen == 0 {
			t.Fatal("the child committed nothing")
		}
		commits += seen
		b := open(t, path)
		snap := storetest.CheckInvariants(t, config(t, dir, b))
		if got := snap.RootID().Revision; got != last && got != last+1 {
			t.Fatalf("round %d: revision %d is there, and %d was confirmed last", round, got, last)
		}
		closeBackend(t, b)
	}
	t.Logf("%d commits, 12 kills", commits)
}

func killedChild(t *testing.T, dir string) {
	b := open(t, filepath.Join(dir, "store.db"))
	s, err := store.Open(t.Context(), config(t, dir, b))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		if err := put(s, fmt.Sprint("doc", i%20)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child: committed %d\n", s.Snapshot().RootID().Revision)
	}
}

// TestTrim gives memory back again and again while the file grows and is read:
// only the store's own pages go, and they come back.
func TestTrim(t *testing.T) {
	b := createWith(t, newPath(t), "r")
	put := map[store.Ref][]byte{}
	for i := range 60 {
		ref := store.NewRef()
		put[ref] = bytes.Repeat([]byte{byte(i)}, 100_000)
		if err := b.Swap(t.Context(), store.Change{Old: []byte("r"), New: []byte("r"), Put: map[store.Ref][]byte{ref: put[ref]}}); err != nil {
			t.Fatal(err)
		}
		b.Trim()
		for ref, want := range put {
			if got, err := b.Get(t.Context(), ref); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("after %d blobs, one of %d bytes is read wrong: %v", i+1, len(want), err)
			}
		}
	}
	closeBackend(t, b)
	b.Trim() // closed: nothing to do
}
