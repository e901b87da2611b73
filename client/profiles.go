package client

import (
	"context"
	"iter"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// AllProfiles are the profiles that the caller's own grants let it mint, by name, each with what a mint of it would say now. After
// an error there are no more.
func (c *Client) AllProfiles(ctx context.Context) iter.Seq2[*signetv1.Profile, error] {
	return func(yield func(*signetv1.Profile, error) bool) {
		req := &signetv1.ListProfilesRequest{PageSize: 1000}
		for {
			resp, err := c.ListProfiles(ctx, req)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, p := range resp.GetProfiles() {
				if !yield(p, nil) {
					return
				}
			}
			if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
				return
			}
		}
	}
}
