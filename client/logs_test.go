package client_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// cut cuts a log's newest segment in half; edit changes a word in the middle of it; remove removes the log.
func cut(t *testing.T, dir string) {
	rewrite(t, dir, func(data []byte) []byte { return data[:len(data)/2] })
}

func edit(t *testing.T, dir string) {
	rewrite(t, dir, func(data []byte) []byte {
		at := len(data)/2 + bytes.Index(data[len(data)/2:], []byte("operator"))
		data[at] = 'O'
		return data
	})
}

func remove(t *testing.T, dir string) {
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
}

func rewrite(t *testing.T, dir string, f func([]byte) []byte) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	last := slices.Max(segments)
	data, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(last, f(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// gapped is a server whose first log was harmed and ended by a gap, which is open. The checkpoint is of what is lost.
func gapped(t *testing.T, harm func(*testing.T, string)) (*liar, *client.Client, client.Signed) {
	t.Helper()
	s, _, c := start(t)
	mint := func(n int) {
		for range n {
			if _, err := c.Mint(t.Context(), "release", client.MintOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	mint(5)
	lost, err := c.Checkpoint(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	harm(t, filepath.Join(s.LogDir(), lost.Origin.Log))
	s.Restart()
	l := &liar{ClientConnInterface: s.Operator()}
	c, err = client.New(l, client.LogKey{Origin: s.LogOrigin(), Key: s.LogKey()})
	if err != nil {
		t.Fatal(err)
	}
	return l, c, lost
}

func TestVerifyLogs(t *testing.T) {
	for _, tt := range []struct {
		name string
		harm func(*testing.T, string)
	}{{"cut", cut}, {"edited", edit}, {"removed", remove}} {
		t.Run(tt.name, func(t *testing.T) { verifyLogs(t, tt.harm) })
	}
}

func verifyLogs(t *testing.T, harm func(*testing.T, string)) {
	_, c, lost := gapped(t, harm)
	if _, err := c.Checkpoint(t.Context(), lost.Origin.Log); !errors.Is(err, client.ErrLogEnded) {
		t.Errorf("the checkpoint of a log that lost its end: %v", err)
	}
	if _, err := c.Since(t.Context(), lost); err == nil || errors.Is(err, client.ErrUnverified) {
		t.Errorf("the proof of what is lost: %v", err)
	}
	check := func() []client.VerifiedLog {
		t.Helper()
		logs, err := c.VerifyLogs(t.Context(), []client.Signed{lost}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(logs) != 2 || logs[0].Ended != nil || logs[1].Ended == nil || logs[0].Note == nil || logs[1].Note != nil {
			t.Fatalf("the logs are %+v", logs)
		}
		old := logs[1]
		if old.Origin != lost.Origin || old.Size >= lost.Size || old.Ended.ID == "" || old.Ended.Detail == "" || len(old.Missing) != 1 || len(logs[0].Missing) != 0 {
			t.Errorf("the old log is %+v, its gap %+v", old, old.Ended)
		}
		return logs
	}
	logs := check()
	id := logs[1].Ended.ID
	if a := logs[1].Ended.Acknowledged; a != nil {
		t.Errorf("acknowledged before anybody did: %+v", a)
	}
	if _, err := c.Acknowledge(t.Context(), &signetv1.AcknowledgeRequest{Id: "nosuchgap", Reason: "x"}); err == nil {
		t.Error("a gap that is none was acknowledged")
	}
	if _, err := c.Acknowledge(t.Context(), &signetv1.AcknowledgeRequest{Id: id, Reason: "a bad disk"}); err != nil {
		t.Fatal(err)
	}
	if a := check()[1].Ended.Acknowledged; a == nil || a.By != servertest.OperatorID || a.Reason != "a bad disk" || a.Time.IsZero() {
		t.Errorf("acknowledged: %+v", a)
	}
}

// TestLogsOfALiar lies about a log that has ended: what is left of it is held against the first entry of the next one, and that
// entry against a signed checkpoint.
func TestLogsOfALiar(t *testing.T) {
	l, c, lost := gapped(t, cut)
	logs, err := c.VerifyLogs(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	current, old := logs[0].Origin.String(), logs[1].Origin.String()
	list := func(origin string, f func(*signetv1.ListEntriesResponse)) func(any) {
		return lie(func(r *signetv1.ListEntriesResponse) {
			if e := r.GetEntries(); len(e) > 0 && e[0].GetOrigin() == origin {
				f(r)
			}
		})
	}
	// forge changes what the first entry of the current log says.
	forge := func(f func(*auditlog.Entry)) func(any) {
		return list(current, func(r *signetv1.ListEntriesResponse) {
			first := r.GetEntries()[0]
			e, err := auditlog.ParseEntry(first.GetLine())
			if err != nil {
				t.Error(err)
				return
			}
			f(e)
			if first.Line, err = e.AppendJSON(nil); err != nil {
				t.Error(err)
			}
		})
	}
	both := func(lies ...func(any)) func(any) {
		return func(reply any) {
			for _, lie := range lies {
				lie(reply)
			}
		}
	}
	shorter := list(old, func(r *signetv1.ListEntriesResponse) { r.Entries = r.GetEntries()[:2]; r.NextPageToken = "" })
	tests := []struct {
		name string
		lie  func(any)
	}{
		{"another hash", forge(func(e *auditlog.Entry) { e.Gap.Hash[0] ^= 1 })},
		{"another size", forge(func(e *auditlog.Entry) { e.Gap.Size-- })},
		{"another size, and as many entries", both(forge(func(e *auditlog.Entry) { e.Gap.Size = 2 }), shorter)},
		{"no log before", forge(func(e *auditlog.Entry) { e.Gap.Log = "" })},
		{"another gap", forge(func(e *auditlog.Entry) { e.Gap.ID += "x" })},
		{"another log", forge(func(e *auditlog.Entry) { e.Gap.Log = "another" })},
		{"the first entry is the second", list(current, func(r *signetv1.ListEntriesResponse) { e := r.GetEntries(); e[0].Line = e[1].GetLine() })},
		{"the old log is shorter", shorter},
		{"the old log is empty", list(old, func(r *signetv1.ListEntriesResponse) { r.Entries, r.NextPageToken = nil, "" })},
		{"the old log is another", list(old, func(r *signetv1.ListEntriesResponse) {
			e := r.GetEntries()[1]
			e.Line = bytes.Replace(e.GetLine(), []byte("operator"), []byte("operatox"), 1)
		})},
		{"no checkpoint of the current log", lie(func(r *signetv1.Checkpoint) { r.Note = nil })},
		{"the current log's checkpoint is the lost one", lie(func(r *signetv1.Checkpoint) { r.Note = lost.Note })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l.lie = tt.lie
			defer func() { l.lie = nil }()
			if logs, err := c.VerifyLogs(t.Context(), nil, nil); !errors.Is(err, client.ErrUnverified) {
				t.Errorf("error is %v, the logs are %+v", err, logs)
			}
		})
	}
	if _, err := c.VerifyLogs(t.Context(), nil, nil); err != nil {
		t.Errorf("an honest server, after all: %v", err)
	}
}
