package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/p8signet/signet/store/envelope"
)

// RootID names one root.
type RootID struct {
	Lineage  string `json:"lineage"`  // the history that it belongs to; a gap begins a new one
	Revision uint64 `json:"revision"` // grows by one with every commit, and by more after a gap
	Digest   string `json:"digest"`   // "sha256:" and the SHA-256 of the root in hexadecimal
}

// LogHead is a point in a node's audit log: log id, number of entries, tree
// head.
type LogHead struct {
	Log  string
	Size int64
	Hash tlog.Hash
}

// The kinds of a gap.
const (
	GapStore = "store" // stops every node
	GapLog   = "log"   // stops its node
)

// Gap is time that ran backwards, as the root keeps it: found, and perhaps
// acknowledged since.
type Gap struct {
	ID     string
	Kind   string // GapStore or GapLog
	Node   string // where it was found, and whom a log's gap stops
	Detail string // what was found, for people; at most 1 KiB
	Found  time.Time
	// Log is the head that the log should have had (GapLog), or that of the log
	// which knew better (GapStore).
	Log LogHead
	// Root is the root that should have been there (GapStore); zero otherwise.
	Root RootID
	// Closed is when it was acknowledged, zero while it is open.
	Closed time.Time
}

// maxRoot is the length in bytes of the longest root that is read. 256 shards
// take 26 KiB.
const maxRoot = 4 << 20

// rootBody is what a root says, as JSON in one line. After it comes a line with
// its MAC. There is one way to write a root.
type rootBody struct {
	Schema   int    `json:"v"`
	Vault    string `json:"vault"`
	Lineage  string `json:"lineage"`
	Revision uint64 `json:"revision"`
	// Policy is the number of the current revision, 0 for none: here, so that
	// losing its record does not bring an older one back.
	Policy  int                 `json:"policy"`
	MACKey  string              `json:"mac_key"` // which of Keys the MAC is made with
	Keys    []rootKey           `json:"keys"`
	Members []rootMember        `json:"members"` // the replicas that may mint
	Nodes   map[string]rootNode `json:"nodes"`
	Gaps    []rootGap           `json:"gaps"`
	Shards  []shardRef          `json:"shards"`
}

// rootKey is a root key under every KEK.
type rootKey struct {
	ID    string             `json:"id"`
	Wraps []envelope.Wrapped `json:"wraps"`
}

// rootNode is what the root knows of a node.
type rootNode struct {
	Commit string     `json:"commit"` // id of its last commit
	Log    rootHead   `json:"log"`
	Closed []rootHead `json:"closed"` // earlier logs and where they end
}

type rootHead struct {
	Log  string `json:"log"`
	Size int64  `json:"size"`
	Hash []byte `json:"hash"`
}

type rootGap struct {
	ID     string    `json:"id"`
	Kind   string    `json:"kind"`
	Node   string    `json:"node"`
	Detail string    `json:"detail"`
	Found  time.Time `json:"found"`
	Log    rootHead  `json:"log"`
	Root   RootID    `json:"root"`
	Closed time.Time `json:"closed,omitzero"`
}

// shardRef is where a shard is and what it is: its reference and SHA-256 in
// hexadecimal, joined by ':'; "" for a shard without entries.
type shardRef struct {
	ref Ref
	sum [sha256.Size]byte
}

func (s shardRef) empty() bool { return s.ref == Ref{} }

func (s shardRef) MarshalText() ([]byte, error) {
	if s.empty() {
		return nil, nil
	}
	b := hex.AppendEncode(nil, s.ref[:])
	return hex.AppendEncode(append(b, ':'), s.sum[:]), nil
}

func (s *shardRef) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = shardRef{}
		return nil
	}
	ref, sum, _ := strings.Cut(string(text), ":")
	r, err := ParseRef(ref)
	if err != nil {
		return err
	}
	b, err := hex.DecodeString(sum)
	if err != nil || len(b) != len(s.sum) || r == (Ref{}) {
		return errors.New("not a reference and a SHA-256")
	}
	*s = shardRef{ref: r, sum: [sha256.Size]byte(b)}
	return nil
}

func toRootHead(h LogHead) rootHead { return rootHead{h.Log, h.Size, h.Hash[:]} }

func (h rootHead) head() LogHead { return LogHead{h.Log, h.Size, tlog.Hash(h.Hash)} }

func (h rootHead) check() error {
	if h.Log != "" && !validID(h.Log) || h.Size < 0 || len(h.Hash) != sha256.Size {
		return errors.New("a log head is not one")
	}
	return nil
}

const macPrefix = "mac "

// marshalRoot writes the root and its MAC.
func marshalRoot(b *rootBody, keys keyring) (*rootText, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("writing a root: %w", err)
	}
	key, ok := keys[b.MACKey]
	if !ok {
		return nil, fmt.Errorf("writing a root: root key %s is not open", b.MACKey)
	}
	body, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("writing a root: %w", err)
	}
	mac := key.MAC(body)
	if mac == nil {
		return nil, ErrClosed
	}
	raw := append(slices.Clip(body), "\n"+macPrefix...)
	raw = hex.AppendEncode(raw, mac)
	raw = append(raw, '\n')
	if len(raw) > maxRoot {
		return nil, fmt.Errorf("writing a root: it would have more than %d bytes", maxRoot)
	}
	return &rootText{rootBody: b, raw: raw, body: body, mac: mac}, nil
}

// rootText is a root as it is stored: what it says, and what vouches for that.
type rootText struct {
	*rootBody
	raw  []byte // all of it
	body []byte // what the MAC is over
	mac  []byte
}

// parseRoot reads a root. Nothing in it is to be believed before it has been
// authenticated.
func parseRoot(raw []byte) (*rootText, error) {
	bad := func(err error) (*rootText, error) {
		return nil, fmt.Errorf("the root is %w: %w", ErrDamaged, err)
	}
	if len(raw) > maxRoot {
		return bad(fmt.Errorf("it has %d bytes, and at most %d are read", len(raw), maxRoot))
	}
	body, rest, ok := bytes.Cut(raw, []byte("\n"))
	if !ok {
		return bad(errors.New("it does not have two lines"))
	}
	r := &rootText{rootBody: new(rootBody), raw: raw, body: body, mac: make([]byte, sha256.Size)}
	line, begins := bytes.CutPrefix(rest, []byte(macPrefix))
	line, ends := bytes.CutSuffix(line, []byte("\n"))
	if !begins || !ends || len(line) != 2*len(r.mac) || bytes.ContainsAny(line, "ABCDEF") {
		return bad(errors.New("its second line is not a MAC"))
	}
	if _, err := hex.Decode(r.mac, line); err != nil {
		return bad(errors.New("its second line is not a MAC"))
	}
	if err := strictJSON(body, r.rootBody); err != nil {
		return bad(err)
	}
	if err := r.check(); err != nil {
		return bad(err)
	}
	// One way to write it: no doubled names, no other case, no spaces.
	if again, err := json.Marshal(r.rootBody); err != nil || !bytes.Equal(again, body) {
		return bad(errors.New("its body is not as we write it"))
	}
	return r, nil
}

func (r *rootText) id() RootID {
	return RootID{Lineage: r.Lineage, Revision: r.Revision, Digest: digest(r.raw)}
}

func (b *rootBody) check() error {
	switch {
	case b.Schema != 1:
		return fmt.Errorf("it has format %d, and this version knows 1", b.Schema)
	case !validID(b.Vault) || !validID(b.Lineage):
		return errors.New("the vault or lineage id is not one")
	case b.Revision == 0 || b.Revision == 1<<64-1:
		return errors.New("the revision is out of range")
	case b.Policy < 0:
		return errors.New("the policy's number is negative")
	case b.Members == nil || b.Nodes == nil || b.Gaps == nil:
		return errors.New("a list is missing")
	case len(b.Shards) != shards:
		return fmt.Errorf("it has %d shards, not %d", len(b.Shards), shards)
	}
	ids := map[string]bool{}
	for _, k := range b.Keys {
		if ids[k.ID] || len(k.Wraps) == 0 {
			return errors.New("a root key is there twice or has no wrap")
		}
		ids[k.ID] = true
	}
	if !ids[b.MACKey] {
		return errors.New("the root key that its MAC is made with is not there")
	}
	for name, n := range b.Nodes {
		if !validID(name) || !validID(n.Commit) || n.Closed == nil {
			return errors.New("a node is not one")
		}
		for _, h := range append([]rootHead{n.Log}, n.Closed...) {
			if err := h.check(); err != nil {
				return err
			}
		}
	}
	if err := b.checkMembers(); err != nil {
		return err
	}
	return b.checkGaps()
}

func (b *rootBody) checkGaps() error {
	ids := map[string]bool{}
	for _, g := range b.Gaps {
		if ids[g.ID] || !validID(g.ID) || !validID(g.Node) || g.Kind != GapStore && g.Kind != GapLog {
			return errors.New("a gap is not one")
		}
		ids[g.ID] = true
		if err := g.Log.check(); err != nil {
			return err
		}
	}
	return nil
}

// clone copies everything that a commit may change.
func (b *rootBody) clone() *rootBody {
	c := *b
	c.Nodes = maps.Clone(b.Nodes)
	c.Gaps = slices.Clone(b.Gaps)
	c.Members = slices.Clone(b.Members)
	c.Shards = slices.Clone(b.Shards)
	return &c
}

// keyring is the root keys of a vault, open, by id.
type keyring map[string]*envelope.RootKey

func (r keyring) wipe() {
	for _, k := range r {
		k.Wipe()
	}
}

// openKeys unwraps every root key that the root names.
func openKeys(ctx context.Context, b *rootBody, keks []envelope.KEK) (keyring, error) {
	ring := keyring{}
	for _, k := range b.Keys {
		key, err := envelope.Unwrap(ctx, keks, b.Vault, k.ID, k.Wraps)
		if err != nil {
			ring.wipe()
			if errors.Is(err, envelope.ErrNotOpened) {
				return nil, fmt.Errorf("%w (vault %s, root key %s; or the root has been altered): %w", ErrWrongKEK, b.Vault, k.ID, err)
			}
			return nil, fmt.Errorf("opening root key %s of vault %s: %w", k.ID, b.Vault, err)
		}
		ring[k.ID] = key
	}
	return ring, nil
}

// authenticate checks the MAC of a root.
func (r keyring) authenticate(t *rootText) error {
	key, ok := r[t.MACKey]
	if !ok || !key.CheckMAC(t.body, t.mac) {
		return fmt.Errorf("the root of vault %s is %w: its MAC is wrong, so it has been changed by something other than Signet", t.Vault, ErrDamaged)
	}
	return nil
}
