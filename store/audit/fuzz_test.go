package audit_test

import (
	"errors"
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
