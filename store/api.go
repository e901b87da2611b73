package store

import (
	"context"
	"crypto"
	"errors"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store/envelope"
)

// What opening a store or a record answers, by errors.Is.
var (
	// ErrDamaged says that something is not what the root says it is: it has
	// been changed from outside, or lost.
	ErrDamaged = errors.New("damaged")
	// ErrWrongKEK says that no configured KEK opens this store.
	ErrWrongKEK = errors.New("no configured KEK opens this store")
	// ErrOtherVault says that the store belongs to another vault.
	ErrOtherVault = errors.New("the store belongs to another vault")
	// ErrNotFound says that there is no such thing in the snapshot.
	ErrNotFound = errors.New("not found")
	// ErrStale says that the root offered is older than the one already adopted.
	ErrStale = errors.New("the store has gone back in time")
	// ErrInvalid says that a change breaks a rule of the store. It is a mistake
	// of the caller.
	ErrInvalid = errors.New("the change is not allowed")
)

// Config is what Create and Open need.
type Config struct {
	// Backend stays its opener's: Close does not close it.
	Backend Backend
	// KEKs wrap the root key, each enough alone. Create wraps under all of
	// them; Open takes the first that opens.
	KEKs []envelope.KEK
	// Node is the name of this node: lower-case letters, digits, '.', '_', '-'.
	Node string
	// Vault is the id of the vault. Create: the id to give it, "" draws one.
	// Open: the id it must have, "" takes what is there.
	Vault string
	// Now is the clock.
	Now func() time.Time
	// Logger gets damage and settled outcomes; nil discards.
	Logger *slog.Logger
}

// RootID names one root.
type RootID struct {
	Lineage  string
	Revision uint64
	Digest   string // "sha256:<hex>" of the root's bytes
}

// LogHead is a point in a node's audit log: log id, number of entries, tree
// head.
type LogHead struct {
	Log  string
	Size int64
	Hash [32]byte
}

// The kinds of a gap.
const (
	GapStore = "store" // stops every node
	GapLog   = "log"   // stops its node
)

// Gap is time that ran backwards, found and not yet (or long since)
// acknowledged. It lies in the root.
type Gap struct {
	ID     string
	Kind   string // GapStore or GapLog
	Node   string // where it was found; the node that a log's gap stops
	Detail string // what was found, for people; ≤ 1 KiB
	Found  time.Time
	// Log is the head that should have been there (GapLog), or the log that
	// knew better (GapStore).
	Log LogHead
	// Root is the root that should have been there (GapStore).
	Root RootID
	// Closed is when it was acknowledged, zero while it is open.
	Closed time.Time
}

// PolicyRevision is one revision of the policy document. The document is opaque
// here.
type PolicyRevision struct {
	Number   int
	Document []byte
	Digest   string
	Author   string
	Created  time.Time
}

// Damage is one thing that does not open.
type Damage struct {
	Record string // record name, or "shard N"
	Err    error
}

// Report is what Fsck found.
type Report struct {
	Root    RootID
	Records int
	Damaged []Damage
	Garbage []Ref // blobs that the root does not reach: harmless
}

// Store is an open vault.
type Store struct{}

// Create makes a vault: a root key wrapped by every KEK, a first root, and what
// init puts, in one commit. A Backend that has a root is refused: ErrExists.
func Create(ctx context.Context, cfg Config, init func(*Tx) error) (*Store, error) { panic("not yet") }

// Open opens a vault. It never creates one.
func Open(ctx context.Context, cfg Config) (*Store, error) { panic("not yet") }

// Snapshot is the state as of the last commit: one atomic load.
func (s *Store) Snapshot() *Snapshot { panic("not yet") }

// Begin starts a change on the current snapshot.
func (s *Store) Begin() *Tx { panic("not yet") }

// Commit makes tx durable, with head as this node's log head (which has the
// commit's intent in it), and returns the new snapshot.
//
// ErrConflict: nothing changed; the snapshot has been reloaded, decide again.
// ErrUnknown: see there. Any other error: nothing changed.
func (s *Store) Commit(ctx context.Context, tx *Tx, head LogHead) (*Snapshot, error) {
	panic("not yet")
}

// Settle finds out what became of a commit that ended in ErrUnknown, if there is
// one; nil means that nothing is open any more.
func (s *Store) Settle(ctx context.Context) error { panic("not yet") }

// Reload reads the root again and adopts it if it is newer.
func (s *Store) Reload(ctx context.Context) (*Snapshot, error) { panic("not yet") }

// Signer returns the signer of one version of a key: opened on first use, then
// cached. It says nothing about whether the key may be used.
func (s *Store) Signer(ctx context.Context, snap *Snapshot, name string, version int) (*Signer, error) {
	panic("not yet")
}

// SystemSigner returns the signer of a system secret (PKCS#8).
func (s *Store) SystemSigner(ctx context.Context, name string) (*Signer, error) { panic("not yet") }

// OpenImport lends the private half of an import recipient to use.
func (s *Store) OpenImport(ctx context.Context, recipient string, use func(*sealed.Private) error) error {
	panic("not yet")
}

// Document returns a document of the vault's own (a CA certificate).
func (s *Store) Document(ctx context.Context, name string) ([]byte, error) { panic("not yet") }

// PolicyHistory yields the policy's revisions, newest first.
func (s *Store) PolicyHistory(ctx context.Context) iter.Seq2[PolicyRevision, error] { panic("not yet") }

// PolicyRevision returns one revision of the policy: ErrNotFound, ErrDamaged.
func (s *Store) PolicyRevision(ctx context.Context, n int) (PolicyRevision, error) { panic("not yet") }

// Fsck opens every record and lists what is wrong.
func (s *Store) Fsck(ctx context.Context) (Report, error) { panic("not yet") }

// Close wipes the root key and all signers. It does not close the Backend.
func (s *Store) Close() error { panic("not yet") }

// Signer is a private key that never shows its bytes: a crypto.Signer whose
// signatures are deterministic where the algorithm allows it (rand is ignored).
type Signer struct{}

func (s *Signer) Public() crypto.PublicKey { panic("not yet") }

func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	panic("not yet")
}

// Proven says whether SetProven has been called: whether a signature of this
// signer has been verified since it was loaded.
func (s *Signer) Proven() bool { panic("not yet") }
func (s *Signer) SetProven()   { panic("not yet") }

// Snapshot is the state of the store at one root. It is immutable.
type Snapshot struct{}

func (s *Snapshot) RootID() RootID { panic("not yet") }
func (s *Snapshot) Vault() string  { panic("not yet") }

// Key returns a key; not there, or damaged: false.
func (s *Snapshot) Key(name string) (Key, bool) { panic("not yet") }

// Keys yields all keys that open, by name.
func (s *Snapshot) Keys() iter.Seq[Key] { panic("not yet") }

// Len is the number of keys that open.
func (s *Snapshot) Len() int { panic("not yet") }

// Damaged says why the key of that name cannot be read (ErrDamaged), nil if it
// can or is not there.
func (s *Snapshot) Damaged(name string) error { panic("not yet") }

// Damage lists what did not open when the snapshot was loaded.
func (s *Snapshot) Damage() []Damage { panic("not yet") }

// Policy returns the current revision, nil when there is none or when it is
// damaged (see PolicyDamaged).
func (s *Snapshot) Policy() *PolicyRevision { panic("not yet") }

// PolicyNumber is the number of the current revision, 0 for none.
func (s *Snapshot) PolicyNumber() int    { panic("not yet") }
func (s *Snapshot) PolicyDamaged() error { panic("not yet") }

// Gaps lists all gaps, closed ones too, oldest first.
func (s *Snapshot) Gaps() []Gap { panic("not yet") }

// Stops lists the open gaps that stop minting on the node.
func (s *Snapshot) Stops(node string) []Gap { panic("not yet") }

// LogHead is the head of the node's log as of its last commit.
func (s *Snapshot) LogHead(node string) (LogHead, bool) { panic("not yet") }

// ClosedLogs are the node's earlier logs and where they end.
func (s *Snapshot) ClosedLogs(node string) []LogHead { panic("not yet") }

// LastCommit is the id of the node's last commit: Tx.ID of that change.
func (s *Snapshot) LastCommit(node string) string { panic("not yet") }

// FindFingerprint finds a key version by fingerprint, whatever its state.
func (s *Snapshot) FindFingerprint(fp string) (key string, v KeyVersion, ok bool) {
	panic("not yet")
}

// Recipients lists the import recipients, those past their expiry too.
func (s *Snapshot) Recipients() []sealed.Recipient { panic("not yet") }

// Tx is a change in the making: any number of records in one commit.
type Tx struct{}

// ID is the commit's id, drawn by Begin.
func (t *Tx) ID() string { panic("not yet") }

// Snapshot is what the change is made on.
func (t *Tx) Snapshot() *Snapshot { panic("not yet") }

// Key returns a key as it will be after this change.
func (t *Tx) Key(name string) (Key, bool) { panic("not yet") }

// PutKey replaces what is known of a key, or adds one without versions.
func (t *Tx) PutKey(k Key) error { panic("not yet") }

// AddVersion adds a version to a key that is there or was put before, and seals
// its PKCS#8, whose public half must have v's fingerprint. pkcs8 stays the
// caller's to wipe.
func (t *Tx) AddVersion(name string, v KeyVersion, pkcs8 []byte) (Key, error) { panic("not yet") }

// PutPolicy adds the next revision of the policy and returns it with its number.
func (t *Tx) PutPolicy(r PolicyRevision) (PolicyRevision, error) { panic("not yet") }

// PutSystem adds or replaces a system secret (PKCS#8), for SystemSigner.
func (t *Tx) PutSystem(name string, pkcs8 []byte) error { panic("not yet") }

// PutDocument adds or replaces a document, for Document.
func (t *Tx) PutDocument(name string, data []byte) error { panic("not yet") }

// PutRecipient adds an import recipient with its private half.
func (t *Tx) PutRecipient(p *sealed.Private) error { panic("not yet") }

// DropExpiredRecipients destroys the private halves that are past their expiry,
// and returns their ids.
func (t *Tx) DropExpiredRecipients(now time.Time) ([]string, error) { panic("not yet") }

// SetLogHead sets this node's log head; only for Create's init, which has no
// Commit to say it.
func (t *Tx) SetLogHead(h LogHead) error { panic("not yet") }

// OpenGap records a gap: the commit gets a new lineage, and a revision above
// above (the highest ever seen) and its own. An empty g.ID is drawn.
func (t *Tx) OpenGap(g Gap, above uint64) (Gap, error) { panic("not yet") }

// CloseLog says where an earlier log of this node ends.
func (t *Tx) CloseLog(h LogHead) error { panic("not yet") }

// CloseGap acknowledges a gap. It may be repeated.
func (t *Tx) CloseGap(id string) error { panic("not yet") }

// NewID draws a random id, 16 characters of a-z and 2-7: for vaults, logs, gaps.
func NewID() string { panic("not yet") }
