package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// What a node does with what it has accepted.
func dies(ctx context.Context, n *node) error {
	go n.server.Stop()
	<-ctx.Done()
	return ctx.Err()
}

func hangs(ctx context.Context, _ *node) error {
	<-ctx.Done()
	return ctx.Err()
}

func answers(code codes.Code, reason string) func(context.Context, *node) error {
	return func(_ context.Context, n *node) error { return refusal(n.t, code, reason) }
}

// pair is two nodes and a client that sends its next mint to the first.
func pair(t *testing.T, reuse string, does func(context.Context, *node) error) (a, b *node, c *Client) {
	t.Helper()
	a, b = startNode(t, "a", true), startNode(t, "b", true)
	a.reuse, b.reuse = reuse, reuse
	c = nodes(t, a.addr, b.addr)
	settle(t, c, "ab")
	for { // in turn
		tok, err := c.Mint(t.Context(), "p", MintOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if tok.KeyID == "b" {
			break
		}
	}
	a.accepted.Store(0)
	b.accepted.Store(0)
	a.does = does
	return a, b, c
}

func TestMintGoesElsewhere(t *testing.T) {
	offer := MintOptions{Call: PromotionalOffer{ProductID: "p", OfferID: "o"}}
	fresh := MintOptions{Fresh: true}
	for _, tt := range []struct {
		name  string
		does  func(context.Context, *node) error
		reuse string
		o     MintOptions
		want  error // nil: the other one minted
	}{
		{"a gap", answers(codes.Unavailable, "GAP"), "never", offer, nil},
		{"shutting down", answers(codes.Unavailable, "SHUTTING_DOWN"), "never", fresh, nil},
		{"the log is full", answers(codes.Unavailable, "LOG_FULL"), "never", MintOptions{}, nil},
		{"a reason that is new", answers(codes.Unavailable, "NEWER_THAN_THIS"), "never", offer, nil},
		{"withheld", answers(codes.Unavailable, "WITHHELD"), "never", offer, nil},
		{"denied", answers(codes.PermissionDenied, "DENIED"), "shared", MintOptions{}, ErrDenied},
		{"too often", answers(codes.ResourceExhausted, "RATE_LIMITED"), "shared", MintOptions{}, ErrRateLimited},
		{"the key is off", answers(codes.FailedPrecondition, "KEY_DISABLED"), "shared", MintOptions{}, ErrKeyDisabled},

		{"dies, given again", dies, "per-principal", MintOptions{}, nil},
		{"dies, shared", dies, "shared", MintOptions{}, nil},
		{"dies, of a marketplace", dies, "per-principal", MintOptions{Call: Marketplace{"d"}}, nil},
		{"dies, with a scope", dies, "per-principal", MintOptions{Scope: []string{"GET /v1/apps"}}, nil},
		{"dies, never given again", dies, "never", MintOptions{}, ErrUnknown},
		{"dies, no such profile", dies, "", MintOptions{}, ErrUnknown},
		{"dies, for one use", dies, "per-principal", offer, ErrUnknown},
		{"dies, a fresh one", dies, "per-principal", fresh, ErrUnknown},
		{"takes too long, given again", answers(codes.DeadlineExceeded, "DEADLINE_EXCEEDED"), "shared", MintOptions{}, nil},
		{"takes too long, for one use", answers(codes.DeadlineExceeded, "DEADLINE_EXCEEDED"), "shared", offer, ErrUnknown},
		{"a proxy lost it, given again", answers(codes.Unavailable, ""), "shared", MintOptions{}, nil},
		{"a proxy lost it, for one use", answers(codes.Unavailable, ""), "shared", offer, ErrUnknown},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, c := pair(t, tt.reuse, tt.does)
			tok, err := c.Mint(t.Context(), "p", tt.o)
			switch {
			case tt.want == nil && (err != nil || tok.KeyID != "b"):
				t.Errorf("%v, %v", tok, err)
			case tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("error is %v", err)
			case errors.Is(err, ErrUnknown) && (errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "may have been minted and recorded") || !strings.Contains(err.Error(), "signet audit")):
				t.Errorf("error is %v", err)
			}
			n, m := a.accepted.Load(), b.accepted.Load()
			if n != 1 || (m == 1) != (tt.want == nil) || m > 1 {
				t.Errorf("accepted %d and %d times", n, m)
			}
		})
	}
}

// TestMintHangs: a server that takes a mint and says no more leaves time for the next one, and gets no mints for a while.
func TestMintHangs(t *testing.T) {
	_, b, c := pair(t, "per-principal", hangs)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	tok, err := c.Mint(ctx, "p", MintOptions{})
	if err != nil || tok.KeyID != "b" {
		t.Fatalf("%v, %v", tok, err)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 1900*time.Millisecond {
		t.Errorf("it took %s of two seconds", took)
	}
	began = time.Now()
	if mints, _ := who(t, c, 6); strings.Trim(mints, "b") != "" {
		t.Errorf("minted by %s", mints)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("what came after took %s", took)
	}

	// Where the other one fails, too, its word stands, in time.
	b.does = hangs
	ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := c.Mint(ctx, "p", MintOptions{}); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrUnknown) || ctx.Err() == nil && err == nil {
		t.Errorf("error is %v", err)
	}
}

// TestMintHangsForOneUse: what is for one use is waited for to the end, and not asked for again.
func TestMintHangsForOneUse(t *testing.T) {
	a, b, c := pair(t, "never", hangs)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := c.Mint(ctx, "p", MintOptions{Call: MapsSnapshot{Query: "z=1"}})
	if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) || a.accepted.Load() != 1 || b.accepted.Load() != 0 {
		t.Errorf("%v, accepted %d and %d times", err, a.accepted.Load(), b.accepted.Load())
	}
}

// TestMintHangsForLong: a server that was waited for to the end gets no mints for a while.
func TestMintHangsForLong(t *testing.T) {
	t.Parallel() // it waits for five seconds
	_, _, c := pair(t, "never", hangs)
	ctx, cancel := context.WithTimeout(t.Context(), patience+100*time.Millisecond)
	defer cancel()
	if _, err := c.Mint(ctx, "p", MintOptions{Fresh: true}); !errors.Is(err, ErrUnknown) {
		t.Errorf("error is %v", err)
	}
	if mints, _ := who(t, c, 6); strings.Trim(mints, "b") != "" {
		t.Errorf("minted by %s", mints)
	}
}

// TestMintAlone: with one address there is nowhere to go.
func TestMintAlone(t *testing.T) {
	a := startNode(t, "a", true)
	a.reuse = "per-principal"
	c := nodes(t, a.addr)
	a.does = answers(codes.Unavailable, "GAP")
	if _, err := c.Mint(t.Context(), "p", MintOptions{}); !errors.Is(err, ErrUnavailable) || err.Error() != "public text" {
		t.Errorf("error is %v", err)
	}
	a.does = dies
	if _, err := c.Mint(t.Context(), "p", MintOptions{}); !errors.Is(err, ErrUnknown) || a.accepted.Load() != 2 {
		t.Errorf("%v, accepted %d times", err, a.accepted.Load())
	}
	// Nobody has seen this one.
	if _, err := c.Mint(t.Context(), "p", MintOptions{Fresh: true}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
}

// TestReplyComesFirst: a server that dies once it has answered has minted once.
func TestReplyComesFirst(t *testing.T) {
	for tries := range 3 {
		a, b, c := pair(t, "never", nil)
		a.does = func(context.Context, *node) error {
			time.AfterFunc(20*time.Millisecond, a.server.Stop)
			return nil
		}
		tok, err := c.Mint(t.Context(), "p", MintOptions{Fresh: true})
		if a.accepted.Load() != 1 || b.accepted.Load() != 0 {
			t.Errorf("accepted %d and %d times", a.accepted.Load(), b.accepted.Load())
		}
		if errors.Is(err, ErrUnknown) && tries < 2 {
			continue // on a machine with no time it may die before its answer is out
		}
		if err != nil || tok.KeyID != "a" {
			t.Errorf("%v, %v", tok, err)
		}
		return
	}
}

// TestSourceGoesElsewhere: a source asks on, whatever the profile's reuse; that is what it is for.
func TestSourceGoesElsewhere(t *testing.T) {
	a, b, c := pair(t, "never", dies)
	b.does = func(context.Context, *node) error { return nil }
	s := c.TokenSource("p", TokenSourceOptions{Mint: MintOptions{Fresh: true}})
	defer s.Close()
	_, err := s.Token(t.Context())
	if !errors.Is(err, errDead) || a.accepted.Load() != 1 || b.accepted.Load() != 1 { // the node's tokens have no life
		t.Errorf("%v, accepted %d and %d times", err, a.accepted.Load(), b.accepted.Load())
	}
}

func TestChangeGoesElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name string
		does func(context.Context, *node) error
		want error // nil: the other one did it
	}{
		{"a gap", answers(codes.Unavailable, "GAP"), nil},
		{"shutting down", answers(codes.Unavailable, "SHUTTING_DOWN"), nil},
		{"the store is away", answers(codes.Unavailable, "STORE_UNAVAILABLE"), nil},
		{"the log failed, perhaps after the change", answers(codes.Unavailable, "LOG_UNAVAILABLE"), ErrUnavailable},
		{"a reason that is new", answers(codes.Unavailable, "NEWER_THAN_THIS"), ErrUnavailable},
		{"the store has not said", answers(codes.Unavailable, "OUTCOME_UNKNOWN"), ErrUnknown},
		{"takes too long", answers(codes.DeadlineExceeded, "DEADLINE_EXCEEDED"), ErrUnknown},
		{"dies", dies, ErrUnknown},
		{"a proxy lost it", answers(codes.Unavailable, ""), ErrUnknown},
		{"denied", answers(codes.PermissionDenied, "DENIED"), ErrDenied},
		{"conflict", answers(codes.Aborted, "CONFLICT"), ErrConflict},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, c := pair(t, "never", nil)
			home, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if home.GetName() == "b" {
				a, b = b, a
			}
			a.does = tt.does
			k, err := c.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "k"})
			if tt.want == nil && (err != nil || k.GetName() != b.name) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, %v", k, err)
			}
			if n, m := a.accepted.Load(), b.accepted.Load(); n != 1 || (m == 1) != (tt.want == nil) || m > 1 {
				t.Errorf("accepted %d and %d times", n, m)
			}
		})
	}
}

// TestReadGoesElsewhere: a server that is cut off from the store sends nobody who reads away, as long as another one is not. Other
// refusals are the same everywhere.
func TestReadGoesElsewhere(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reason string
		code   codes.Code
		both   bool
		want   error
	}{
		{"the store is away", "STORE_UNAVAILABLE", codes.Unavailable, false, nil},
		{"the store is away from both", "STORE_UNAVAILABLE", codes.Unavailable, true, ErrUnavailable},
		{"the log is away", "LOG_UNAVAILABLE", codes.Unavailable, false, ErrUnavailable},
		{"denied", "DENIED", codes.PermissionDenied, false, ErrDenied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := startNode(t, "a", true), startNode(t, "b", true)
			c := nodes(t, a.addr, b.addr)
			home, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if home.GetName() == "b" {
				a, b = b, a
			}
			refused := refusal(t, tt.code, tt.reason)
			a.reads.Store(&refused)
			if tt.both {
				b.reads.Store(&refused)
			}
			k, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{})
			if tt.want == nil && (err != nil || k.GetName() != b.name) || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, %v", k, err)
			}
		})
	}
}

// TestRefusedEverywhere: the last word stands where nobody can do it.
func TestRefusedEverywhere(t *testing.T) {
	a, b, c := pair(t, "never", answers(codes.Unavailable, "GAP"))
	b.does = answers(codes.Unavailable, "LOG_FULL")
	_, err := c.Mint(t.Context(), "p", MintOptions{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Reason() != "LOG_FULL" || a.accepted.Load() != 1 || b.accepted.Load() != 1 {
		t.Errorf("%v, accepted %d and %d times", err, a.accepted.Load(), b.accepted.Load())
	}
}

// TestReplicas: each address answers for itself, or says that it cannot be reached.
func TestReplicas(t *testing.T) {
	a, b := startNode(t, "a", true), startNode(t, "b", false)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	_ = l.Close()
	c := nodes(t, a.addr, b.addr, gone, a.addr)
	all := c.Replicas()
	if len(all) != 3 {
		t.Fatalf("%d replicas", len(all))
	}
	for i, want := range []string{"a", "b", ""} {
		r := all[i]
		for range 3 {
			k, err := r.GetKey(t.Context(), &signetv1.GetKeyRequest{})
			switch {
			case want != "" && (err != nil || k.GetName() != want):
				t.Errorf("%s: %v, %v", r.Address, k, err)
			case want == "" && (!errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), gone)):
				t.Errorf("%s: %v, %v", r.Address, k, err)
			}
		}
	}
	// It goes nowhere else.
	a.does, a.reuse, b.reuse = dies, "shared", "shared"
	if _, err := all[0].Mint(t.Context(), "p", MintOptions{}); !errors.Is(err, ErrUnknown) || b.accepted.Load() != 0 {
		t.Errorf("error is %v", err)
	}
	_ = all[0].Close()
	if k, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{}); err != nil || k.GetName() != "b" {
		t.Errorf("%v, %v", k, err)
	}
}

// TestEveryMethodHasAKind: whether a call may be sent twice is decided for each method, by hand.
func TestEveryMethodHasAKind(t *testing.T) {
	seen := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("signet.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				seen++
				m := s.Methods().Get(j)
				k, ok := kindOf["/"+string(s.FullName())+"/"+string(m.Name())]
				if !ok {
					t.Errorf("kindOf has no row for %s", m.FullName())
				}
				if m.IsStreamingServer() != (k == watches) {
					t.Errorf("%s is of kind %d", m.FullName(), k)
				}
			}
		}
		return true
	})
	if seen != len(kindOf) {
		t.Errorf("there are %d methods, and %d rows", seen, len(kindOf))
	}
}
