package server

import (
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Monitor answers those who watch the server, over plain HTTP and without asking who they are: it belongs on an address
// that only they reach. It changes nothing, leaves no entries, and shows no caller, token or key, but the names of keys
// and profiles.
//
//	/metrics       Prometheus
//	/livez         200 while the process answers: restart it when it does not
//	/readyz        200 while it takes calls: from Serve to Shutdown
//	/mintz         200 while it can mint, 503 and why when it cannot: it may be ready all the same
//	/debug/pprof/  Go's profiles, for callers on this machine alone
func (s *Server) Monitor() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 20 * time.Second}))
	mux.HandleFunc("GET /livez", Live)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case s.background.Err() != nil:
			unavailable(w, "shutting down")
		case !s.serving.Load():
			unavailable(w, "starting")
		default:
			say(w, http.StatusOK, "ready")
		}
	})
	mux.HandleFunc("GET /mintz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.Ready(); err != nil {
			unavailable(w, err.Error())
			return
		}
		say(w, http.StatusOK, "can mint")
	})
	for path, profile := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc("GET "+path, local(profile))
	}
	return mux
}

// Live is what /livez says: that the process answers.
func Live(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") }

// local refuses who calls from another machine: profiles cost time, and show how the program works inside.
func local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			say(w, http.StatusForbidden, "profiles are for callers on this machine")
			return
		}
		next(w, r)
	}
}

// unavailable says why not.
func unavailable(w http.ResponseWriter, why string) { say(w, http.StatusServiceUnavailable, why) }

func say(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text + "\n")) // who asked has gone
}
