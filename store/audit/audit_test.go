package audit_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	origin           = auditlog.Origin{Vault: "v1", Node: "node-a", Log: "log-1"}
	signer, verifier = newKey(origin.KeyName())
	epoch            = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

func newKey(name string) (note.Signer, note.Verifier) {
	skey, vkey, err := auditlog.GenerateKey(name)
	if err != nil {
		panic(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		panic(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		panic(err)
	}
	return s, v
}

func config(fsys audit.FS) audit.Config {
	return audit.Config{
		FS: fsys, Origin: origin, Signer: signer, Now: func() time.Time { return epoch }, MinFree: 1, Ballast: 4096,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// entry is one about the size of a mint's.
func entry(i int) *auditlog.Entry {
	return &auditlog.Entry{
		Time: epoch.Add(time.Duration(i) * time.Millisecond), ID: fmt.Sprintf("0197-%08d", i), Node: "node-a", Action: "token.mint",
		Outcome:   auditlog.Allowed,
		Principal: &auditlog.Principal{Kind: "mtls", ID: "spiffe://acme.internal/ci/ios/runner-1", Certificate: "sha256:" + strings.Repeat("ab", 32)},
		Profile:   "ios-release", Key: "asc-release", Version: 3, KeyID: "2X9R4HXF34", Grant: "ios-ci", Policy: "sha256:" + strings.Repeat("cd", 32),
		Token: &auditlog.Token{Family: "app-store-connect", IssuedAt: 1767225570, Expires: 1767226170, SHA256: auditlog.Sum{1, 2, byte(i)}},
		Root:  &auditlog.Root{Lineage: "l1", Revision: uint64(i), Digest: "sha256:" + strings.Repeat("ef", 32)},
	}
}

func mustOpen(t testing.TB, c audit.Config) *audit.Log {
	t.Helper()
	l, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l
}

func mustClose(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func mustAppend(t testing.TB, l *audit.Log, e *auditlog.Entry, o audit.AppendOptions) audit.Position {
	t.Helper()
	p, err := l.Append(t.Context(), e, o)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return p
}

// lines reads the whole of a log.
func lines(t testing.TB, seq func(yield func(audit.Stored, error) bool)) []string {
	t.Helper()
	var list []string
	for s, err := range seq {
		if err != nil {
			t.Fatalf("reading entry %d: %v", len(list), err)
		}
		if s.Index != int64(len(list)) {
			t.Fatalf("entry %d has index %d", len(list), s.Index)
		}
		list = append(list, string(s.Line))
	}
	return list
}

func all(t testing.TB, l *audit.Log) []string {
	t.Helper()
	return lines(t, l.Entries(t.Context(), 0, 1<<62))
}

func TestAppendAndReopen(t *testing.T) {
	for _, tt := range []struct {
		name string
		fs   func(t *testing.T) audit.FS
	}{
		{"memory", func(*testing.T) audit.FS { return storetest.NewFaultFS() }},
		{"directory", func(t *testing.T) audit.FS { return audit.DirFS(t.TempDir()) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := tt.fs(t)
			c := config(fsys)
			c.SegmentSize = 4096
			var want []string
			var receipts [][]byte
			for round := range 4 {
				l := mustOpen(t, c)
				if got := l.Head().Size; got != int64(len(want)) {
					t.Fatalf("round %d: %d entries, want %d", round, got, len(want))
				}
				for range 25 {
					e := entry(len(want))
					line, err := e.AppendJSON(nil)
					if err != nil {
						t.Fatal(err)
					}
					p := mustAppend(t, l, e, audit.AppendOptions{Receipt: true})
					if p.Index != int64(len(want)) || p.Leaf != auditlog.LeafHash(line) || p.Head != l.Head() {
						t.Fatalf("position %+v of entry %d, head %+v", p, len(want), l.Head())
					}
					want = append(want, string(line))
					receipts = append(receipts, p.Receipt)
				}
				if diff := cmp.Diff(want, all(t, l)); diff != "" {
					t.Fatalf("entries (-want +got):\n%s", diff)
				}
				if got, want := l.LastTime(), entry(len(want)-1).Time; !got.Equal(want) {
					t.Errorf("LastTime %v, want %v", got, want)
				}
				if got, want := l.LastRoot(), *entry(len(want) - 1).Root; got != want {
					t.Errorf("LastRoot %v, want %v", got, want)
				}
				mustClose(t, l)
				c.Head = l.Head()
			}
			l := mustOpen(t, c)
			defer mustClose(t, l)
			if diff := cmp.Diff(want, all(t, l)); diff != "" {
				t.Fatalf("entries (-want +got):\n%s", diff)
			}
			var back []string
			for s, err := range l.Reverse(t.Context(), 0, 1<<62) {
				if err != nil {
					t.Fatal(err)
				}
				if want[s.Index] != string(s.Line) {
					t.Fatalf("entry %d backwards: %s", s.Index, s.Line)
				}
				back = append(back, string(s.Line))
			}
			if len(back) != len(want) || back[0] != want[len(want)-1] {
				t.Errorf("%d entries backwards, want %d", len(back), len(want))
			}
			cp, err := auditlog.OpenCheckpoint(l.Checkpoint(), verifier)
			if err != nil || cp.Size != 100 || cp.Hash != l.Head().Hash {
				t.Fatalf("checkpoint %+v, %v", cp, err)
			}
			for i, text := range receipts {
				r, err := auditlog.VerifyReceipt(text, verifier)
				if err != nil || r.Index != int64(i) || r.Leaf != auditlog.LeafHash([]byte(want[i])) {
					t.Fatalf("receipt %d: %+v, %v", i, r, err)
				}
				con, err := l.ProveConsistency(t.Context(), r.Checkpoint)
				if err != nil {
					t.Fatalf("consistency from receipt %d: %v", i, err)
				}
				if err := auditlog.VerifyConsistency(con.Proof, r.Checkpoint, cp); err != nil {
					t.Fatalf("consistency from receipt %d: %v", i, err)
				}
			}
		})
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, config(audit.DirFS(dir)))
	_, err := audit.Open(t.Context(), config(audit.DirFS(dir)))
	if !errors.Is(err, audit.ErrLocked) || !strings.Contains(err.Error(), "stop that one") {
		t.Errorf("second Open: %v", err)
	}
	mustClose(t, l)
	mustClose(t, mustOpen(t, config(audit.DirFS(dir))))
}
