package vaultstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store/envelope"
)

// TransitScheme begins the URI of a KEK in Vault's transit engine: vault-transit:MOUNT/KEY.
const TransitScheme = "vault-transit:"

// ValidTransit says what is wrong with the URI of a KEK, without looking for it.
func ValidTransit(uri string) error {
	_, _, err := cutTransit(uri)
	return err
}

func cutTransit(uri string) (mount, key string, err error) {
	rest, ok := strings.CutPrefix(uri, TransitScheme)
	if !ok {
		return "", "", errTransitForm
	}
	path, err := mountPath("what "+TransitScheme+" names", rest)
	if err != nil {
		return "", "", err
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", "", errTransitForm
	}
	return path[:i], path[i+1:], nil
}

var errTransitForm = fmt.Errorf("a KEK in Vault is given as %sMOUNT/KEY", TransitScheme)

// Transit is a KEK in Vault's transit engine. It implements envelope.KEK.
//
// The key is a derived one, and the associated data is the context that it is derived by: transit binds a plain
// associated_data too, but forgets it when it rewraps. We never have it rewrap: a wrap is opened before it is believed, so the
// root key comes out anyway, and wrapping it again takes the newest version of the key and no other right in Vault. A KEK is
// asked at start and when root keys are wrapped, so it signs in for each call and keeps neither a token nor a connection.
type Transit struct {
	uri   string
	cfg   Config
	mount string
	key   string
	fit   atomic.Bool // it has been looked at
}

// NewTransit returns the KEK that uri names without asking Vault, which may be out of reach: another KEK may do. It is looked at when
// it is first used, or by Look.
func NewTransit(cfg Config, uri string) (*Transit, error) {
	mount, key, err := cutTransit(uri)
	if err != nil {
		return nil, err
	}
	return &Transit{uri: uri, cfg: cfg, mount: mount, key: key}, nil
}

// ErrUnfitKey says that a key of Vault's is no KEK.
var ErrUnfitKey = errors.New("this key of Vault cannot be a KEK")

// Look finds out, once, whether the key is there and fit to wrap: ErrUnfitKey if it is not fit. Any other error says that it
// could not be looked at.
func (t *Transit) Look(ctx context.Context) error {
	if t.fit.Load() {
		return nil
	}
	s, err := t.call(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
		return v.ReadWithContext(ctx, t.path("keys"))
	})
	if err != nil {
		return fmt.Errorf("the KEK %s: %w", t.uri, err)
	}
	if s == nil {
		return fmt.Errorf("the KEK %s: there is no such key in Vault (deploy/vault/setup.sh makes it)", t.uri)
	}
	if derived, _ := s.Data["derived"].(bool); !derived {
		return fmt.Errorf("the KEK %s: %w: it is not a derived key, and would not bind what it wraps to its vault; make another with derived=true", t.uri, ErrUnfitKey)
	}
	switch kind, _ := s.Data["type"].(string); kind {
	case "aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305":
	default:
		return fmt.Errorf("the KEK %s: %w: it does not both encrypt and authenticate; make one of type aes256-gcm96", t.uri, ErrUnfitKey)
	}
	t.fit.Store(true)
	return nil
}

func (t *Transit) path(op string) string { return t.mount + "/" + op + "/" + t.key }

// call signs in, makes a call that may be made any number of times, and forgets the token.
func (t *Transit) call(ctx context.Context, f call) (*vault.Secret, error) {
	c, err := dial(ctx, t.cfg)
	if err != nil {
		return nil, err
	}
	defer c.close()
	return c.again(ctx, f)
}

// ask sends what is to be done to op and returns the field of its answer.
func (t *Transit) ask(ctx context.Context, op string, aad []byte, data map[string]any, field string) (string, error) {
	if len(aad) == 0 {
		return "", errors.New("a key in Vault wraps nothing without associated data")
	}
	if err := t.Look(ctx); err != nil {
		return "", err
	}
	data["context"] = base64.StdEncoding.EncodeToString(aad)
	s, err := t.call(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
		return v.WriteWithContext(ctx, t.path(op), data)
	})
	if err != nil {
		return "", err
	}
	if s != nil {
		if text, ok := s.Data[field].(string); ok && text != "" {
			return text, nil
		}
	}
	return "", errors.New("vault answered without what was asked for")
}

// URI implements envelope.KEK.
func (t *Transit) URI() string { return t.uri }

// Wrap implements envelope.KEK, with the newest version of the key.
func (t *Transit) Wrap(ctx context.Context, key, aad []byte) ([]byte, error) {
	w, err := t.ask(ctx, "encrypt", aad, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(key)}, "ciphertext")
	if err != nil {
		return nil, fmt.Errorf("wrapping by %s: %w", t.uri, err)
	}
	return []byte(w), nil
}

// Unwrap implements envelope.KEK. Copies of the key in requests and answers are out of reach of wiping.
func (t *Transit) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ours(wrapped); err != nil {
		return nil, fmt.Errorf("unwrapping by %s: %w", t.uri, err)
	}
	text, err := t.ask(ctx, "decrypt", aad, map[string]any{"ciphertext": string(wrapped)}, "plaintext")
	if err != nil {
		return nil, fmt.Errorf("unwrapping by %s: %w", t.uri, notOpened(err))
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("unwrapping by %s: vault answered without what was asked for", t.uri)
	}
	return key, nil
}

// ours refuses what transit never made, which need not be asked about.
func ours(wrapped []byte) error {
	if !strings.HasPrefix(string(wrapped), "vault:v") {
		return fmt.Errorf("it is not a wrap of Vault's: %w", envelope.ErrNotOpened)
	}
	return nil
}

// notOpened tells a wrap that is not this key's work, or not for this context, from a key that could not be asked.
func notOpened(err error) error {
	if a, ok := errors.AsType[*answer](err); ok && a.Status == http.StatusBadRequest {
		for _, no := range []string{"invalid ciphertext", "message authentication failed", "unable to decrypt"} {
			if strings.Contains(a.Text, no) {
				return fmt.Errorf("%w: %w", envelope.ErrNotOpened, err)
			}
		}
	}
	return err
}
