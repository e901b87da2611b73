package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// manager tells the service manager (systemd, or who speaks its protocol) how the server is. Where none asked, by NOTIFY_SOCKET and
// WATCHDOG_USEC, it does nothing.
type manager struct {
	logger   *slog.Logger
	watchdog time.Duration // it wants to hear from us that often; 0: never
}

func newManager(logger *slog.Logger) *manager {
	m := &manager{logger: logger}
	var err error
	if m.watchdog, err = daemon.SdWatchdogEnabled(false); err != nil {
		logger.Warn("the service manager's WATCHDOG_USEC cannot be read: there is no watchdog", slog.Any("error", err))
	}
	return m
}

// tell only logs what fails: a server that serves does not end because nobody hears it say so.
func (m *manager) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		m.logger.Warn("the service manager was not told", slog.Any("error", err))
	}
}

func (m *manager) ready(addr net.Addr) {
	m.tell(daemon.SdNotifyReady + fmt.Sprintf("\nSTATUS=serving on %s", addr))
}

// stopping asks for the time that stopping may take, whatever the unit says.
func (m *manager) stopping(within time.Duration) {
	m.tell(daemon.SdNotifyStopping + fmt.Sprintf("\nSTATUS=calls under way may end\nEXTEND_TIMEOUT_USEC=%d", within.Microseconds()))
}

// watch lets the service manager hear from us while alive answers nil, three times as often as it wants to, until the function that
// it returns is called. When ctx has ended nobody is asked any more: stopping has a limit of its own.
func (m *manager) watch(ctx context.Context, alive func(context.Context) error) (end func()) {
	if m.watchdog == 0 {
		return func() {}
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		beat := time.NewTicker(m.watchdog / 3)
		defer beat.Stop()
		for {
			select {
			case <-over:
				return
			case <-beat.C:
				m.beat(ctx, alive)
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// beat is one look.
func (m *manager) beat(ctx context.Context, alive func(context.Context) error) {
	if ctx.Err() == nil {
		look, cancel := context.WithTimeout(ctx, m.watchdog/3)
		defer cancel()
		if err := alive(look); err != nil && ctx.Err() == nil {
			m.logger.Error("the watchdog is not fed", slog.Any("error", err))
			return
		}
	}
	m.tell(daemon.SdNotifyWatchdog)
}
