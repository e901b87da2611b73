package authority

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/audit"
)

// Tokens mints.
type Tokens struct {
	*core
	given *given
}

// MintRequest names a profile and may ask for less than it grants.
type MintRequest struct {
	Request
	// Profile is the profile's name.
	Profile policy.ProfileName
	// TTL is exp − iat; the profile's default when 0. It comes from apple.ParseTTL.
	TTL time.Duration
	// Scope narrows the token; nil is all that the profile grants.
	Scope []apple.Scope
	// Call is what the caller fills in, of a family that has something to fill in; else nil.
	Call apple.Call
	// Receipt asks for a Receipt.
	Receipt bool
	// Fresh asks for a new token where one that the principal was given before would be given again.
	Fresh bool
}

// Minted is a token whose entry is durable.
type Minted struct {
	Token   apple.Token
	Key     policy.KeyName
	Version int
	KeyID   apple.KeyID
	// Reused says that the principal, or of a shared token anybody, was given this very token before.
	Reused bool
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

// Mint decides, signs or finds the token that the principal was given before, records, decides again if the state has
// changed, and only then releases a token.
//
// ErrDenied, ErrPrecondition (the caller's grant allows the profile, but its key is off), ErrRateLimited, and
// ErrUnavailable with the reason GAP, CLOCK, LOG_FULL, LOG_UNAVAILABLE or WITHHELD. After an error there may be an
// entry of a token, but nobody has it.
func (t *Tokens) Mint(ctx context.Context, p policy.Principal, req MintRequest) (Minted, error) {
	want := ask{
		id:      req.ID,
		want:    policy.Request{Action: policy.TokenMint, Profile: req.Profile, TTL: req.TTL, Scope: req.Scope, Call: req.Call},
		options: audit.AppendOptions{Receipt: req.Receipt},
	}
	var (
		decided *call
		minted  Minted
	)
	pos, err := t.answer(ctx, p, want, func(c *call) error {
		decided = c
		c.entry.Requested = requested(req)
		if err := t.brake(c); err != nil {
			return err
		}
		if err := t.obstacle(c.state); err != nil {
			return err
		}
		var err error
		if minted, err = t.findOrSign(ctx, c, req.Fresh); err != nil {
			return err
		}
		describe(&c.entry, c.state, minted)
		return nil
	})
	if err != nil {
		return Minted{}, err
	}
	if reusable(decided) && !minted.Reused {
		t.given.keep(givenKeyOf(decided), minted.Token)
	}
	if req.Receipt {
		if minted.Receipt, err = t.receipt(&decided.entry, pos); err != nil {
			return Minted{}, err
		}
	}
	return minted, nil
}

// findOrSign is the token of a decision: the one that was given before, or else, or when it is to be fresh, a new one. Nobody has a
// fresh token of a kind that is shared: it would be the same, and Apple minds clients that change theirs.
func (t *Tokens) findOrSign(ctx context.Context, c *call, fresh bool) (Minted, error) {
	m := Minted{Key: c.decision.Key(), Version: c.decision.Version(), KeyID: c.decision.Spec().KeyID()}
	if reusable(c) && (!fresh || c.decision.Reuse() == apple.ReuseShared) {
		if m.Token, m.Reused = t.given.find(givenKeyOf(c), t.now()); m.Reused {
			return m, nil
		}
	}
	token, err := t.sign(ctx, c)
	m.Token = token
	return m, err
}

// receipt proves that a mint's entry is at its position.
func (t *Tokens) receipt(e *auditlog.Entry, pos audit.Position) (*Receipt, error) {
	line, err := e.AppendJSON(nil)
	if err != nil {
		return nil, fmt.Errorf("encoding an entry for its receipt: %w", err)
	}
	origin := t.log.Origin()
	origin.Log = pos.Head.Log
	return &Receipt{Origin: origin.String(), Index: pos.Index, Leaf: pos.Leaf, Entry: line, Proof: pos.Receipt}, nil
}

// brake counts the mint against its grant's rate.
func (t *Tokens) brake(call *call) error {
	d := call.decision
	wait, ok := t.rates.take(d.Grant(), call.want.Principal.ID, d.Rate(), t.now())
	if ok {
		return nil
	}
	return &Error{
		Kind: ErrRateLimited, Reason: ReasonRateLimited, RetryAfter: wait,
		Public: "the grant's rate is used up; a token that is still good can be used again",
	}
}

// sign signs what the decision allows, and nothing else. The first signature of a signer is verified before its
// token goes any further.
func (t *Tokens) sign(ctx context.Context, call *call) (apple.Token, error) {
	defer t.watcher.begin(ctx, StageSign)()
	d := call.decision
	signer, err := t.store.Signer(ctx, call.state.snap, string(d.Key()), d.Version())
	if err != nil {
		return apple.Token{}, t.unsigned(call, storeError(err))
	}
	if signer.Proven() {
		token, err := apple.Mint(d.Spec(), signer, t.now())
		return token, t.unsigned(call, err)
	}
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok {
		return apple.Token{}, errors.New("the key of a token is not ECDSA")
	}
	token, err := apple.Mint(d.Spec(), proving{signer, public}, t.now())
	if err != nil {
		return apple.Token{}, t.unsigned(call, err)
	}
	switch token.Family.Use().Form {
	case apple.FormSignature, apple.FormURL: // no JWT
	default:
		if err := apple.Verify(token.Text, public); err != nil {
			return apple.Token{}, fmt.Errorf("%w: %w", errNotOwn, err)
		}
	}
	signer.SetProven()
	return token, nil
}

// errNotOwn is a damaged key or a broken signer.
var errNotOwn = errors.New("the first signature of a key version is not its own")

// proving is a signer that verifies what it signs, whatever becomes of the signature.
type proving struct {
	crypto.Signer
	public *ecdsa.PublicKey
}

// Sign signs, and verifies the signature.
func (p proving) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	sig, err := p.Signer.Sign(random, digest, opts)
	if err != nil {
		return nil, err
	}
	if !ecdsa.VerifyASN1(p.public, digest, sig) {
		return nil, errNotOwn
	}
	return sig, nil
}

// unsigned is why a decided token was not signed; nil of nil. A signer is wiped when its version is revoked, which may be a little
// sooner than the state is published that says so.
func (t *Tokens) unsigned(call *call, err error) error {
	if err == nil {
		return nil
	}
	key, _ := t.store.Snapshot().Key(string(call.decision.Key()))
	if version, ok := key.Version(call.decision.Version()); ok && version.State.Over() {
		return withheld(err)
	}
	if errors.Is(err, store.ErrClosed) {
		return shuttingDown(err)
	}
	return err
}

// requested is what the caller asked for beyond the profile.
func requested(req MintRequest) *auditlog.Requested {
	if req.TTL == 0 && req.Scope == nil && req.Call == nil {
		return nil
	}
	asked := &auditlog.Requested{TTL: int64(req.TTL / time.Second), Scope: texts(req.Scope)}
	if req.Call != nil {
		asked.Values = make(map[string]string)
		for _, v := range req.Call.Values() {
			asked.Values[v.Name] = v.Value
		}
	}
	return asked
}

// describe adds to an entry what was minted.
func describe(e *auditlog.Entry, s *state, m Minted) {
	facts, _ := s.Key(m.Key)
	e.Version = m.Version
	e.KeyID = string(m.KeyID)
	e.Fingerprint = facts.Fingerprint
	e.Token = &auditlog.Token{
		Family:   string(m.Token.Family),
		Scope:    texts(m.Token.Scope),
		IssuedAt: m.Token.IssuedAt.Unix(),
		SHA256:   m.Token.SHA256,
		Nonce:    m.Token.Nonce,
		Reused:   m.Reused,
	}
	if !m.Token.Expires.IsZero() {
		e.Token.Expires = m.Token.Expires.Unix()
	}
}

func texts[T ~string](typed []T) []string {
	if typed == nil {
		return nil
	}
	all := make([]string, len(typed))
	for i, t := range typed {
		all[i] = string(t)
	}
	return all
}
