package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestWatchdogStarves: the service manager hears nothing from a server that does not answer itself, and again from one that does.
func TestWatchdogStarves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "30000000")
	var said lockedBuffer
	m := newManager(slog.New(slog.NewTextHandler(&said, nil)))
	if m.watchdog != 30*time.Second {
		t.Fatalf("the watchdog wants to hear from us every %s", m.watchdog)
	}
	// heard is what it was sent since the last time.
	heard := func() (all string) {
		t.Helper()
		m.tell("MARK=1")
		if err := socket.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		for {
			n, err := socket.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if string(buf[:n]) == "MARK=1" {
				return all
			}
			all += string(buf[:n])
		}
	}
	dead := func(ctx context.Context) error {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > 10*time.Second {
			t.Error("a look may take for ever")
		}
		return errors.New("it hangs")
	}
	well := func(context.Context) error { return nil }
	m.beat(t.Context(), well)
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("from a server that lives: %q", got)
	}
	m.beat(t.Context(), dead)
	if got := heard(); got != "" {
		t.Errorf("from a server that hangs: %q", got)
	}
	if !strings.Contains(said.String(), "it hangs") {
		t.Errorf("the log does not say why: %s", said.String())
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	m.beat(ended, dead)
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("from a server that drains: %q", got)
	}
}

func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	var said lockedBuffer
	m := newManager(slog.New(slog.NewTextHandler(&said, nil)))
	var asked atomic.Int32
	m.watch(t.Context(), func(context.Context) error { asked.Add(1); return nil })()
	m.stopping(time.Second)
	if asked.Load() > 0 || said.String() != "" {
		t.Errorf("without a service manager: asked %d times, said %q", asked.Load(), said.String())
	}
	t.Setenv("WATCHDOG_USEC", "often")
	if m = newManager(slog.New(slog.NewTextHandler(&said, nil))); m.watchdog != 0 || !strings.Contains(said.String(), "WATCHDOG_USEC") {
		t.Errorf("a watchdog of %s: %s", m.watchdog, said.String())
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "nobody"))
	if m.tell("READY=1"); !strings.Contains(said.String(), "was not told") {
		t.Errorf("a socket of nobody's: %s", said.String())
	}
}
