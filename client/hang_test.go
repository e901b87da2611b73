package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// line is a TCP proxy before a node, which can stop forwarding: connections stay, and new ones are taken, but nothing comes through
// any more. So a server looks that was stopped, or whose network drops everything.
type line struct {
	addr   string
	listen net.Listener
	to     string
	live   sync.WaitGroup

	mu    sync.Mutex
	open  *sync.Cond
	dead  bool
	ended bool
	conns []net.Conn
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{addr: listen.Addr().String(), listen: listen, to: to}
	l.open = sync.NewCond(&l.mu)
	l.live.Go(l.serve)
	t.Cleanup(func() {
		_ = listen.Close()
		l.mu.Lock()
		l.ended = true
		for _, c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		l.open.Broadcast()
		l.live.Wait()
	})
	return l
}

func (l *line) serve() {
	for {
		near, err := l.listen.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.conns = append(l.conns, near, far)
		l.mu.Unlock()
		l.live.Go(func() { l.forward(near, far) })
		l.live.Go(func() { l.forward(far, near) })
	}
}

// forward takes what comes, also while nothing is to come through.
func (l *line) forward(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		l.mu.Lock()
		for l.dead && !l.ended {
			l.open.Wait()
		}
		l.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil && !errors.Is(err, io.EOF) || n == 0 && err != nil {
			return
		}
	}
}

// cut stops the line, or mends it.
func (l *line) cut(dead bool) {
	l.mu.Lock()
	l.dead = dead
	l.mu.Unlock()
	l.open.Broadcast()
}

// hanging is two nodes, of which a is reached by a line, and a client that reads from a.
func hanging(t *testing.T, reuse string) (a, b *node, l *line, c *Client) {
	t.Helper()
	a, b = startNode(t, "a", true), startNode(t, "b", true)
	a.reuse, b.reuse = reuse, reuse
	l = newLine(t, a.addr)
	c = nodes(t, l.addr)
	settle(t, c, "a") // so that a is there when the client of both begins
	_ = c.Close()
	for range 50 { // until it is a that reads are for: it need not be the first that is connected
		c = nodes(t, l.addr, b.addr)
		settle(t, c, "ab")
		if k, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{}); err == nil && k.GetName() == "a" {
			a.accepted.Store(0)
			b.accepted.Store(0)
			return a, b, l, c
		}
		_ = c.Close()
	}
	t.Fatal("a never was the first")
	return nil, nil, nil, nil
}

// TestReadFromHangingServer: a read goes elsewhere from a server that hangs, within half of the deadline that its caller has set; those
// after it go there at once; and the server is asked again when it goes on.
func TestReadFromHangingServer(t *testing.T) {
	t.Parallel()
	_, _, l, c := hanging(t, "shared")
	l.cut(true)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	began := time.Now()
	k, err := c.GetKey(ctx, &signetv1.GetKeyRequest{})
	if err != nil || k.GetName() != "b" {
		t.Fatalf("%v, %v", k, err)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 1900*time.Millisecond {
		t.Errorf("it took %s of two seconds", took)
	}
	began = time.Now()
	mints, rest := who(t, c, 6)
	if strings.Trim(mints, "b") != "" || strings.Trim(rest, "b") != "" {
		t.Errorf("minted by %s, the rest answered by %s", mints, rest)
	}
	if _, err := c.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "k"}); err != nil {
		t.Errorf("a change: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("what came after took %s", took)
	}
	l.cut(false)
	settle(t, c, "ab")
}

// TestReadHangsForLong: a caller without a deadline waits for a few seconds.
func TestReadHangsForLong(t *testing.T) {
	t.Parallel()
	_, _, l, c := hanging(t, "shared")
	l.cut(true)
	began := time.Now()
	k, err := c.GetKey(t.Context(), &signetv1.GetKeyRequest{})
	if err != nil || k.GetName() != "b" {
		t.Fatalf("%v, %v", k, err)
	}
	if took := time.Since(began); took > patience+2*time.Second {
		t.Errorf("it took %s", took)
	}
}

// TestHangingConnectionEnds: what is not given up ends with the connection, which pings find dead: a mint for one use and a change are
// unknown and were not asked for elsewhere; a search goes elsewhere; and the client goes on without the server until it is back.
func TestHangingConnectionEnds(t *testing.T) {
	t.Parallel()
	a, b, l, c := hanging(t, "never")
	b.able(false) // so that the mint goes to a
	settle(t, c, "a")
	a.accepted.Store(0)
	b.accepted.Store(0)
	reached := make(chan struct{}, 2)
	a.does = func(ctx context.Context, _ *node) error {
		reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	began := time.Now()
	var calls sync.WaitGroup
	calls.Go(func() {
		if _, err := c.Mint(t.Context(), "p", MintOptions{Fresh: true}); !errors.Is(err, ErrUnknown) {
			t.Errorf("a mint that may have been accepted: %v", err)
		}
	})
	calls.Go(func() {
		if _, err := c.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "k"}); !errors.Is(err, ErrUnknown) {
			t.Errorf("a change that may have been accepted: %v", err)
		}
	})
	<-reached
	<-reached
	b.able(true)
	l.cut(true)
	calls.Go(func() {
		if _, err := c.ListEntries(t.Context(), &signetv1.ListEntriesRequest{}); err == nil || !strings.Contains(err.Error(), "unknown service") {
			t.Errorf("a search did not go to b, which knows none: %v", err)
		}
	})
	calls.Wait()
	if took := time.Since(began); took > alive.Time+alive.Timeout+5*time.Second {
		t.Errorf("it took %s", took)
	}
	if n, m := a.accepted.Load(), b.accepted.Load(); n != 2 || m != 0 {
		t.Errorf("accepted %d and %d times", n, m)
	}
	a.does = nil
	began = time.Now()
	if mints, rest := who(t, c, 4); strings.Trim(mints, "b") != "" || strings.Trim(rest, "b") != "" || time.Since(began) > time.Second {
		t.Errorf("minted by %s, the rest answered by %s, in %s", mints, rest, time.Since(began))
	}
	l.cut(false)
	settle(t, c, "ab")
}
