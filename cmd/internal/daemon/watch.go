package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/p8signet/signet/server"
)

// freeMetrics is where init has metrics shown: on this machine, on a port that is free when the server starts. Who scrapes
// it gives it one of its own.
const freeMetrics = "127.0.0.1:0"

// monitor shows how the server does, on an address of its own that answers from before the vault is open until after it is
// closed. A nil monitor shows nothing.
type monitor struct {
	http   *http.Server
	inside atomic.Pointer[http.Handler] // nil while the server starts
	done   chan struct{}                // closed when nothing is answered any more
}

// watch binds the address that the config has for metrics and says which it is; nil when the config has none.
func (p *program) watch(ctx context.Context, conf *config) (*monitor, error) {
	if conf.Metrics == "" {
		return nil, nil
	}
	// Whatever level is logged: with port 0 nothing else says where it is.
	handler, err := logging{Format: conf.Logging.Format}.handler(p.Stderr)
	if err != nil {
		return nil, err
	}
	logger := slog.New(handler)
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", conf.Metrics)
	if err != nil {
		return nil, fmt.Errorf("listening for who watches (metrics in the config): %w", err)
	}
	m := &monitor{done: make(chan struct{})}
	m.http = &http.Server{
		Handler:           m,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes its time
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(handler, slog.LevelWarn),
	}
	logger.InfoContext(ctx, "metrics on", slog.String("address", l.Addr().String()))
	go func() {
		defer close(m.done)
		if err := m.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.ErrorContext(ctx, "metrics are shown no more", slog.Any("error", err))
		}
	}()
	return m, nil
}

// show has the server's own monitor answer from now on.
func (m *monitor) show(s *server.Server) {
	if m != nil {
		inside := s.Monitor()
		m.inside.Store(&inside)
	}
}

// ServeHTTP answers for a server that starts, or lets it answer itself.
func (m *monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	inside := m.inside.Load()
	switch {
	case inside != nil:
		(*inside).ServeHTTP(w, r)
	case r.URL.Path == "/livez":
		server.Live(w, r)
	default:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	}
}

// close ends the listener and what it answers.
func (m *monitor) close() error {
	if m == nil {
		return nil
	}
	err := m.http.Close()
	<-m.done
	return err
}

// validMetrics is like validListen, but any free port will do.
func validMetrics(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New(`is not "host:port", such as 127.0.0.1:9464, or 127.0.0.1:0 for any free port`)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return errors.New("the port is a number from 0 to 65535")
	}
	return nil
}
