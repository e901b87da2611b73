package authority

import (
	"context"
	"path"
	"strings"
	"testing"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
	"github.com/p8signet/signet/store/storetest"
)

// TestNewVaultMissesItsLog: what Init recorded is asked for by the root, so a log without it is a gap.
func TestNewVaultMissesItsLog(t *testing.T) {
	v := newVault(t)
	head, _ := v.changer.store.Snapshot().LogHead(nodeName)
	if head.Size < 3 {
		t.Errorf("the root of a new vault names a log of %d entries", head.Size)
	}
	v.crash()
	v.fs = storetest.NewFaultFS()
	v.mustOpen()
	if gaps := v.openGaps(); len(gaps) != 1 || gaps[0].Kind != store.GapLog {
		t.Errorf("gaps %v, want one of the log", gaps)
	}
}

// TestForeignLog: a store, KEK and all, in the place of another vault's goes not on beside that one's log.
func TestForeignLog(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(fs *storetest.FaultFS)
	}{
		{"a used log", func(*storetest.FaultFS) {}},
		{"nothing but a checkpoint", func(fs *storetest.FaultFS) {
			for _, name := range fs.List(".") {
				if _, ok := auditlog.ParseSegmentName(path.Base(name)); ok {
					if err := fs.Remove(name); err != nil {
						t.Fatal(err)
					}
				}
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, other := newVault(t), newVault(t)
			v.close()
			other.close()
			v.memory, v.kek = other.memory, other.kek
			tt.spoil(v.fs)
			before := v.fs.List(".")
			err := v.open()
			if err == nil {
				t.Fatal("another vault's store was opened beside this one's log")
			}
			for _, want := range []string{"that of vault " + v.made.VaultID, "that of vault " + other.made.VaultID, "correct"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("refused with %q, want %q in it", err, want)
				}
			}
			if after := v.fs.List("."); strings.Join(before, " ") != strings.Join(after, " ") {
				t.Errorf("the log's directory has %v, had %v", after, before)
			}
		})
	}
}

// TestUnknownNode: the refusal says which nodes there are.
func TestUnknownNode(t *testing.T) {
	v := newVault(t)
	v.close()
	v.backend = storetest.NewFaulty(v.memory, nil)
	config := v.storeConfig()
	config.Node = "node-2"
	s, err := store.Open(t.Context(), config)
	check(t, err)
	_, err = Open(t.Context(), Config{Store: s, LogFS: v.fs, Node: "node-2", TrustDomain: trustDomain, Now: v.clock.Now, Logger: v.logger()})
	if err == nil || !strings.Contains(err.Error(), "its nodes are "+nodeName) || !strings.Contains(err.Error(), "correct node") {
		t.Errorf("Open under an unknown name: %v", err)
	}
}

// spoiled is a disk on which no log can be opened: every checkpoint reads as nothing of ours.
type spoiled struct {
	audit.FS
	junk string
}

func (s spoiled) Open(name string) (audit.File, error) {
	if path.Base(name) == auditlog.CheckpointFile {
		name = s.junk
	}
	return s.FS.Open(name)
}

// TestLogsInVain: where no new log can be opened, starting again and again does not make a gap each time.
func TestLogsInVain(t *testing.T) {
	v := newVault(t)
	v.crash()
	file, err := v.fs.Create("junk")
	check(t, err)
	_, err = file.WriteAt([]byte("junk\n"), 0)
	check(t, err)
	check(t, file.Close())
	start := func() error {
		v.backend = storetest.NewFaulty(v.memory, nil)
		s, err := store.Open(t.Context(), v.storeConfig())
		check(t, err)
		a, err := Open(context.Background(), Config{
			Store: s, LogFS: spoiled{v.fs, "junk"}, Node: nodeName, TrustDomain: trustDomain, Now: v.clock.Now, Logger: v.logger(),
		})
		if err == nil {
			_ = a.Close()
		}
		return err
	}
	for range 3 * vainLogs {
		if err = start(); err == nil {
			t.Fatal("a log was opened whose checkpoint is junk")
		}
	}
	if !strings.Contains(err.Error(), "could not be opened either") {
		t.Errorf("refused with %q, which does not say that it has been tried", err)
	}
	s, err := store.Open(t.Context(), v.storeConfig())
	check(t, err)
	if n := len(s.Snapshot().Gaps()); n > vainLogs+1 {
		t.Errorf("%d gaps after %d starts", n, 3*vainLogs)
	}
	check(t, s.Close())
	v.mustOpen() // the disk is well again
	if len(v.openGaps()) == 0 {
		t.Error("no gap stops minting")
	}
}
