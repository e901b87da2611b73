// Package oauth2source lets libraries that take an oauth2.TokenSource use Signet's tokens. It is a package of its own so that who does
// not need it does not link golang.org/x/oauth2.
//
// Trust, concurrency and errors are those of client.TokenSource, which does all the work; an oauth2.Token is the plain text of a
// secret, and prints itself.
package oauth2source

import (
	"context"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/p8signet/signet/client"
)

// New adapts a source, which the caller closes. ctx bounds every wait for a token, since oauth2 has no way to hand one on.
//
// The expiry of a token is when to stop using it, by this machine's clock; oauth2.ReuseTokenSource and what oauth2.NewClient makes ask
// again ten seconds before. Nothing here repeats a request that Apple answers 401: client.Transport does.
func New(ctx context.Context, s *client.TokenSource) oauth2.TokenSource { return source{ctx, s} }

type source struct {
	ctx    context.Context
	source *client.TokenSource
}

// Token is the source's current token.
func (s source) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token from Signet: %w", err)
	}
	return &oauth2.Token{AccessToken: t.Text(), TokenType: "Bearer", Expiry: t.Deadline()}, nil
}
