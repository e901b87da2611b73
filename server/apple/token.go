package apple

import (
	"crypto"
	"crypto/ecdsa"
	"time"
)

// Token is a minted token. It prints and logs redacted.
type Token struct {
	Compact  string `json:"-"` // the token itself: whoever holds it can use it
	Family   Family
	IssuedAt time.Time // iat, whole seconds, UTC: BackDate before the token was made
	Expires  time.Time // exp, whole seconds, UTC
	Scope    []Scope   // sorted; nil: whatever the key's role allows
	SHA256   [32]byte  // of Compact: the token's name in the audit log
}

// UseUntil is when to stop using the token.
func (t Token) UseUntil() time.Time { panic("apple: not yet") }

// Header returns the line with which Apple's HTTP APIs take the token: "Authorization: Bearer …".
func (t Token) Header() string { return "Authorization: Bearer " + t.Compact }

// Mint signs what the Spec says, as of now.
func Mint(spec Spec, signer crypto.Signer, now time.Time) (Token, error) { panic("apple: not yet") }

// Verify checks that the compact token is one of ours and that its signature was made by the private half of pub.
func Verify(compact string, pub *ecdsa.PublicKey) error { panic("apple: not yet") }
