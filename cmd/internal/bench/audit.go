package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	sumnote "golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// auditEntries is how many entries the log has that is asked and verified.
const auditEntries = 2_000_000

// benchAudit asks a large log, opened anew, and verifies it.
func benchAudit(ctx context.Context, w *workshop, r rounds) error {
	dir := filepath.Join(w.dir, "audit")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	c, verifier, err := auditConfig(dir)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := withAudit(ctx, c, fillAudit); err != nil {
		return err
	}
	note("%d entries were appended, without fsync, in %v", auditEntries, time.Since(began).Round(time.Second))
	if err := noteSizes(filepath.Join(dir, c.Origin.Log)); err != nil {
		return err
	}
	if err := withAudit(ctx, c, func(ctx context.Context, l *audit.Log) error { return queryAudit(ctx, l, r) }); err != nil {
		return err
	}
	return verifyAudit(filepath.Join(dir, c.Origin.Log), verifier, r)
}

// noteSizes says how large the log is, and its index.
func noteSizes(dir string) error {
	var log, index int64
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return err
		}
		switch {
		case f.Name() == "index":
			index += info.Size()
		case strings.HasSuffix(f.Name(), ".log"):
			log += info.Size()
		}
	}
	note("the log has %.0f MB, its index %.0f MB", float64(log)/1e6, float64(index)/1e6)
	return nil
}

func auditConfig(dir string) (audit.Config, sumnote.Verifier, error) {
	origin := auditlog.Origin{Vault: "bench", Node: "node-1", Log: "log-1"}
	private, public, err := auditlog.GenerateKey(origin.KeyName())
	if err != nil {
		return audit.Config{}, nil, err
	}
	signer, err := sumnote.NewSigner(private)
	if err != nil {
		return audit.Config{}, nil, err
	}
	verifier, err := sumnote.NewVerifier(public)
	c := audit.Config{FS: unsynced{audit.DirFS(dir)}, Origin: origin, Signer: signer, Now: time.Now, MinFree: 1, Logger: slog.New(slog.DiscardHandler)}
	return c, verifier, err
}

// withAudit opens the log and waits until its index follows it, before and after fn.
func withAudit(ctx context.Context, c audit.Config, fn func(context.Context, *audit.Log) error) error {
	l, err := audit.Open(ctx, c)
	if err != nil {
		return err
	}
	err = followed(ctx, l)
	if err == nil {
		err = fn(ctx, l)
	}
	if err == nil {
		err = followed(ctx, l)
	}
	return errors.Join(err, l.Close())
}

func followed(ctx context.Context, l *audit.Log) error {
	r, err := l.Reader("")
	if err != nil {
		return err
	}
	for r.IndexLag() > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// unsynced is a real disk that nobody waits for, so that a large log is quickly made.
type unsynced struct{ audit.FS }

func (u unsynced) Create(name string) (audit.File, error) {
	f, err := u.FS.Create(name)
	return unsyncedFile{f}, err
}

func (unsynced) SyncDir(string) error { return nil }

type unsyncedFile struct{ audit.File }

func (unsyncedFile) Sync() error { return nil }

// auditEntry is the ith entry of a large team's log: 200 keys, 100,000 principals of which 500 do most, one in fifty
// denied, ten days.
func auditEntry(i int) *auditlog.Entry {
	n := uint64(i) * 0x9e3779b97f4a7c15
	who := n >> 20 % 500
	if n>>10%10 == 0 {
		who = n >> 20 % 100_000
	}
	e := &auditlog.Entry{
		Time: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 432 * time.Millisecond),
		ID:   fmt.Sprintf("01980000-0000-7000-8000-%012d", i), Node: "node-1", Action: "token.mint", Outcome: auditlog.Allowed,
		Principal: &auditlog.Principal{Kind: "mtls", ID: fmt.Sprintf("spiffe://acme.internal/ci/ios/runner-%d", who), Certificate: "sha256:" + strings.Repeat("ab", 32)},
		Peer:      "10.1.2.3:40000", Profile: fmt.Sprintf("release-%d", who%400), Key: fmt.Sprintf("asc-%d", who%200), Version: 3, KeyID: "2X9R4HXF34",
		Fingerprint: "sha256:" + strings.Repeat("12", 32), Grant: "ios-ci", Policy: "sha256:" + strings.Repeat("cd", 32),
	}
	if n>>33%50 == 0 {
		e.Outcome, e.Reason = auditlog.Denied, "DENIED: no grant of the caller's allows the profile"
		return e
	}
	e.Token = &auditlog.Token{Family: "app-store-connect", IssuedAt: 1767225570, Expires: 1767226170}
	binary.BigEndian.PutUint64(e.Token.SHA256[:], n)
	return e
}

// fillAudit appends from as many callers as a busy server has.
func fillAudit(ctx context.Context, l *audit.Log) error {
	var wg sync.WaitGroup
	errs := make(chan error, 1)
	for caller := range callers {
		wg.Go(func() {
			for i := caller; i < auditEntries; i += callers {
				if _, err := l.Append(ctx, auditEntry(i), audit.AppendOptions{}); err != nil {
					select {
					case errs <- err:
					default:
					}
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// queryAudit asks for first pages, newest first and oldest first, and judges the slowest of them.
func queryAudit(ctx context.Context, l *audit.Log, r rounds) error {
	reader, err := l.Reader("")
	if err != nil {
		return err
	}
	middle := auditEntry(auditEntries / 2)
	var slowest time.Duration
	for _, q := range []struct {
		name  string
		match audit.Match
	}{
		{"a key", audit.Match{Key: "asc-7"}},
		{"a key's denials", audit.Match{Key: "asc-7", Outcome: "denied"}},
		{"a principal", audit.Match{Principal: middle.Principal.ID}},
		{"nobody", audit.Match{Principal: "spiffe://acme.internal/nobody", Action: "token.mint"}},
		{"what never was together", audit.Match{Key: "asc-7", Profile: "release-8"}},
		{"a token", audit.Match{Token: &middle.Token.SHA256}},
		{"a day's denials", audit.Match{Outcome: "denied", Since: middle.Time, Until: middle.Time.Add(24 * time.Hour)}},
	} {
		for _, reverse := range []bool{true, false} {
			took := make([]time.Duration, r.n)
			found := 0
			for i := range took {
				began := time.Now()
				page, err := reader.Find(ctx, audit.Query{Match: q.match, Reverse: reverse, Limit: 100, Bytes: 3 << 20})
				if err != nil {
					return err
				}
				took[i], found = time.Since(began), len(page.Entries)
			}
			slices.Sort(took)
			median := took[len(took)/2]
			note("%s, newest first %v: %d entries in %v", q.name, reverse, found, median.Round(10*time.Microsecond))
			slowest = max(slowest, median)
		}
	}
	bar("audit-query-2m", float64(slowest.Microseconds())/1000, "ms", "<=", 50)
	return nil
}

// cpuTime is how long this process has kept processors busy.
func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("asking for the time used: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// verifyAudit verifies the log as signet audit verify --dir does.
func verifyAudit(dir string, v sumnote.Verifier, r rounds) error {
	rates := make([]float64, min(3, r.n))
	busy, err := cpuTime()
	if err != nil {
		return err
	}
	for i := range rates {
		began := time.Now()
		report, err := auditlog.VerifySegments(os.DirFS(dir), v, auditlog.VerifyOptions{})
		switch {
		case err != nil:
			return err
		case len(report.Damage) > 0 || report.Signed != auditEntries:
			return fmt.Errorf("the log does not verify: %v", report.Damage)
		}
		rates[i] = auditEntries / time.Since(began).Seconds()
	}
	after, err := cpuTime()
	if err != nil {
		return err
	}
	each := (after - busy) / time.Duration(len(rates)*auditEntries)
	note("verifying costs %v of CPU an entry, so two cores that do nothing else do %.0f/s", each, 2*float64(time.Second)/float64(each))
	slices.Sort(rates)
	bar("audit-verify", rates[len(rates)/2], "per-s", ">=", 300_000)
	return nil
}
