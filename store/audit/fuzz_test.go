package audit_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// FuzzRecovery puts anything in place of what lies behind a prefix of the newest segment, and into a segment after it.
// Open never panics; it opens with all three signed entries and nothing else before them, or says that there is a
// gap whose end is a head that there was.
func FuzzRecovery(f *testing.F) {
	pristine, heads := tiny(f)
	data := pristine.Files(origin.Log)[auditlog.SegmentName(3)].Data
	f.Add(0, []byte{}, []byte{})
	f.Add(len(data), []byte("\x00\x00\n"), []byte(`{"header":{`))
	f.Add(len(data), data[300:], data)
	f.Add(200, data[:100], []byte("\n"))
	f.Fuzz(func(t *testing.T, keep int, more, next []byte) {
		keep = min(max(keep, 0), len(data))
		fsys := pristine.Fork()
		if err := fsys.Tamper(segmentPath(3), func(b []byte) []byte { return append(b[:keep], more...) }); err != nil {
			t.Fatal(err)
		}
		if len(next) > 0 {
			file, err := fsys.Create(segmentPath(4))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := file.WriteAt(next, 0); err != nil {
				t.Fatal(err)
			}
		}
		l, err := audit.Open(t.Context(), config(fsys))
		var gap *audit.GapError
		switch {
		case errors.As(err, &gap):
			if gap.End.Size > 3 || gap.End != heads[gap.End.Size] {
				t.Errorf("the gap ends at %+v", gap.End)
			}
			if keep == len(data) && len(more) == 0 && len(next) == 0 {
				t.Errorf("a false gap: %v", err)
			}
		case err != nil:
			t.Error(err)
		default:
			defer mustClose(t, l)
			in, err := l.ProveInclusion(t.Context(), 2, 3)
			if err != nil || in.Head != heads[3] {
				t.Errorf("%+v, %v", in, err)
			}
			mustAppend(t, l, entry(5), audit.AppendOptions{})
		}
	})
}

// FuzzFacts: what the index takes of a line is what the line says, and no line makes it panic.
func FuzzFacts(f *testing.F) {
	for i, edit := range []func(*auditlog.Entry){
		func(*auditlog.Entry) {},
		func(e *auditlog.Entry) {
			e.Principal.Claims = map[string]string{`a"`: `\`, "b": `","key":"x`}
			e.Requested = &auditlog.Requested{Scope: []string{`GET "/"`, "x"}}
		},
		func(e *auditlog.Entry) {
			e.Principal, e.Token, e.Root, e.Outcome, e.Count = nil, nil, nil, auditlog.Summary, 12
		},
		func(e *auditlog.Entry) { e.Key, e.Grant, e.Reason, e.Justification = `k\"`, `\\`, `,"count":5`, "ü" },
		func(e *auditlog.Entry) {
			e.Requested = &auditlog.Requested{TTL: 60, Scope: []string{"a"}}
			e.Token.Reused, e.Token.Scope = true, []string{"a", "b"}
		},
		func(e *auditlog.Entry) {
			e.Requested = &auditlog.Requested{Values: map[string]string{`a"`: `}`, "b": `"},"token":{`}}
			e.Token.Nonce = `","sha256":"`
		},
		func(e *auditlog.Entry) {
			e.Requested = &auditlog.Requested{TTL: 60, Values: map[string]string{"topics": ""}}
			e.Token.Nonce, e.Token.Reused = "n", true
		},
		func(e *auditlog.Entry) {
			e.Requested = &auditlog.Requested{Scope: []string{"a"}, Values: map[string]string{"a": "b"}}
		},
	} {
		e := entry(i)
		edit(e)
		line, err := e.AppendJSON(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, ok := audit.Facts(line)
		e, err := auditlog.ParseEntry(line)
		if err != nil {
			return
		}
		want := []string{strconv.FormatInt(e.Time.UnixMicro(), 10), e.Key, "", e.Profile, e.Action, string(e.Outcome), e.Grant, "", strconv.FormatInt(e.Count, 10)}
		if e.Principal != nil {
			want[2] = e.Principal.ID
		}
		if e.Token != nil {
			want[7] = e.Token.SHA256.String()
		}
		if !ok || !slices.Equal(want, got) {
			t.Errorf("%v: %q, want %q", ok, got, want)
		}
	})
}

// FuzzGroups: totals parse or are refused, and those that parse are written as they were read.
func FuzzGroups(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x02\x01a\x00\x02\x00\x01\x01\x01\x01\x01\x02\x04\x06\x00"))
	f.Add([]byte("\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		again, err := audit.Groups(data)
		if err != nil {
			return
		}
		if third, err := audit.Groups(again); err != nil || !slices.Equal(again, third) {
			t.Errorf("%q, then %q, %v", again, third, err)
		}
	})
}
