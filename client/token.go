package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// MintOptions ask for less than a profile grants; the zero value asks for all of it.
type MintOptions struct {
	// TTL is the token's lifetime in whole seconds, its back-dating included; the profile's default when 0.
	TTL time.Duration
	// Scope limits the token to some of the requests that the profile grants, each "GET /v1/path?query".
	Scope []string
	// Call is what the profile's family lets a caller fill in for one token; nil for a family that has nothing of the kind. A family that
	// has a Scope has no Call.
	Call Call
	// Receipt asks for proof that the token's audit entry is in the log. Mint verifies it with the pinned log key.
	Receipt bool
	// Fresh asks for a token that is signed anew, where the server would give again one that this caller was given before.
	Fresh bool
}

// Token is a minted token, or another thing that was signed for Apple. It prints itself without its text, in every format; Text,
// Header, Authorization, PostForm and AppJSON give the text. Its times are the server's; Deadline is this machine's. It never changes,
// so that it may be shared.
type Token struct {
	text *string // a pointer, for fmt follows none that lies in a field: it calls no method of what somebody's unexported field holds
	// Form is how Apple takes it.
	Form Form
	// SHA256 of the text in lower-case hex: the token's name in the audit log.
	SHA256 string
	// KeyID is Apple's id of the key that signed it.
	KeyID string
	// Issued is its iat, a little before the time of minting.
	Issued time.Time
	// Expires is its exp, or, of what has none, when Apple takes it no longer; zero where that is never.
	Expires time.Time
	// UseUntil is when to stop using it; zero where it has no end.
	UseUntil time.Time
	// Refresh is from when on asking again gives a newer token; zero when the server does not say.
	Refresh time.Time
	// Reused says that this caller, or of a Shared token any caller, was given the same token before.
	Reused bool
	// Shared says that all callers have this very token, and change to the next one at Refresh, all at once.
	Shared bool
	// Scope are the requests that it is limited to; empty means whatever the key's role allows.
	Scope []string
	// Receipt is the verified receipt; nil unless asked for.
	Receipt *signetv1.Receipt

	// Scheme is what stands before it in the Authorization header, spelled as Apple does; empty where it stands alone. Only of FormHeader.
	Scheme string
	// Hosts are who takes it, some with their port; empty where that is not always the same. Only of FormHeader.
	Hosts []string
	// SecretField is the name of the form's field that holds it, PostURL where the form is posted. Only of FormSecret.
	SecretField, PostURL string
	// Nonce is the one in it, by which Apple takes it once; empty where there is none.
	Nonce string
	// Timestamp is the time that was signed, in Unix milliseconds. Only of FormSignature.
	Timestamp int64

	fields []*signetv1.FormField // of FormSecret, beside SecretField
	server time.Time             // the server's time when it was asked for it; zero when it does not say
	use    validity
}

// Deadline is UseUntil by the clock of this machine, whatever that shows: the time at which the token was asked for, and what was left
// of its life then. It is zero for a token that did not come from a server, and for one that has no end.
func (t Token) Deadline() time.Time { return t.use.until }

// Text is the token itself: the JSON Web Token, the signature in standard base64, or the URL.
func (t Token) Text() string {
	if t.text == nil {
		return ""
	}
	return *t.text
}

// String names the token without showing it.
func (t Token) String() string {
	if t.Expires.IsZero() {
		return fmt.Sprintf("token sha256:%s, without end", t.SHA256)
	}
	return fmt.Sprintf("token sha256:%s, expires %s", t.SHA256, t.Expires.UTC().Format(time.RFC3339))
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Format is String, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// LogValue is String.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText is String: a token does not slip into JSON by being a field of something.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Mint gets a new token for a profile. When a receipt was asked for and does not verify, the token is still returned beside the
// error, which then is ErrUnverified or ErrNoLogKey: it was minted and recorded, only the proof is missing. Where no log key is
// configured at all, ErrNoLogKey comes without a token: the server was not asked. After ErrUnknown there may be a token that nobody
// has: of several addresses none was asked for a second one, because of Fresh, of what Call asks for, or because the profile's tokens
// are never given again or nobody could say whether they are.
func (c *Client) Mint(ctx context.Context, profile string, o MintOptions) (*Token, error) {
	if o.Receipt && len(c.logs.verifiers) == 0 {
		return nil, fmt.Errorf("%w to verify a receipt with; nothing was minted", ErrNoLogKey)
	}
	req := &signetv1.MintTokenRequest{Profile: profile, Receipt: o.Receipt, Fresh: o.Fresh}
	if o.TTL != 0 {
		req.Ttl = durationpb.New(o.TTL)
	}
	if err := o.parameters(req); err != nil {
		return nil, err
	}
	asked := time.Now()
	resp, err := c.MintToken(ctx, req)
	if err != nil {
		return nil, err
	}
	t, err := c.token(resp, o.Receipt)
	if t != nil {
		t.use = validityOf(t, asked, time.Now())
	}
	return t, err
}

func (c *Client) token(resp *signetv1.MintTokenResponse, receipt bool) (*Token, error) {
	t, err := credential(resp)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(t.Text()))
	t.SHA256 = hex.EncodeToString(sum[:])
	t.KeyID, t.Scope = resp.GetKeyId(), resp.GetScope()
	t.Issued, t.Expires, t.UseUntil = when(resp.GetIssueTime()), when(resp.GetExpireTime()), when(resp.GetUseUntil())
	t.Refresh, t.server = when(resp.GetRefreshTime()), when(resp.GetServerTime())
	t.Reused, t.Shared = resp.GetReused(), resp.GetShared()
	if !receipt {
		return t, nil
	}
	if err := c.verifyReceipt(resp.GetReceipt(), t.SHA256); err != nil {
		return t, fmt.Errorf("the token's receipt: %w", err)
	}
	t.Receipt = resp.GetReceipt()
	return t, nil
}

// when is a time of the wire; zero when it is absent.
func when(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
