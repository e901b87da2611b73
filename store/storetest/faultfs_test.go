package storetest

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/p8signet/signet/store/audit"
)

var errFault = errors.New("fault")

// cuts takes the power away many times and says how often the file had which content; "-" for no file.
func cuts(t *testing.T, f *FaultFS, name string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for i := range uint64(200) {
		next := f.Fork().PowerCut(rand.New(rand.NewPCG(i, 1)))
		file, err := next.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			seen["-"]++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := file.Stat()
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, info.Size)
		if _, err := file.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		seen[string(b)]++
	}
	return seen
}

func TestPowerCutKeepsWhatWasSynced(t *testing.T) {
	f := NewFaultFS()
	file := create(t, f, "a")
	write(t, file, "hello", 0)
	if seen := cuts(t, f, "a"); seen["-"] == 0 || seen["hello"] == 0 || seen[""] == 0 {
		t.Errorf("nothing synced: %v", seen)
	}
	check(t, f.SyncDir("."))
	if seen := cuts(t, f, "a"); seen["-"] != 0 || seen["hello"] == 0 || seen[""] == 0 {
		t.Errorf("name synced: %v", seen)
	}
	check(t, file.Sync())
	if seen := cuts(t, f, "a"); seen["hello"] != 200 {
		t.Errorf("all synced: %v", seen)
	}
	write(t, file, " world", 5)
	if seen := cuts(t, f, "a"); seen["hello"] == 0 || seen["hello world"] == 0 {
		t.Errorf("more written: %v", seen)
	}
	check(t, f.Rename("a", "b"))
	check(t, file.Sync())
	if seen := cuts(t, f, "b"); seen["-"] == 0 || seen["hello world"] == 0 || len(seen) != 2 {
		t.Errorf("renamed: %v", seen)
	}
	f.SetNoSync(true)
	check(t, f.SyncDir("."))
	if seen := cuts(t, f, "b"); seen["-"] == 0 {
		t.Errorf("the sync was taken out: %v", seen)
	}
}

// TestFailedSync: pages of a failed sync are believed clean; only writing them again helps.
func TestFailedSync(t *testing.T) {
	f := NewFaultFS()
	file := create(t, f, "a")
	check(t, f.SyncDir("."))
	write(t, file, "hello", 0)
	f.FailNth(0, Fault{Err: errFault})
	if err := file.Sync(); !errors.Is(err, errFault) {
		t.Fatalf("error %v", err)
	}
	check(t, file.Sync())
	if seen := cuts(t, f, "a"); seen[""] != 200 {
		t.Errorf("after a failed sync: %v", seen)
	}
	again := f.Restart()
	if _, err := f.Open("a"); !errors.Is(err, ErrDead) {
		t.Errorf("the old process: %v", err)
	}
	re, err := again.Open("a")
	check(t, err)
	buf := make([]byte, 5)
	if _, err := re.ReadAt(buf, 0); err != nil || string(buf) != "hello" {
		t.Errorf("the cache of the next process: %q, %v", buf, err)
	}
	check(t, re.Sync())
	if seen := cuts(t, again, "a"); seen[""] != 200 {
		t.Errorf("synced by the next process: %v", seen)
	}
	write(t, re, "hello", 0)
	check(t, re.Sync())
	if seen := cuts(t, again, "a"); seen["hello"] != 200 {
		t.Errorf("written again: %v", seen)
	}
}

func TestFaults(t *testing.T) {
	f := NewFaultFS()
	file := create(t, f, "a")
	for _, tt := range []struct {
		effect Effect
		want   int64
	}{{Lost, 0}, {Torn, 2}, {Persisted, 5}} {
		f.FailNth(0, Fault{Err: errFault, Effect: tt.effect})
		if _, err := file.WriteAt([]byte("hello"), 0); !errors.Is(err, errFault) {
			t.Errorf("error %v", err)
		}
		if info, err := file.Stat(); err != nil || info.Size != tt.want {
			t.Errorf("effect %d: %d bytes, %v", tt.effect, info.Size, err)
		}
	}
	f.SetCapacity(8)
	if n, err := file.WriteAt([]byte("hello"), 5); n != 3 || !errors.Is(err, audit.ErrNoSpace) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if free, err := f.Free(); err != nil || free != 0 {
		t.Errorf("%d free, %v", free, err)
	}
	f.FailNth(0, Fault{Kill: true})
	if err := file.Sync(); !errors.Is(err, ErrDead) {
		t.Errorf("killed: %v", err)
	}
	if _, err := f.Create("b"); !errors.Is(err, ErrDead) {
		t.Errorf("after it was killed: %v", err)
	}
}

func create(t *testing.T, f *FaultFS, name string) audit.File {
	t.Helper()
	file, err := f.Create(name)
	check(t, err)
	return file
}

func write(t *testing.T, file audit.File, s string, at int64) {
	t.Helper()
	_, err := file.WriteAt([]byte(s), at)
	check(t, err)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
