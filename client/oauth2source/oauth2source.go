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
//
// oauth2 writes "Authorization: Bearer …" and nothing else, so that tokens which Apple takes otherwise (those of APNs, of App Attest, and
// all that go into no header) are refused with client.ErrForm; client.Transport writes the former as Apple does.
func New(ctx context.Context, s *client.TokenSource) oauth2.TokenSource { return source{ctx, s} }

type source struct {
	ctx    context.Context
	source *client.TokenSource
}

// bearer is the one scheme that oauth2 can write.
const bearer = "Bearer"

// Token is the source's current token.
func (s source) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(s.ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token from Signet: %w", err)
	}
	if t.Form != client.FormHeader || t.Scheme != bearer {
		return nil, fmt.Errorf("%w: oauth2 writes Bearer before a token, and Apple does not take this one so; use client.Transport, or what its form wants", client.ErrForm)
	}
	return &oauth2.Token{AccessToken: t.Text(), TokenType: bearer, Expiry: t.Deadline()}, nil
}
