package authority

import (
	"bytes"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
)

// TestLogEnded asks for what is signed of logs that a gap has ended: of one that is whole there is its checkpoint, of one that does
// not contain its last one, or whose entries are others than those that it ended with, there is none, and no proof.
func TestLogEnded(t *testing.T) {
	ask := func(v *vault, log string) ([]byte, error) {
		return v.Log.Checkpoint(t.Context(), principal(callerID), CheckpointRequest{Log: log})
	}
	prove := func(v *vault, log string) error {
		line := ""
		reader, err := v.changer.log.Reader(log)
		check(t, err)
		for stored, err := range reader.Entries(t.Context(), 0, 1) {
			check(t, err)
			line = string(stored.Line)
		}
		_, err = v.Log.ProveInclusion(t.Context(), principal(callerID), InclusionRequest{Log: log, Leaf: auditlog.LeafHash([]byte(line))})
		return err
	}
	t.Run("whole", func(t *testing.T) {
		v := ready(t)
		log := v.changer.log.Origin().Log
		_, err := v.show(v.forge(1000))
		wantReason(t, err, ErrPrecondition, ReasonGap)
		if note, err := ask(v, log); err != nil || note == nil {
			t.Errorf("the checkpoint is %q, %v", note, err)
		}
		check(t, prove(v, log))
	})
	t.Run("cut", func(t *testing.T) {
		v := ready(t)
		log := v.changer.log.Origin().Log
		v.mustMint("release")
		v.close()
		list := segments(v.fs.List(log))
		check(t, v.fs.Tamper(list[len(list)-1], func(b []byte) []byte { return b[:len(b)-2] }))
		v.mustOpen()
		_, err := ask(v, log)
		wantReason(t, err, ErrPrecondition, ReasonLogEnded)
		wantReason(t, prove(v, log), ErrPrecondition, ReasonLogEnded)
		if note, err := ask(v, ""); err != nil || note == nil {
			t.Errorf("the current checkpoint is %q, %v", note, err)
		}
	})
	t.Run("another one's", func(t *testing.T) {
		v := ready(t)
		log := v.changer.log.Origin().Log
		seen, err := ask(v, "")
		check(t, err)
		v.mustMint("release")
		_, err = v.show(v.forge(1000))
		wantReason(t, err, ErrPrecondition, ReasonGap)
		v.close()
		check(t, v.fs.Tamper(segments(v.fs.List(log))[0], func(b []byte) []byte { return bytes.Replace(b, []byte("system.init"), []byte("system.adop"), 1) }))
		check(t, v.fs.Tamper(log+"/hashes", func([]byte) []byte { return nil }))
		v.mustOpen()
		_, err = v.show(seen)
		wantReason(t, err, ErrPrecondition, ReasonLogEnded)
	})
}
