package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/p8signet/signet/proto/sealed"
)

// Report is what Fsck found.
type Report struct {
	Root    RootID
	Vault   string
	Shards  int      // shards that are not empty
	Records int      // records that the root reaches
	Damaged []Damage // what does not open or does not agree; empty is well
	Garbage []Ref    // blobs that the root does not reach: harmless
}

// Fsck reads the root again, opens every record that it reaches, secrets too,
// and compares what they say of each other. It changes nothing. An error means
// that it could not look; what it found is in the report. It holds commits of this
// Store off while it runs; where another makes one, it begins again before it
// says that something is damaged, and gives up in the end.
func (s *Store) Fsck(ctx context.Context) (Report, error) {
	if err := s.lock(ctx); err != nil {
		return Report{}, fmt.Errorf("checking the store: %w", err)
	}
	defer s.unlock()
	for range loadTries {
		r, err := s.fsck(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("checking the store: %w", err)
		}
		if len(r.Damaged) == 0 {
			return r, nil
		}
		raw, err := s.cfg.Backend.Root(ctx)
		if err != nil {
			return Report{}, fmt.Errorf("checking the store: %w", err)
		}
		if digest(raw) == r.Root.Digest {
			return r, nil
		}
	}
	return Report{}, fmt.Errorf("checking the store: %w", errChanging)
}

// fsck is Fsck at one root.
func (s *Store) fsck(ctx context.Context) (Report, error) {
	raw, err := s.cfg.Backend.Root(ctx)
	if err != nil {
		return Report{}, err
	}
	snap, err := s.src.load(ctx, raw, s.Snapshot().rootOnly())
	if err != nil {
		return Report{}, err
	}
	f := &fsck{
		store: s, snap: snap, reach: map[Ref]bool{},
		Report: Report{Root: snap.id, Vault: snap.root.Vault, Damaged: snap.Damage()},
	}
	for _, sh := range snap.shards {
		if err := f.shard(ctx, sh); err != nil {
			return Report{}, err
		}
	}
	f.policies()
	for ref, err := range s.cfg.Backend.List(ctx) {
		if err != nil {
			return Report{}, fmt.Errorf("listing blobs: %w", err)
		}
		if !f.reach[ref] {
			f.Garbage = append(f.Garbage, ref)
		}
	}
	slices.SortFunc(f.Damaged, func(a, b Damage) int { return strings.Compare(a.Record, b.Record) })
	return f.Report, nil
}

// rootOnly is the snapshot's root keys without its records, so that loading from
// it reads everything again.
func (s *Snapshot) rootOnly() *Snapshot {
	return &Snapshot{keys: s.keys, root: &rootBody{Keys: s.root.Keys}}
}

type fsck struct {
	Report
	store *Store
	snap  *Snapshot
	reach map[Ref]bool
}

func (f *fsck) damaged(r record, err error) {
	if !errors.Is(err, ErrDamaged) {
		err = damaged(r.String(), err)
	}
	f.Damaged = append(f.Damaged, Damage{r.String(), err})
}

func (f *fsck) shard(ctx context.Context, sh *shard) error {
	if sh.at.empty() {
		return nil
	}
	f.Shards++
	f.reach[sh.at.ref] = true
	for _, e := range sh.entries {
		f.Records++
		f.reach[e.ref] = true
		r, _ := parseRecord(e.name)
		var err error
		switch r.kind {
		case recordKey:
			f.key(sh, r)
		case recordSecret:
			err = f.secret(ctx, sh, r)
		case recordSystem:
			var c *Signer
			if c, err = f.store.openSigner(ctx, f.snap, r, ""); err == nil {
				c.wipe()
			}
		case recordPolicy:
			if r.number == f.snap.root.Policy {
				break // in the snapshot's damage
			}
			_, err = f.store.policyRevision(ctx, f.snap, r.number)
		case recordRecipient:
			if sh.recipients[r.name].err != nil {
				break // in the snapshot's damage
			}
			err = f.store.lend(ctx, f.snap, r, func(plain []byte) error {
				rcpt, key, err := unmarshalRecipient(r.name, plain)
				if err != nil {
					return err
				}
				_, err = sealed.ParsePrivate(rcpt, key)
				return err
			})
		case recordDocument:
			err = f.store.lend(ctx, f.snap, r, func([]byte) error { return nil })
		}
		switch {
		case err == nil:
		case errors.Is(err, ErrDamaged), errors.Is(err, ErrNotFound):
			f.damaged(r, err)
		default:
			return err
		}
	}
	return nil
}

// key says whether every version of a key that is not destroyed has its secret.
func (f *fsck) key(sh *shard, r record) {
	st := sh.keys[r.name]
	if st.key == nil {
		return // in the snapshot's damage
	}
	for _, v := range st.key.Versions {
		secret := record{kind: recordSecret, name: r.name, number: v.Number}
		if _, ok := find(sh.entries, secret.String()); !ok && v.State != StateDestroyed {
			f.damaged(secret, errors.New("it is not there"))
		}
	}
}

// secret opens a secret and compares it with the metadata of its key.
func (f *fsck) secret(ctx context.Context, sh *shard, r record) error {
	st := sh.keys[r.name]
	fp := ""
	if st.key != nil {
		v, ok := st.key.Version(r.number)
		if !ok {
			f.damaged(r, errors.New("its key has no such version"))
			return nil
		}
		fp = v.Fingerprint
	} else if st.err == nil {
		f.damaged(r, errors.New("its key is not there"))
	}
	c, err := f.store.openSigner(ctx, f.snap, r, fp)
	if err == nil {
		c.wipe()
	}
	return err
}

// policies says whether the history has holes.
func (f *fsck) policies() {
	for n := 1; n < f.snap.root.Policy; n++ {
		r := record{kind: recordPolicy, number: n}
		if _, err := f.snap.entryOf(r); errors.Is(err, ErrNotFound) {
			f.damaged(r, errors.New("it is not there"))
		}
	}
}
