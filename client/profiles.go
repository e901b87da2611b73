package client

import (
	"context"
	"iter"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// AllProfiles are the profiles that the caller's own grants let it mint, by name, each with what a mint of it would say now. After
// an error there are no more.
func (c *Client) AllProfiles(ctx context.Context) iter.Seq2[*signetv1.Profile, error] {
	return paged(func(token string) ([]*signetv1.Profile, string, error) {
		resp, err := c.ListProfiles(ctx, &signetv1.ListProfilesRequest{PageSize: 1000, PageToken: token})
		return resp.GetProfiles(), resp.GetNextPageToken(), err
	})
}
