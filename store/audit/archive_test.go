package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// segmented is a closed log of n entries, some to a segment, whose times are a second apart, indexed when every is not 0.
func segmented(t testing.TB, n int, every int64) (*storetest.FaultFS, audit.Config) {
	t.Helper()
	fsys := storetest.NewFaultFS()
	c := config(fsys)
	c.SegmentSize = 5000
	c.IndexEvery(every)
	l := mustOpen(t, c)
	for i := range n {
		mustAppend(t, l, second(i), audit.AppendOptions{})
	}
	if every > 0 {
		if err := l.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	return fsys, c
}

func second(i int) *auditlog.Entry {
	e := entry(i)
	e.Time = epoch.Add(time.Duration(i) * 10 * time.Minute)
	if i == 3 {
		e.Key = "rare"
	}
	return e
}

// archive archives what is older than the ith entry.
func archive(t testing.TB, from, to audit.FS, i int) []audit.Archived {
	t.Helper()
	moved, err := audit.Archive(t.Context(), from, to, second(i).Time)
	if err != nil {
		t.Fatal(err)
	}
	return moved
}

// together are the files of several directories.
func together(dirs ...*storetest.FaultFS) fs.FS {
	all := fstest.MapFS{}
	for _, d := range dirs {
		maps.Copy(all, d.Files(origin.Log))
	}
	return all
}

// TestArchive: archive and log are whole together, each is whole alone as what it is, and a server goes on with the log.
func TestArchive(t *testing.T) {
	const n = 60
	for _, running := range []bool{false, true} {
		for _, indexed := range []int64{0, 7} {
			t.Run(fmt.Sprintf("running %v, indexed %d", running, indexed), func(t *testing.T) {
				fsys, c := segmented(t, n, indexed)
				var l *audit.Log
				if running {
					l = mustOpen(t, c)
					mustAppend(t, l, second(n), audit.AppendOptions{})
					all(t, l)
					if indexed > 0 {
						if err := l.Follow(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				to := storetest.NewFaultFS()
				moved := archive(t, fsys, to, 30)
				if len(moved) < 3 || moved[0].Segment != 1 || moved[0].Bytes < 5000 {
					t.Fatalf("moved %+v", moved)
				}
				if again := archive(t, fsys, to, 30); len(again) != 0 {
					t.Errorf("again %+v", again)
				}
				if !running {
					l = mustOpen(t, c)
					mustAppend(t, l, second(n), audit.AppendOptions{})
					if indexed > 0 {
						if err := l.Follow(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				archivedLog(t, l, indexed > 0)
				mustClose(t, l)

				o := auditlog.VerifyOptions{}
				r, err := auditlog.VerifySegments(together(fsys, to), verifier, o)
				if err != nil || len(r.Damage) > 0 || r.First != 0 || r.Signed != n+1 {
					t.Errorf("together: %+v, %v", r, err)
				}
				r, err = auditlog.VerifySegments(together(fsys), verifier, o)
				if err != nil || len(r.Damage) != 1 || !strings.Contains(r.Damage[0].What, "missing") {
					t.Errorf("the log, and nobody says that it was archived: %+v, %v", r, err)
				}
				r, err = auditlog.VerifySegments(together(fsys), verifier, auditlog.VerifyOptions{Archived: true})
				if err != nil || len(r.Damage) != 0 || r.First < 20 || r.Signed != n+1 {
					t.Errorf("the log: %+v, %v", r, err)
				}
				first := r.First
				r, err = auditlog.VerifySegments(together(to), verifier, auditlog.VerifyOptions{Continued: true})
				if err != nil || len(r.Damage) != 0 || r.Size != first || r.Signed != first {
					t.Errorf("the archive: %+v, %v", r, err)
				}
				if r, err = auditlog.VerifySegments(together(to), verifier, o); err != nil || len(r.Damage) == 0 {
					t.Errorf("the archive taken for a log: %+v, %v", r, err)
				}
				if oldest := audit.ArchivedBefore(fstest.MapFS{origin.Log + "/archived": fsys.Files(origin.Log)["archived"]}, origin.Log); oldest != moved[len(moved)-1].Segment+1 {
					t.Errorf("segment %d is said to be the oldest here", oldest)
				}
			})
		}
	}
}

// archivedLog looks at a log of which the first entries were archived.
func archivedLog(t *testing.T, l *audit.Log, indexed bool) {
	t.Helper()
	r, err := l.Reader("")
	if err != nil {
		t.Fatal(err)
	}
	first, err := r.First()
	if err != nil || first < 20 || first > 30 {
		t.Fatalf("the oldest is %d, %v", first, err)
	}
	if until, err := r.AbsentUntil(); err != nil || !until.Equal(second(int(first)-1).Time) {
		t.Errorf("absent until %v, %v", until, err)
	}
	size := r.Head().Size
	for _, tt := range []struct {
		name   string
		q      audit.Query
		want   int64 // entries, before
		absent bool  // the error
	}{
		{"all, newest first", audit.Query{Reverse: true}, size - first, true},
		{"all, oldest first", audit.Query{}, 0, true},
		{"what is here", audit.Query{From: first}, size - first, false},
		{"since", audit.Query{Match: audit.Match{Since: second(40).Time}}, size - 40, false},
		{"since, newest first", audit.Query{Match: audit.Match{Since: second(40).Time}, Reverse: true}, size - 40, false},
		{"since what was archived", audit.Query{Match: audit.Match{Since: second(10).Time}, Reverse: true}, size - first, true},
		{"until", audit.Query{Match: audit.Match{Until: second(10).Time}}, 0, true},
		{"rare", audit.Query{Match: audit.Match{Key: "rare"}}, 0, true},
		{"nobody", audit.Query{Match: audit.Match{Key: "nobody"}}, 0, !indexed}, // the index knows better
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.q.Limit, tt.q.Bytes = 7, 1<<20
			found := int64(0)
			for {
				p, err := r.Find(t.Context(), tt.q)
				if err != nil {
					if !tt.absent || !errors.Is(err, audit.ErrAbsent) {
						t.Error(err)
					}
					break
				}
				found += int64(len(p.Entries))
				if p.Next < 0 {
					if tt.absent {
						t.Error("what was archived was passed over in silence")
					}
					break
				}
				if tt.q.From = p.Next; tt.q.Reverse {
					tt.q.From, tt.q.To = 0, p.Next+1
				}
			}
			if found != tt.want {
				t.Errorf("%d found, want %d", found, tt.want)
			}
		})
	}
	entries := int64(0)
	err = nil
	for s, failed := range r.Totals(t.Context(), time.Time{}, time.Time{}) {
		entries += s.Entries
		err = failed
	}
	if indexed && (entries != size || err != nil) || !indexed && (entries != size-first || !errors.Is(err, audit.ErrAbsent)) {
		t.Errorf("totals of %d entries, %v", entries, err)
	}
	if _, err := r.ProveInclusion(t.Context(), 2, size); err != nil {
		t.Errorf("proving what was archived: %v", err)
	}
	cp := auditlog.Checkpoint{Origin: origin, Size: size, Hash: r.Head().Hash}
	if _, err := l.ProveConsistency(t.Context(), cp); err != nil {
		t.Error(err)
	}
}

// TestArchiveThenIndexLost: an index that has to be made anew begins with what is here.
func TestArchiveThenIndexLost(t *testing.T) {
	fsys, c := segmented(t, 60, 7)
	archive(t, fsys, storetest.NewFaultFS(), 30)
	for _, file := range []string{"/index", "/hashes"} {
		if err := fsys.Tamper(origin.Log+file, func([]byte) []byte { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	l := mustOpen(t, c)
	defer mustClose(t, l)
	if err := l.Follow(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ := l.Reader("")
	first, err := r.First()
	begin, end, _ := r.Followed()
	if err != nil || begin != first || end != 60 {
		t.Errorf("the index goes from %d to %d, the log begins with %d, %v", begin, end, first, err)
	}
	found := pages(t, r, audit.Query{Match: audit.Match{Since: second(35).Time, Key: "asc-release"}, Limit: 10, Bytes: 1 << 20})
	if len(found) != 25 {
		t.Errorf("%d found", len(found))
	}
}

// TestArchiveFails fails every operation of an archiving in every way: nothing is lost, and a repeat finishes. The power
// is TestArchiveThenPower's.
func TestArchiveFails(t *testing.T) {
	pristine, _ := segmented(t, 25, 0)
	for _, where := range []string{"from", "to"} {
		for _, effect := range []storetest.Effect{storetest.Lost, storetest.Persisted, storetest.Torn} {
			for n := 0; ; n++ {
				from, to := pristine.Fork(), storetest.NewFaultFS()
				failing := map[string]*storetest.FaultFS{"from": from, "to": to}[where]
				failing.FailNth(n, storetest.Fault{Err: errDisk, Effect: effect})
				_, err := audit.Archive(t.Context(), from, to, second(15).Time)
				failing.Inject(nil)
				if err != nil && !errors.Is(err, errDisk) {
					t.Errorf("%s %d: %v", where, n, err)
				}
				whole := func(when string) {
					r, err := auditlog.VerifySegments(together(to, from), verifier, auditlog.VerifyOptions{})
					if err != nil || len(r.Damage) > 0 || r.Signed != 25 {
						t.Fatalf("%s: operation %d of %s: %+v, %v", when, n, where, r, err)
					}
				}
				whole("failed")
				if _, err := audit.Archive(t.Context(), from, to, second(15).Time); err != nil {
					t.Fatalf("repeated after operation %d of %s: %v", n, where, err)
				}
				whole("repeated")
				if err == nil && n > 20 {
					break
				}
			}
		}
	}
}

// TestArchiveThenPower ends an archiving at every operation, as a kill does, repeats it, and cuts the power of both places
// before and after: what a process left behind, and nobody synced, is not taken for a copy.
func TestArchiveThenPower(t *testing.T) {
	pristine, _ := segmented(t, 25, 0)
	for _, where := range []string{"from", "to"} {
		for n := 0; ; n++ {
			from, to := pristine.Fork(), storetest.NewFaultFS()
			failing := map[string]*storetest.FaultFS{"from": from, "to": to}[where]
			failing.Inject(endAt(failing.Ops() + n))
			_, killed := audit.Archive(t.Context(), from, to, second(15).Time)
			failing.Inject(nil)
			whole := func(when string) {
				for seed := range uint64(8) {
					r, err := auditlog.VerifySegments(together(
						to.Fork().PowerCut(rand.New(rand.NewPCG(seed, 1))), from.Fork().PowerCut(rand.New(rand.NewPCG(seed, 2))),
					), verifier, auditlog.VerifyOptions{})
					if err != nil || len(r.Damage) > 0 || r.Signed != 25 {
						t.Fatalf("%s: operation %d of %s: %+v, %v", when, n, where, r, err)
					}
				}
			}
			whole("killed")
			if _, err := audit.Archive(t.Context(), from, to, second(15).Time); err != nil {
				t.Fatalf("repeated after operation %d of %s: %v", n, where, err)
			}
			whole("repeated")
			there := slices.Sorted(maps.Keys(to.Files(origin.Log)))
			for seed := range uint64(8) {
				if after := slices.Sorted(maps.Keys(to.Fork().PowerCut(rand.New(rand.NewPCG(seed, 1))).Files(origin.Log))); !slices.Equal(after, there) {
					t.Fatalf("operation %d of %s: the archive had %v, and has %v", n, where, there, after)
				}
			}
			if killed == nil {
				break
			}
		}
	}
}

// endAt lets nothing happen from the nth operation on.
func endAt(n int) func(storetest.Op) storetest.Fault {
	return func(op storetest.Op) storetest.Fault {
		if op.N < n {
			return storetest.Fault{}
		}
		return storetest.Fault{Err: errDisk, Effect: storetest.Lost}
	}
}

// TestArchiveRefuses: what is damaged, and what is another file there, stays as it is.
func TestArchiveRefuses(t *testing.T) {
	name := segmentPath(2)
	for _, tt := range []struct {
		name string
		edit func(from, to *storetest.FaultFS) error
		what string
	}{
		{"damaged", func(from, _ *storetest.FaultFS) error {
			return from.Tamper(name, func(b []byte) []byte { return bytes.Replace(b, []byte("token.mint"), []byte("token.mine"), 1) })
		}, "SHA-256"},
		{"another file there", func(_, to *storetest.FaultFS) error {
			if err := to.Mkdir(origin.Log); err != nil {
				return err
			}
			f, err := to.Create(name)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("x"), 0)
			return err
		}, "another"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, _ := segmented(t, 25, 0)
			to := storetest.NewFaultFS()
			if err := tt.edit(from, to); err != nil {
				t.Fatal(err)
			}
			moved, err := audit.Archive(t.Context(), from, to, second(15).Time)
			if err == nil || !strings.Contains(err.Error(), tt.what) || len(moved) != 1 {
				t.Errorf("moved %+v, %v", moved, err)
			}
			if !slices.Contains(from.List(origin.Log), name) {
				t.Error("the segment is gone")
			}
		})
	}
	from, _ := segmented(t, 25, 0)
	if moved, err := audit.Archive(t.Context(), from, storetest.NewFaultFS(), epoch.Add(1000*time.Hour)); err != nil || len(from.Files(origin.Log)) == 0 || len(moved) < 2 {
		t.Errorf("everything old: %+v, %v", moved, err)
	}
	if files := from.List(origin.Log); !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, ".log") }) {
		t.Errorf("the newest segment is gone: %v", files)
	}
}

// TestSegmentAge: a segment is closed when it is old enough, and a checkpoint over its end put beside it.
func TestSegmentAge(t *testing.T) {
	fsys := storetest.NewFaultFS()
	now := epoch
	c := config(fsys)
	c.SegmentAge = time.Hour
	c.Now = func() time.Time { return now }
	l := mustOpen(t, c)
	for i := range 4 {
		mustAppend(t, l, entry(i), audit.AppendOptions{})
		if i == 1 {
			now = now.Add(time.Hour)
		}
	}
	mustClose(t, l)
	files := fsys.Files(origin.Log)
	if files[auditlog.SegmentName(2)] == nil || files[auditlog.SegmentName(3)] != nil {
		t.Errorf("files: %v", fsys.List(origin.Log))
	}
	cp, err := auditlog.OpenCheckpoint(files[auditlog.SegmentCheckpointName(1)].Data, verifier)
	if err != nil || cp.Size != 2 {
		t.Errorf("the checkpoint of the first segment: %+v, %v", cp, err)
	}
}
