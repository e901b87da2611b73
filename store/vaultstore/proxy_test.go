package vaultstore_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/store/vaultstore"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// fate is what becomes of a request on its way through the proxy.
type fate = vaultrun.Fate

const (
	fine        = vaultrun.Fine
	lost        = vaultrun.Lost
	replyLost   = vaultrun.ReplyLost
	twice       = vaultrun.Twice
	busy        = vaultrun.Busy
	unavailable = vaultrun.Unavailable
	failedLate  = vaultrun.FailedLate
	forbidden   = vaultrun.Forbidden
	hangs       = vaultrun.Hangs
	hangsLate   = vaultrun.HangsLate
	foreign     = vaultrun.Foreign
	impostor    = vaultrun.Impostor
	late        = vaultrun.Late
)

// proxy stands between a Backend and Vault.
type proxy struct{ *vaultrun.Proxy }

func newProxy(t testing.TB) *proxy {
	t.Helper()
	p, err := vaultrun.NewProxy(theVault(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return &proxy{p}
}

// config signs in through the proxy, and is quick to give up.
func (p *proxy) config(t testing.TB) vaultstore.Config {
	cfg := config(t)
	cfg.Address, cfg.CA, cfg.Timeout = p.Address, p.CA, time.Second
	return cfg
}

func (p *proxy) set(plan func(r *http.Request) fate) { p.Plan(plan) }

// writesRoot says whether a request replaces the root.
func writesRoot(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/root")
}

// writesRegister says whether a request writes a register.
func writesRegister(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/") && strings.Contains(r.URL.Path, "/registers/")
}

// once lets the first request that match picks meet f.
func once(match func(*http.Request) bool, f fate) func(*http.Request) fate {
	done := false
	return func(r *http.Request) fate {
		if done || !match(r) {
			return fine
		}
		done = true
		return f
	}
}

func always(match func(*http.Request) bool, f fate) func(*http.Request) fate {
	return func(r *http.Request) fate {
		if match(r) {
			return f
		}
		return fine
	}
}
