package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"pgregory.net/rapid"
)

// step is one thing that happens to a source.
type step struct {
	what  int
	value int
}

// TestSourceHolds does anything in any order and looks at what must hold: one flight at a time; no token after its end; after a
// refusal no token from before; a token or an error, never both; never back to an older one.
func TestSourceHolds(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := &vault{
			skew:   time.Duration(rapid.IntRange(-10000, 10000).Draw(r, "skew")) * time.Second,
			reuses: rapid.Bool().Draw(r, "reuses"),
		}
		steps := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) step {
			return step{rapid.IntRange(0, 5).Draw(r, "what"), rapid.IntRange(0, 300_000).Draw(r, "value")}
		}), 1, 80).Draw(r, "steps")
		var broken string
		bubble(t, v, func(t *testing.T, s *TokenSource) { broken = walk(t, v, s, steps) })
		if broken != "" {
			r.Fatal(broken)
		}
	})
}

func walk(t *testing.T, v *vault, s *TokenSource, steps []step) string {
	answers := []error{
		nil, nil, nil, fromGRPC(refusal(t, codes.Unavailable, "")),
		fromGRPC(refusal(t, codes.PermissionDenied, "")), fromGRPC(refusal(t, codes.FailedPrecondition, "KEY_DISABLED")),
	}
	var last *Token
	dropped := map[*Token]bool{} // given out before a refusal
	for _, step := range steps {
		ask := s.Token
		switch step.what {
		case 0:
			time.Sleep(time.Duration(step.value) * time.Millisecond)
			continue
		case 1:
			v.set(answers[step.value%len(answers)])
			continue
		case 2:
			v.mu.Lock()
			v.takes = time.Duration(step.value/100) * time.Millisecond
			v.mu.Unlock()
			continue
		case 3:
			was := last
			ask = func(ctx context.Context) (*Token, error) { return s.Fresh(ctx, was) }
		}
		tok, err := ask(t.Context())
		now := time.Now().Add(v.skew)
		switch {
		case (tok == nil) == (err == nil):
			return fmt.Sprintf("%v and %v", tok, err)
		case err != nil:
			if refuses(err) {
				dropped[last] = true
			}
			continue
		case dropped[tok]:
			return "given out after the server had refused"
		case !now.Before(tok.UseUntil.Add(time.Second)):
			return fmt.Sprintf("given out at %s, and to be used until %s", now, tok.UseUntil)
		case last != nil && tok.Issued.Before(last.Issued):
			return "it went back"
		case step.what == 3 && last != nil && tok.SHA256 == last.SHA256:
			return "fresh is the same"
		}
		last = tok
	}
	synctest.Wait()
	if n := v.most.Load(); n > 1 {
		return fmt.Sprintf("%d flights at once", n)
	}
	return ""
}
