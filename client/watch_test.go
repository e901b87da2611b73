package client_test

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

const watchPolicy = `version: 1
profiles:
  release: {key: asc, app_store_connect: {}, ttl: 10m}
grants:
  - id: ci
    to: [{mtls: "spiffe://signet.test/ci/*"}]
    mint: [release]
    rate: none
`

// watched is a watch of mints that runs beside a test.
type watched struct {
	seen  chan *signetv1.StoredEntry
	ended chan error
	lost  atomic.Int64
	stop  context.CancelFunc
}

func watch(t *testing.T, c *client.Client, w client.Watch) *watched {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	beside := &watched{seen: make(chan *signetv1.StoredEntry, 10_000), ended: make(chan error, 1), stop: stop}
	t.Cleanup(stop)
	w.Lost = func(error, int) { beside.lost.Add(1) }
	go func() {
		for e, err := range c.Watched(ctx, w) {
			if err != nil {
				beside.ended <- err
				return
			}
			beside.seen <- e
		}
	}()
	return beside
}

// expect takes n entries, each of which must be the one that comes after the one before it.
func (w *watched) expect(t *testing.T, n int, last *signetv1.StoredEntry) *signetv1.StoredEntry {
	t.Helper()
	for range n {
		select {
		case e := <-w.seen:
			if last != nil && e.GetOrigin() == last.GetOrigin() && e.GetIndex() <= last.GetIndex() {
				t.Fatalf("entry %d after entry %d", e.GetIndex(), last.GetIndex())
			}
			last = e
		case err := <-w.ended:
			t.Fatalf("the watch has ended: %v", err)
		case <-time.After(30 * time.Second):
			t.Fatal("the watch says nothing")
		}
	}
	select {
	case e := <-w.seen:
		t.Fatalf("entry %d, which was seen or is not wanted", e.GetIndex())
	case <-time.After(300 * time.Millisecond):
	}
	return last
}

// TestWatched: a watch goes on over restarts, and over a gap into the next log, and misses and repeats nothing.
func TestWatched(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(watchPolicy)
	operator, ci := s.Client(servertest.OperatorID), s.Client("spiffe://signet.test/ci/1")
	mint := func() {
		t.Helper()
		if _, err := ci.Mint(t.Context(), "release", client.MintOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mint()
	w := watch(t, operator, client.Watch{Filter: &signetv1.EntryFilter{Action: "token.mint"}, From: &signetv1.EntryPlace{}})
	last := w.expect(t, 1, nil)
	mint()
	last = w.expect(t, 1, last)
	for range 2 {
		s.Restart()
		mint()
		mint()
		last = w.expect(t, 2, last)
	}

	s.Stop()
	if err := os.RemoveAll(s.LogDir()); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	var status *signetv1.Status
	var err error
	for began := time.Now(); time.Since(began) < 10*time.Second; time.Sleep(50 * time.Millisecond) {
		// The connection may wait for a moment before it is tried again: the watch has tried it while the server was away.
		if status, err = operator.GetStatus(t.Context(), &signetv1.GetStatusRequest{}); !errors.Is(err, client.ErrUnavailable) {
			break
		}
	}
	if err != nil || len(status.GetGaps()) != 1 {
		t.Fatalf("gaps %v, %v", status.GetGaps(), err)
	}
	if _, err := operator.Acknowledge(t.Context(), &signetv1.AcknowledgeRequest{Id: status.GetGaps()[0].GetId(), Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	mint()
	if e := w.expect(t, 1, last); e.GetOrigin() == last.GetOrigin() {
		t.Errorf("entry %d is of the log that was lost", e.GetIndex())
	}
	if w.lost.Load() == 0 {
		t.Error("nobody was told that the watch was interrupted")
	}
	w.stop()
	if err := <-w.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
}

// TestWatchedOverConnections: a connection lives for so long only, and a watch for longer.
func TestWatchedOverConnections(t *testing.T) {
	var age time.Duration // short only when all is set up, where no call may outlive its connection
	s := servertest.New(t, servertest.Options{Configure: func(c *server.Config) { c.Limits.ConnectionAge = age }})
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(watchPolicy)
	operator, ci := s.Client(servertest.OperatorID), s.Client("spiffe://signet.test/ci/1")
	age = 200 * time.Millisecond
	s.Restart()
	filter := &signetv1.EntryFilter{Action: "token.mint"}
	w := watch(t, operator, client.Watch{Filter: filter, From: &signetv1.EntryPlace{}})
	for began := time.Now(); w.lost.Load() < 2; time.Sleep(10 * time.Millisecond) {
		// A call may outlive the grace, a twelfth of the age: recorded, and not answered.
		if _, err := ci.Mint(t.Context(), "release", client.MintOptions{}); time.Since(began) > time.Minute || err != nil && !errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrUnknown) {
			t.Fatalf("interrupted %d times: %v", w.lost.Load(), err)
		}
	}
	var want []int64
	for want == nil {
		for e, err := range operator.Entries(t.Context(), filter, signetv1.EntryOrder_ENTRY_ORDER_OLDEST_FIRST, 1000) {
			if err != nil {
				want = nil
				break
			}
			want = append(want, e.GetIndex())
		}
	}
	for _, index := range want {
		select {
		case e := <-w.seen:
			if e.GetIndex() != index {
				t.Fatalf("entry %d, where %d is next", e.GetIndex(), index)
			}
		case err := <-w.ended:
			t.Fatalf("the watch has ended: %v", err)
		case <-time.After(time.Minute):
			t.Fatalf("entry %d does not come", index)
		}
	}
}

// TestWatchedEnds: what ends a watch for good.
func TestWatchedEnds(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(watchPolicy)
	if err := <-watch(t, s.Client("spiffe://signet.test/ci/1"), client.Watch{}).ended; !errors.Is(err, client.ErrDenied) {
		t.Errorf("who may not: %v", err)
	}
	operator := s.Client(servertest.OperatorID)
	if err := <-watch(t, operator, client.Watch{From: &signetv1.EntryPlace{Index: 1 << 40}}).ended; !errors.Is(err, client.ErrNotFound) {
		t.Errorf("from beyond the log: %v", err)
	}
	n := 0
	for range operator.Watched(t.Context(), client.Watch{From: &signetv1.EntryPlace{}}) {
		if n++; n == 2 {
			break
		}
	}
	s.Stop()
	if err := <-watch(t, operator, client.Watch{}).ended; !errors.Is(err, client.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
}
