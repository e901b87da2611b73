package auditlog

import (
	"encoding/hex"
	"errors"
	"time"
)

// Bounds of an entry. AppendJSON refuses what is beyond them.
const (
	MaxEntryLen = 64 << 10 // bytes of a line
	MaxTextLen  = 4 << 10  // bytes of any one string
	MaxScopeLen = 256      // entries of a scope
	MaxClaims   = 64       // claims of a principal
	MaxValues   = 16       // values that were filled in
)

// ErrEntry is wrapped by every refusal of an entry by AppendJSON or ParseEntry.
var ErrEntry = errors.New("audit entry refused")

// ErrLooksLikeKey is wrapped when text of an entry looks like a private key.
var ErrLooksLikeKey = errors.New("text looks like a private key")

// Outcome says how what an entry tells of ended.
type Outcome string

// The outcomes.
const (
	Allowed   Outcome = "allowed"
	Denied    Outcome = "denied"
	Failed    Outcome = "failed"
	Intent    Outcome = "intent"    // a change of state that begins; "done" or "failed" closes it
	Done      Outcome = "done"      // the change is durable
	Withheld  Outcome = "withheld"  // minted and recorded, then not released
	Recovered Outcome = "recovered" // closes an intent that a crash left open
	Summary   Outcome = "summary"   // stands for Count happenings that were not recorded one by one
)

// Outcomes are all of them.
func Outcomes() []Outcome {
	return []Outcome{Allowed, Denied, Failed, Intent, Done, Withheld, Recovered, Summary}
}

// Entry is entry v1 of the audit log. What is empty is left out of the line; Time, Node, Action and Outcome must be
// there. Its JSON names are the fields of a line, in this order.
type Entry struct {
	Time          time.Time  // UTC, microseconds
	ID            string     // of the request
	Node          string     // that writes
	Action        string     // such as token.mint
	Outcome       Outcome    //
	Principal     *Principal // nil: nobody was authenticated, or the node itself
	Peer          string     // address, as seen
	Profile       string     //
	Key           string     // our name of it
	Version       int        // of the key
	KeyID         string     // "kid", Apple's
	Fingerprint   string     // of the key version, "sha256:<hex>"
	Grant         string     // that decided
	Policy        string     // digest of the policy that decided, "sha256:<hex>"
	Requested     *Requested // what was asked for
	Token         *Token     // what was minted
	Reason        string     // why: of the decision, or of the failure
	Justification string     // what the caller gave as a reason
	Root          *Root      // of the store, as of this entry
	Count         int64      // happenings, for a summary
	Gap           *Gap       //
	Issued        *Issued    // a certificate
}

// Principal is who was authenticated.
type Principal struct {
	Kind        string            // such as "mtls"
	ID          string            //
	Claims      map[string]string // that matched; written in the order of their names
	Certificate string            // "sha256:<hex>" of the leaf certificate
}

// Requested is what a caller asked for.
type Requested struct {
	TTL    int64 // whole seconds
	Scope  []string
	Values map[string]string // that were filled in; written in the order of their names
}

// Token is a minted token, without the token.
type Token struct {
	Family   string
	Scope    []string
	IssuedAt int64  // "iat", Unix seconds
	Expires  int64  // "exp", Unix seconds; of what has none, when Apple takes it no longer; 0 for never
	SHA256   Sum    // of the compact token, signature or URL
	Nonce    string // that is in it, of what is used once
	Reused   bool   // delivered before
}

// Root names a revision of the store's root.
type Root struct {
	Lineage  string
	Revision uint64
	Digest   string
}

// Gap is a gap that was found or acknowledged, and the head of the log that it ended, if it ended one.
type Gap struct {
	ID   string
	Kind string // "store" or "log"
	Log  string // id of the log that ended
	Size int64  // its entries
	Hash Hash   // its tree hash
}

// Issued is a certificate that was issued.
type Issued struct {
	URI     string
	SHA256  Sum       // of the DER
	Expires time.Time // UTC
}

// Sum is a SHA-256, lower-case hexadecimal in text and JSON.
type Sum [32]byte

// String is the hexadecimal form.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// MarshalText is the hexadecimal form.
func (s Sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

// UnmarshalText parses the hexadecimal form.
func (s *Sum) UnmarshalText(text []byte) error {
	if len(text) != 64 || !isLowerHex(string(text)) {
		return errors.New("a SHA-256 is 64 lower-case hexadecimal digits")
	}
	_, err := hex.Decode(s[:], text)
	return err
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
