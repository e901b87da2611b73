package fakeapple

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// PushServer is APNs, the sandbox or production, over TLS and HTTP/2. It ends with the test; its Client trusts it, and keeps one
// connection open for as long as nobody closes it.
//
// Apple's rule of twenty minutes is kept in both of the ways in which it is understood: a connection that has changed its
// token cannot change it again for twenty minutes, and nobody changes to a token whose iat is not at least that much later than
// that of the token before. So a client that goes back to the token before is refused, too.
func (a *Apple) PushServer(t testing.TB, sandbox bool) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.push(w, r, sandbox) }))
	s.EnableHTTP2 = true
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, &connection{})
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// changeEvery is how often a connection may change its token.
const changeEvery = 20 * time.Minute

type connectionKey struct{}

// connection is what APNs knows of one. An Apple's lock guards it.
type connection struct {
	first   *registered // the key of the first push
	token   string      // the last that was taken
	key     *registered // of it
	iat     int64       // of it
	changed time.Time   // when a token took another's place; zero when none has
}

// pushError is how APNs refuses.
type pushError struct {
	status int
	reason string
	why    error
}

func (e *pushError) Error() string { return e.reason + ": " + e.why.Error() }

func refusePush(status int, reason, why string) error {
	return &pushError{status, reason, errors.New(why)}
}

func (a *Apple) push(w http.ResponseWriter, r *http.Request, sandbox bool) {
	conn, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || r.ProtoMajor != 2 {
		http.Error(w, "APNs is HTTP/2", http.StatusHTTPVersionNotSupported)
		return
	}
	err := a.judge(func() error { return a.checkPush(conn, r, sandbox) })
	if refusal, ok := errors.AsType[*pushError](err); ok {
		answerJSON(w, refusal.status, `{"reason":"`+refusal.reason+`"}`)
		return
	}
	w.Header().Set("Apns-Id", "EC1BF194-B3B2-424A-89A9-5A918A6E6B5E")
	w.WriteHeader(http.StatusOK)
}

func (a *Apple) checkPush(conn *connection, r *http.Request, sandbox bool) error {
	if r.Method != http.MethodPost || !strings.HasPrefix(r.URL.Path, "/3/device/") {
		return refusePush(http.StatusNotFound, "BadPath", "not a push")
	}
	compact, ok := strings.CutPrefix(r.Header.Get("Authorization"), "bearer ") // as Apple writes it
	if !ok {
		return refusePush(http.StatusForbidden, "MissingProviderToken", "no bearer token")
	}
	k, iat, err := a.providerToken(compact, APNs)
	if err != nil {
		reason := "InvalidProviderToken"
		if errors.Is(err, errTooOld) {
			reason = "ExpiredProviderToken"
		}
		return &pushError{http.StatusForbidden, reason, err}
	}
	if one := k.Sandbox != k.Production; one && k.Sandbox != sandbox {
		return refusePush(http.StatusForbidden, "BadEnvironmentKeyInToken", "the key is of the other environment")
	}
	if err := conn.binds(k); err != nil {
		return err
	}
	switch topic := r.Header.Get("Apns-Topic"); {
	case topic == "":
		return refusePush(http.StatusBadRequest, "MissingTopic", "no topic")
	case k.Topics != nil && !slices.Contains(k.Topics, topic):
		return refusePush(http.StatusBadRequest, "TopicDisallowed", "the topic is not among the key's")
	}
	return conn.shows(compact, iat, a.now(), k)
}

// binds checks a push against the connection's first one, which binds it to a team, and to one key where that has topics.
func (c *connection) binds(k *registered) error {
	f := c.first
	switch {
	case f == nil || f == k:
		return nil
	case f.Team != k.Team:
		return refusePush(http.StatusForbidden, "UnrelatedKeyIdInToken", "the connection is another team's")
	case f.Topics == nil && k.Topics == nil && f.Sandbox == k.Sandbox && f.Production == k.Production:
		return nil
	case f.Topics != nil && f.Related == k.ID:
		return nil
	default:
		return refusePush(http.StatusForbidden, "UnrelatedKeyIdInToken", "the connection is another key's")
	}
}

// shows keeps the rule of twenty minutes.
func (c *connection) shows(compact string, iat int64, now time.Time, k *registered) error {
	switch {
	case c.token == compact:
		return nil
	case c.token == "":
		c.first = k
	case !c.changed.IsZero() && now.Sub(c.changed) < changeEvery:
		return refusePush(http.StatusTooManyRequests, "TooManyProviderTokenUpdates", "the connection has changed its token less than 20 minutes ago")
	case c.key == k && iat-c.iat < int64(changeEvery/time.Second):
		return refusePush(http.StatusTooManyRequests, "TooManyProviderTokenUpdates", "the token is less than 20 minutes younger than the one before")
	default:
		c.changed = now
	}
	c.token, c.key, c.iat = compact, k, iat
	return nil
}

var errTooOld = errors.New("iat is more than an hour ago")

// providerToken checks a token of APNs, DeviceCheck or App Attest: it is an hour away from Apple's time at most.
func (a *Apple) providerToken(compact string, service Service) (*registered, int64, error) {
	t, k, err := a.portal(compact, service)
	if err != nil {
		return nil, 0, err
	}
	iat, err := t.claims.number("iat")
	switch now := a.unix(); {
	case err != nil:
		return nil, 0, err
	case iat < now-3600:
		return nil, 0, errTooOld
	case iat > now+3600:
		return nil, 0, errors.New("iat is more than an hour ahead")
	}
	return k, iat, nil
}

// deviceCheck is DeviceCheck.
func (a *Apple) deviceCheck(w http.ResponseWriter, r *http.Request) {
	compact, format := bearer(r)
	err := a.judge(func() error {
		if format != nil {
			return format
		}
		_, _, err := a.providerToken(compact, DeviceCheck)
		return err
	})
	switch {
	case format != nil:
		body(w, http.StatusBadRequest, "text/plain", "Missing or incorrectly formatted authorization token")
	case err != nil:
		body(w, http.StatusUnauthorized, "text/plain", "Unable to verify authorization token")
	default:
		answerJSON(w, http.StatusOK, `{"bit0":false,"bit1":false,"last_update_time":"2026-11"}`)
	}
}

// appAttest renews receipts. Apple's example shows the token alone in the header; whether one with Bearer before it is taken is not
// known, and here it is not.
func (a *Apple) appAttest(w http.ResponseWriter, r *http.Request) {
	if a.judge(func() error { _, _, err := a.providerToken(r.Header.Get("Authorization"), DeviceCheck); return err }) != nil {
		body(w, http.StatusUnauthorized, "text/plain", "Unable to verify the authorization token")
		return
	}
	body(w, http.StatusOK, "application/base64", "MIIB")
}

// Connections hands out clients of a PushServer that each have a connection of their own.
func Connections(s *httptest.Server, n int) (clients []*http.Client, closeAll func()) {
	var once sync.Once
	for range n {
		base, ok := s.Client().Transport.(*http.Transport)
		if !ok {
			panic("fakeapple: not a server of httptest")
		}
		clients = append(clients, &http.Client{Transport: base.Clone()})
	}
	return clients, func() {
		once.Do(func() {
			for _, c := range clients {
				c.CloseIdleConnections()
			}
		})
	}
}
