package authority

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/store"
)

// logKeyName is the system record of a node's log key.
func logKeyName(node string) string { return "log/" + node }

// logSigner signs checkpoints and recipients with the node's log key, which stays in the store. It is a note.Signer.
type logSigner struct {
	verifier note.Verifier
	vkey     string // the verifier's key as text
	key      crypto.Signer
}

// openLogSigner lends the log key of a node.
func openLogSigner(ctx context.Context, s *store.Store, node string) (*logSigner, error) {
	key, err := s.SystemSigner(ctx, logKeyName(node))
	if errors.Is(err, store.ErrNotFound) {
		return nil, unknownNode(s.Snapshot())
	}
	if err != nil {
		return nil, fmt.Errorf("opening the log key: %w", err)
	}
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("opening the log key: it is %T, not Ed25519", key.Public())
	}
	vkey, err := note.NewEd25519VerifierKey(s.Snapshot().Vault()+"/"+node, public)
	if err != nil {
		return nil, fmt.Errorf("naming the log key: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("naming the log key: %w", err)
	}
	return &logSigner{verifier: verifier, vkey: vkey, key: key}, nil
}

// unknownNode is why nothing is opened under a name that the vault does not know.
func unknownNode(snap *store.Snapshot) error {
	return fmt.Errorf("the vault has no node of the name that the configuration gives; its nodes are %s: correct node there", strings.Join(snap.Nodes(), ", "))
}

// LogVerifier is the key that verifies a node's checkpoints, for those who check a vault without opening its log.
func LogVerifier(ctx context.Context, s *store.Store, node string) (note.Verifier, error) {
	signer, err := openLogSigner(ctx, s, node)
	if err != nil {
		return nil, err
	}
	return signer.verifier, nil
}

// Name is "<vault id>/<node>".
func (s *logSigner) Name() string { return s.verifier.Name() }

// KeyHash is the key's, as in notes.
func (s *logSigner) KeyHash() uint32 { return s.verifier.KeyHash() }

// Sign signs a note's text.
func (s *logSigner) Sign(msg []byte) ([]byte, error) { return s.key.Sign(nil, msg, crypto.Hash(0)) }

// newLogKey draws a log key, PKCS#8; the caller wipes it.
func newLogKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("drawing the log key: %w", err)
	}
	defer clear(key)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the log key: %w", err)
	}
	return pkcs8, nil
}
