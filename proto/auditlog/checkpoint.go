package auditlog

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ErrCheckpoint is wrapped by every refusal of a checkpoint or receipt.
var ErrCheckpoint = errors.New("checkpoint refused")

// MaxNoteLen bounds a signed checkpoint, in bytes. There is room for the signatures of many witnesses.
const MaxNoteLen = 16 << 10

// Checkpoint is the head of a log: a C2SP tlog-checkpoint.
type Checkpoint struct {
	Origin Origin
	Size   int64
	Hash   Hash
}

// SignCheckpoint returns the checkpoint as a signed note. The signer's name must be the origin's KeyName.
func SignCheckpoint(c Checkpoint, s note.Signer) ([]byte, error) {
	if err := c.Origin.Validate(); err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	if s.Name() != c.Origin.KeyName() {
		return nil, errors.New("signing a checkpoint: the key is of another vault or node than the log")
	}
	msg, err := note.Sign(&note.Note{Text: c.text()}, s)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return msg, nil
}

func (c Checkpoint) text() string {
	return c.Origin.String() + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + c.Hash.String() + "\n"
}

// OpenCheckpoint verifies a signed note by v and parses the checkpoint in it. The key's name must be the origin's
// KeyName. Signatures of others are ignored; lines besides the three of a checkpoint are refused.
func OpenCheckpoint(msg []byte, v note.Verifier) (Checkpoint, error) {
	if len(msg) > MaxNoteLen {
		return Checkpoint{}, fmt.Errorf("%w: longer than %d bytes", ErrCheckpoint, MaxNoteLen)
	}
	n, err := note.Open(msg, note.VerifierList(v))
	if err != nil {
		if unverified := (*note.UnverifiedNoteError)(nil); errors.As(err, &unverified) {
			return Checkpoint{}, fmt.Errorf("%w: not signed by the key %s+%08x", ErrCheckpoint, v.Name(), v.KeyHash())
		}
		if invalid := (*note.InvalidSignatureError)(nil); errors.As(err, &invalid) {
			return Checkpoint{}, fmt.Errorf("%w: the signature by the key %s+%08x is not valid", ErrCheckpoint, v.Name(), v.KeyHash())
		}
		return Checkpoint{}, fmt.Errorf("%w: not a signed note", ErrCheckpoint)
	}
	// Package note passes over the unused bits of the last digit.
	if _, err := base64.StdEncoding.Strict().DecodeString(n.Sigs[0].Base64); err != nil {
		return Checkpoint{}, fmt.Errorf("%w: the signature is not written as it must be", ErrCheckpoint)
	}
	c, err := parseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	if c.Origin.KeyName() != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w: signed by the key %s, which is not the log's", ErrCheckpoint, v.Name())
	}
	return c, nil
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, errors.New("it must have exactly three lines: origin, size, hash")
	}
	origin, err := ParseOrigin(lines[0])
	if err != nil {
		return Checkpoint{}, err
	}
	p := parser{s: lines[1]}
	size := p.uint(math.MaxInt64)
	if p.err != nil || p.s != "" {
		return Checkpoint{}, errors.New("its size is not a number")
	}
	p = parser{s: `"` + lines[2] + `"`}
	hash := p.base64()
	if p.err != nil || p.s != "" {
		return Checkpoint{}, errors.New("its hash is not the base64 of 32 bytes")
	}
	if size == 0 && hash != emptyTree {
		return Checkpoint{}, errors.New("its hash is not that of an empty log")
	}
	return Checkpoint{Origin: origin, Size: int64(size), Hash: hash}, nil //nolint:gosec // bounded above
}

// GenerateKey makes a new Ed25519 note key (algorithm 1) of that name and returns the signer's key, which is secret,
// and the verifier's, as note.NewSigner and note.NewVerifier take them.
func GenerateKey(name string) (string, string, error) {
	return note.GenerateKey(rand.Reader, name)
}
