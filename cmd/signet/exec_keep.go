package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
)

// keeper keeps the current token in a file, and knows why there is none.
type keeper struct {
	source tokens
	file   string
	say    func(format string, args ...any)
	denied chan struct{} // is sent to when the token is denied, if there is room

	mu   sync.Mutex
	lost error // guarded by mu: why there is no token; nil when there is one
}

// deniedPause is how long a token that was denied is not asked for: each time is an entry in the log.
const deniedPause = time.Minute

// follow keeps each new token until ctx ends. held is the one that is kept already.
func (k *keeper) follow(ctx context.Context, held *client.Token) {
	for {
		t, err := k.source.Next(ctx, held)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = k.keep(t)
		}
		if err == nil {
			held = t
			continue
		}
		held = nil
		k.lose(err)
		pause := time.Second
		if refused(err) {
			pause = deniedPause
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// keep puts a token into the file. A reader sees the old one or the new one, whole.
func (k *keeper) keep(t *client.Token) error {
	if err := cli.Replace(k.file, []byte(t.Text()), 0o600); err != nil {
		return fmt.Errorf("keeping the token: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost != nil {
		k.say("there is a token again")
	}
	k.lost = nil
	return nil
}

// lose takes the token away. It is said once, and once more when the reason becomes another kind.
func (k *keeper) lose(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == nil || refused(k.lost) != refused(err) {
		k.say("there is no token any more, and its file is removed: %w", err)
	}
	k.lost = err
	if err := os.Remove(k.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.say("removing the token's file: %w", err)
	}
	if refused(err) {
		select {
		case k.denied <- struct{}{}:
		default:
		}
	}
}

// refused says whether an error is the server's no, and not that it could not be asked.
func refused(err error) bool {
	code := cli.Code(err)
	return code == cli.Denied || code == cli.Malformed
}

// current is the token. After a refusal it is that, until the source was allowed one again: no reader has it asked for.
func (k *keeper) current(ctx context.Context) (*client.Token, error) {
	k.mu.Lock()
	lost := k.lost
	k.mu.Unlock()
	if lost != nil && refused(lost) {
		return nil, lost
	}
	return k.source.Token(ctx)
}

// desk hands the current token out over loopback. Every local user reaches it, and so does every web page by a name of its own for
// 127.0.0.1: who asks shows the secret that only the program was given, and names the address as the program was told it.
type desk struct {
	url, auth string
	server    *http.Server
	served    chan error
}

// deskTime bounds a request; a token that has to be fetched first is given half of it.
const deskTime = 20 * time.Second

func openDesk(k *keeper) (*desk, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening on loopback: %w", err)
	}
	d := &desk{url: "http://" + l.Addr().String() + "/token", auth: "Bearer " + rand.Text(), served: make(chan error, 1)}
	d.server = &http.Server{
		Handler:           d.handler(k, l.Addr().String()),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: deskTime, IdleTimeout: deskTime,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // standard error is the program's
	}
	go func() { d.served <- d.server.Serve(l) }()
	return d, nil
}

// Close ends it, with all that is under way.
func (d *desk) Close() error {
	err := d.server.Close()
	if served := <-d.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

func (d *desk) handler(k *keeper, host string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case r.Host != host:
			http.Error(w, "this is not the address that "+envURL+" names", http.StatusMisdirectedRequest)
		case subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(d.auth)) != 1:
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "the header Authorization must be what "+envAuth+" holds", http.StatusUnauthorized)
		case r.URL.Path != "/token":
			http.Error(w, "there is only what "+envURL+" names", http.StatusNotFound)
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "only GET is answered", http.StatusMethodNotAllowed)
		default:
			answer(w, r, k)
		}
	})
}

// answer answers the current token, or why there is none.
func answer(w http.ResponseWriter, r *http.Request, k *keeper) {
	ctx, cancel := context.WithTimeout(r.Context(), deskTime/2)
	defer cancel()
	t, err := k.current(ctx)
	switch {
	case err != nil && refused(err):
		http.Error(w, err.Error(), http.StatusForbidden)
	case err != nil:
		w.Header().Set("Retry-After", "5")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case strings.Contains(r.Header.Get("Accept"), "application/json"):
		w.Header().Set("Content-Type", "application/json")
		_ = cli.JSON(w, minted(t)) // to a reader that is gone
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(t.Text()))
	}
}
