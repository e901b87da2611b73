package client

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/p8signet/signet/proto/sealed"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// AllKeys are the keys that the caller may read, by name. After an error there are no more.
func (c *Client) AllKeys(ctx context.Context) iter.Seq2[*signetv1.Key, error] {
	return paged(func(token string) ([]*signetv1.Key, string, error) {
		resp, err := c.ListKeys(ctx, &signetv1.ListKeysRequest{PageSize: 1000, PageToken: token})
		return resp.GetKeys(), resp.GetNextPageToken(), err
	})
}

// Recipient gets the public key to which imports are sealed, and verifies that the vault's log key signed it. The bytes are the
// signed note, to hand to whoever seals.
func (c *Client) Recipient(ctx context.Context) (sealed.Recipient, []byte, error) {
	resp, err := c.GetRecipient(ctx, &signetv1.GetRecipientRequest{})
	if err != nil {
		return sealed.Recipient{}, nil, err
	}
	r, err := c.logs.recipient(resp.GetNote())
	return r, resp.GetNote(), err
}

// VerifyRecipient verifies a recipient note with the pinned log keys. It asks nobody, so it works where no server can be reached.
func (c Config) VerifyRecipient(msg []byte) (sealed.Recipient, error) {
	ks, err := parseLogs(c.Logs)
	if err != nil {
		return sealed.Recipient{}, err
	}
	return ks.recipient(msg)
}

func (ks logKeys) recipient(msg []byte) (sealed.Recipient, error) {
	if len(ks.verifiers) == 0 {
		return sealed.Recipient{}, fmt.Errorf("%w: logs in the config is empty", ErrNoLogKey)
	}
	// A vault has one log key for each node; any that is pinned may have signed.
	var refused error
	for _, v := range ks.verifiers {
		r, err := sealed.ParseRecipient(msg, v)
		if err == nil {
			return r, nil
		}
		if !errors.Is(err, sealed.ErrSignature) {
			return sealed.Recipient{}, fmt.Errorf("the recipient: %w", err)
		}
		refused = err
	}
	return sealed.Recipient{}, fmt.Errorf("%w: the recipient: %w", ErrUnverified, refused)
}
