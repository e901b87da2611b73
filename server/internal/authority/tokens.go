package authority

import (
	"context"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// MintRequest names a profile and may ask for less than it grants.
type MintRequest struct {
	Request
	// Profile is the profile's name.
	Profile policy.ProfileName
	// TTL is exp − iat; the profile's default when 0. It comes from apple.ParseTTL.
	TTL time.Duration
	// Scope narrows the token; nil is all that the profile grants.
	Scope []apple.Scope
	// Receipt asks for a Receipt.
	Receipt bool
}

// Minted is a token whose entry is durable.
type Minted struct {
	Token   apple.Token
	Key     policy.KeyName
	Version int
	KeyID   apple.KeyID
	// Receipt is nil unless it was asked for.
	Receipt *Receipt
}

// Receipt proves that the token's entry is in the log, without us.
type Receipt struct {
	// Origin is the log's.
	Origin string
	// Index and Leaf are the entry's place and RFC 6962 leaf hash.
	Index int64
	Leaf  auditlog.Hash
	// Entry is the stored bytes, Proof the c2sp.org/tlog-proof text over a checkpoint of the entry's own batch.
	Entry, Proof []byte
}

// Mint decides, signs, records, decides again if the state has changed, and only then releases a token.
func (t *Tokens) Mint(ctx context.Context, p policy.Principal, req MintRequest) (Minted, error) {
	panic("being written")
}
