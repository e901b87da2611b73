package client

import (
	"context"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strings"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// ErrNoToken is wrapped when text is neither a token nor the hash of one. The error does not repeat it.
var ErrNoToken = errors.New("neither a token nor the SHA-256 of one")

// TokenHashes are the names that a token can have in the audit log; nobody is asked for them. text is the token, alone or in the
// header line in which Apple takes it, a signed URL, or the SHA-256 of either in hexadecimal, with sha256: before it or not.
//
// The first is the hash of the text. The others are of what it may have been before somebody changed it who wants not to be found: of
// a token one can make another that is as good without a key, for with an ECDSA signature (r, s) goes a second one, (r, n−s), and the
// last digit of its base64 has bits to spare. Of a hash there are no others.
func TokenHashes(text string) ([]auditlog.Sum, error) {
	text = strings.TrimSpace(text)
	var sum auditlog.Sum
	if sum.UnmarshalText([]byte(strings.ToLower(strings.TrimPrefix(text, "sha256:")))) == nil {
		return []auditlog.Sum{sum}, nil
	}
	if fields := strings.Fields(text); len(fields) > 1 {
		// Two families stand in their header without a scheme.
		if before := fields[len(fields)-2]; len(fields) > 3 || !strings.EqualFold(before, "Bearer") && !strings.EqualFold(before, "Authorization:") {
			return nil, ErrNoToken
		}
		text = fields[len(fields)-1]
	}
	signed, signature, ok := split(text)
	if !ok {
		return nil, ErrNoToken
	}
	sums := []auditlog.Sum{sha256.Sum256([]byte(text))}
	for _, s := range [][]byte{signature, twin(signature)} {
		other := auditlog.Sum(sha256.Sum256([]byte(signed + base64.RawURLEncoding.EncodeToString(s))))
		if s != nil && !slices.Contains(sums, other) {
			sums = append(sums, other)
		}
	}
	return sums, nil
}

// split is a token, or a URL that is signed, without its signature, and that.
func split(text string) (signed string, signature []byte, ok bool) {
	end := strings.LastIndexByte(text, '.') + 1
	if strings.HasPrefix(text, "https://") {
		const name = "&signature="
		if end = strings.LastIndex(text, name) + len(name); end < len(name) {
			return "", nil, false
		}
	} else if parts := strings.Split(text, "."); len(parts) != 3 || !isJSON(parts[0]) || !isJSON(parts[1]) {
		return "", nil, false
	}
	signature, err := base64.RawURLEncoding.DecodeString(text[end:])
	return text[:end], signature, err == nil && len(signature) > 0
}

// isJSON says whether a part of a token is JSON.
func isJSON(part string) bool {
	data, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Valid(data)
}

// twin is the other signature that verifies wherever this one does; nil if it is not one on P-256.
func twin(signature []byte) []byte {
	const half = 32
	n := elliptic.P256().Params().N
	if len(signature) != 2*half {
		return nil
	}
	s := new(big.Int).SetBytes(signature[half:])
	if s.Sign() == 0 || s.Cmp(n) >= 0 {
		return nil
	}
	other := slices.Clone(signature)
	s.Sub(n, s).FillBytes(other[half:])
	return other
}

// Trace asks who was given a token, by the first of its names that is in a log; TokenHashes makes them, so that the token stays here.
// The answer is of that name. When none is in any log that could be asked, the answer has no Token, which is no error.
func (c *Client) Trace(ctx context.Context, names []auditlog.Sum) (auditlog.Sum, *signetv1.TraceTokenResponse, error) {
	var sum auditlog.Sum
	var found *signetv1.TraceTokenResponse
	for _, sum = range names {
		var err error
		if found, err = c.TraceToken(ctx, &signetv1.TraceTokenRequest{Sha256: sum[:]}); err != nil || found.GetToken() != nil {
			return sum, found, err
		}
	}
	return sum, found, nil
}
