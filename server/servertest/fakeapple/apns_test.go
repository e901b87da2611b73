package fakeapple_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

var portalHeader = m{"alg": "ES256", "kid": kid}

// push sends a push and answers the status and the reason; 200 has none.
func push(t *testing.T, hc *http.Client, s *httptest.Server, authorization, topic string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/3/device/00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Apns-Topic", topic)
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Reason string }
	if len(text) > 0 {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	return resp.StatusCode, answer.Reason
}

// provider is a token of the world's key that was made d from now.
func (w *world) provider(t *testing.T, d time.Duration) string {
	t.Helper()
	return sign(t, w.key, portalHeader, m{"iss": team, "iat": w.at(d)})
}

// connection is a client with a connection of its own.
func connection(t *testing.T, s *httptest.Server) *http.Client {
	t.Helper()
	clients, closeAll := fakeapple.Connections(s, 1)
	t.Cleanup(closeAll)
	return clients[0]
}

func TestPushMalformed(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}})
	s := w.PushServer(t, false)
	refusesMalformed(t, w, portalHeader, m{"iss": team, "iat": w.at(0)}, func(token string) bool {
		status, reason := push(t, connection(t, s), s, "bearer "+token, "com.example.app")
		if status != 200 && (status != 403 || reason != "InvalidProviderToken") {
			t.Errorf("answered %d %s", status, reason)
		}
		return status == 200
	})
}

func TestPush(t *testing.T) {
	portal := func(k fakeapple.Key) fakeapple.Key {
		k.Kind, k.Services = fakeapple.Portal, []fakeapple.Service{fakeapple.APNs}
		return k
	}
	for _, tt := range []struct {
		name    string
		key     fakeapple.Key
		claims  m
		prefix  string // "bearer " when empty, none when -
		topic   string // com.example.app when empty, none when -
		sandbox bool
		status  int
		reason  string
	}{
		{"good", portal(fakeapple.Key{}), nil, "", "", false, 200, ""},
		{"in the sandbox", portal(fakeapple.Key{}), nil, "", "", true, 200, ""},
		{"an hour old", portal(fakeapple.Key{}), m{"iat": -3600}, "", "", false, 200, ""},
		{"older", portal(fakeapple.Key{}), m{"iat": -3601}, "", "", false, 403, "ExpiredProviderToken"},
		{"ahead", portal(fakeapple.Key{}), m{"iat": 3601}, "", "", false, 403, "InvalidProviderToken"},
		{"another team", portal(fakeapple.Key{}), m{"iss": "AAAAAAAAAA"}, "", "", false, 403, "InvalidProviderToken"},
		{"an exp", portal(fakeapple.Key{}), m{"exp": 1800000000}, "", "", false, 403, "InvalidProviderToken"},
		{"an aud", portal(fakeapple.Key{}), m{"aud": "apns"}, "", "", false, 403, "InvalidProviderToken"},
		{"Bearer", portal(fakeapple.Key{}), nil, "Bearer ", "", false, 403, "MissingProviderToken"},
		{"no scheme", portal(fakeapple.Key{}), nil, "-", "", false, 403, "MissingProviderToken"},
		{"another service's key", fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.DeviceCheck}}, nil, "", "", false, 403, "InvalidProviderToken"},
		{"a team key", fakeapple.Key{Kind: fakeapple.Team}, nil, "", "", false, 403, "InvalidProviderToken"},
		{"the sandbox's key in production", portal(fakeapple.Key{Sandbox: true}), nil, "", "", false, 403, "BadEnvironmentKeyInToken"},
		{"production's key in the sandbox", portal(fakeapple.Key{Production: true}), nil, "", "", true, 403, "BadEnvironmentKeyInToken"},
		{"the sandbox's key in the sandbox", portal(fakeapple.Key{Sandbox: true}), nil, "", "", true, 200, ""},
		{"a key of both", portal(fakeapple.Key{Sandbox: true, Production: true}), nil, "", "", true, 200, ""},
		{"a topic of the key", portal(fakeapple.Key{Topics: []string{"com.example.app"}}), nil, "", "", false, 200, ""},
		{"another topic", portal(fakeapple.Key{Topics: []string{"com.example.app"}}), nil, "", "com.example.other", false, 400, "TopicDisallowed"},
		{"no topic", portal(fakeapple.Key{}), nil, "", "-", false, 400, "MissingTopic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.key)
			s := w.PushServer(t, tt.sandbox)
			claims := with(m{"iss": team, "iat": 0}, tt.claims)
			if d, ok := claims["iat"].(int); ok {
				claims["iat"] = w.at(time.Duration(d) * time.Second)
			}
			prefix, topic := "bearer ", "com.example.app"
			if tt.prefix != "" {
				prefix = strings.Trim(tt.prefix, "-")
			}
			if tt.topic != "" {
				topic = strings.Trim(tt.topic, "-")
			}
			status, reason := push(t, connection(t, s), s, prefix+sign(t, w.key, portalHeader, claims), topic)
			if status != tt.status || reason != tt.reason {
				t.Errorf("answered %d %s, want %d %s: %s", status, reason, tt.status, tt.reason, w.Refusals())
			}
		})
	}
}

// TestPushConnection: HTTP/2, and nothing else.
func TestPushConnection(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}})
	s := w.PushServer(t, false)
	two := connection(t, s)
	resp, err := two.Get(s.URL + "/3/device/1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusNotFound {
		t.Errorf("a GET over HTTP/%d is answered %d", resp.ProtoMajor, resp.StatusCode)
	}
	resp, err = two.Post(s.URL+"/3/devices/1", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("another path is answered %d", resp.StatusCode)
	}
	base, _ := s.Client().Transport.(*http.Transport)
	one := base.Clone()
	one.ForceAttemptHTTP2, one.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
	defer one.CloseIdleConnections()
	resp, err = (&http.Client{Transport: one}).Get(s.URL + "/3/device/1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 1 || resp.StatusCode != http.StatusHTTPVersionNotSupported {
		t.Errorf("a GET over HTTP/%d is answered %d", resp.ProtoMajor, resp.StatusCode)
	}
}

// TestTwentyMinutes: a connection changes its token every twenty minutes at most, and never to one that is not twenty minutes younger.
func TestTwentyMinutes(t *testing.T) {
	type step struct {
		after  time.Duration // since the step before
		token  string
		status int
	}
	for _, tt := range []struct {
		name   string
		tokens map[string]time.Duration // their iat, from the beginning
		steps  []step
	}{
		{"the same for ever", map[string]time.Duration{"a": 0}, []step{{0, "a", 200}, {time.Minute, "a", 200}, {50 * time.Minute, "a", 200}}},
		{"every half hour", map[string]time.Duration{"a": 0, "b": 30 * time.Minute, "c": time.Hour},
			[]step{{0, "a", 200}, {30 * time.Minute, "b", 200}, {30 * time.Minute, "c", 200}}},
		{"a connection that begins before an edge", map[string]time.Duration{"a": -30 * time.Minute, "b": 0},
			[]step{{0, "a", 200}, {time.Second, "b", 200}, {time.Minute, "b", 200}}},
		{"twice in twenty minutes", map[string]time.Duration{"a": -50 * time.Minute, "b": -25 * time.Minute, "c": 0},
			[]step{{0, "a", 200}, {time.Second, "b", 200}, {19 * time.Minute, "c", 429}, {0, "b", 200}, {time.Minute, "c", 200}}},
		{"another one of the same time", map[string]time.Duration{"a": 0, "b": 0}, []step{{0, "a", 200}, {40 * time.Minute, "b", 429}, {0, "a", 200}}},
		{"one that is 19 minutes younger", map[string]time.Duration{"a": 0, "b": 19 * time.Minute}, []step{{0, "a", 200}, {40 * time.Minute, "b", 429}}},
		{"back to the one before", map[string]time.Duration{"a": -30 * time.Minute, "b": 0},
			[]step{{0, "a", 200}, {time.Second, "b", 200}, {time.Second, "a", 429}, {25 * time.Minute, "a", 429}, {0, "b", 200}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}})
			s := w.PushServer(t, false)
			hc := connection(t, s)
			tokens := map[string]string{}
			for name, iat := range tt.tokens {
				tokens[name] = w.provider(t, iat)
			}
			for i, step := range tt.steps {
				w.advance(step.after)
				status, reason := push(t, hc, s, "bearer "+tokens[step.token], "com.example.app")
				if status != step.status || (status == 429) != (reason == "TooManyProviderTokenUpdates") {
					t.Errorf("step %d: answered %d %s, want %d", i, status, reason, step.status)
				}
			}
		})
	}
}

// TestTwentyMinutesOfKeys: when a key is rotated the new one's token may be of any age; from then on it is the new one's that must be younger.
func TestTwentyMinutesOfKeys(t *testing.T) {
	const other = "AAAAAAAAAA"
	portal := fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}}
	w := newWorld(t, portal)
	private := newKey(t)
	portal.ID = other
	w.add(portal, private)
	s := w.PushServer(t, false)
	hc := connection(t, s)
	rotated := func(iat time.Duration) string {
		return sign(t, private, m{"alg": "ES256", "kid": other}, m{"iss": team, "iat": w.at(iat)})
	}
	for i, tt := range []struct {
		after time.Duration
		token string
		want  int
	}{
		{0, w.provider(t, 0), 200},
		{time.Second, rotated(0), 200},
		{25 * time.Minute, rotated(5 * time.Minute), 429},
		{0, rotated(20 * time.Minute), 200},
		{21 * time.Minute, w.provider(t, 0), 200},
	} {
		w.advance(tt.after)
		if status, _ := push(t, hc, s, "bearer "+tt.token, "com.example.app"); status != tt.want {
			t.Errorf("step %d: answered %d, want %d: %v", i, status, tt.want, w.Refusals())
		}
	}
}

// TestConnectionsApart: what one connection has shown is nothing to another.
func TestConnectionsApart(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}})
	s := w.PushServer(t, false)
	a, b := w.provider(t, 0), w.provider(t, 0)
	first, second := connection(t, s), connection(t, s)
	for _, tt := range []struct {
		hc    *http.Client
		token string
		want  int
	}{{first, a, 200}, {second, b, 200}, {first, b, 429}, {second, a, 429}, {first, a, 200}} {
		if status, _ := push(t, tt.hc, s, "bearer "+tt.token, "com.example.app"); status != tt.want {
			t.Errorf("answered %d, want %d", status, tt.want)
		}
	}
}

// TestConnectionBinds: the first push says what a connection is for.
func TestConnectionBinds(t *testing.T) {
	const other = "AAAAAAAAAA"
	apns := []fakeapple.Service{fakeapple.APNs}
	for _, tt := range []struct {
		name          string
		first, second fakeapple.Key
		want          string
	}{
		{"another key of the team", fakeapple.Key{}, fakeapple.Key{}, ""},
		{"another team", fakeapple.Key{}, fakeapple.Key{Team: other}, "UnrelatedKeyIdInToken"},
		{"a key of a topic after the team's", fakeapple.Key{}, fakeapple.Key{Topics: []string{"com.example.app"}}, "UnrelatedKeyIdInToken"},
		{"another environment", fakeapple.Key{}, fakeapple.Key{Production: true}, "UnrelatedKeyIdInToken"},
		{"another environment, of a key of both", fakeapple.Key{Sandbox: true, Production: true}, fakeapple.Key{Production: true}, "UnrelatedKeyIdInToken"},
		{"a related key after the team's", fakeapple.Key{Related: other}, fakeapple.Key{Topics: []string{"com.example.app"}}, "UnrelatedKeyIdInToken"},
		{"the team's key after one of a topic", fakeapple.Key{Topics: []string{"com.example.app"}}, fakeapple.Key{}, "UnrelatedKeyIdInToken"},
		{"the related key", fakeapple.Key{Topics: []string{"com.example.app"}, Related: other}, fakeapple.Key{Topics: []string{"com.example.app"}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.first.Kind, tt.first.Services = fakeapple.Portal, apns
			tt.second.Kind, tt.second.Services, tt.second.ID = fakeapple.Portal, apns, other
			w := newWorld(t, tt.first)
			private := newKey(t)
			w.add(tt.second, private)
			s := w.PushServer(t, false)
			hc := connection(t, s)
			first := w.provider(t, 0)
			if status, reason := push(t, hc, s, "bearer "+first, "com.example.app"); status != 200 {
				t.Fatalf("the first push: %d %s", status, reason)
			}
			if status, reason := push(t, hc, s, "bearer "+first, "com.example.app"); status != 200 {
				t.Errorf("the same again: %d %s", status, reason)
			}
			issuer := tt.second.Team
			if issuer == "" {
				issuer = team
			}
			_, reason := push(t, hc, s, "bearer "+sign(t, private, m{"alg": "ES256", "kid": other}, m{"iss": issuer, "iat": w.at(0)}), "com.example.app")
			if reason != tt.want {
				t.Errorf("the second push: %q, want %q", reason, tt.want)
			}
		})
	}
}

func TestDeviceCheck(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.DeviceCheck}})
	const url = "https://api.devicecheck.apple.com/v1/query_two_bits"
	const attest = "https://data.appattest.apple.com/v1/attestationData"
	good := w.provider(t, 0)
	refusesMalformed(t, w, portalHeader, m{"iss": team, "iat": w.at(0)}, func(token string) bool {
		status, _ := w.get(t, "POST", url, token)
		return status == 200
	})
	for name, tt := range map[string]struct {
		url, authorization string
		want               int
	}{
		"good":                 {url, "Bearer " + good, 200},
		"no scheme":            {url, good, 400},
		"an hour old":          {url, "Bearer " + w.provider(t, -3601*time.Second), 401},
		"attest":               {attest, good, 200},
		"attest, with Bearer":  {attest, "Bearer " + good, 401},
		"attest, an hour old":  {attest, w.provider(t, -3601*time.Second), 401},
		"attest, another team": {attest, sign(t, w.key, portalHeader, m{"iss": "AAAAAAAAAA", "iat": w.at(0)}), 401},
	} {
		if resp := w.do(t, "POST", tt.url, tt.authorization); resp.StatusCode != tt.want {
			t.Errorf("%s: answered %d, want %d", name, resp.StatusCode, tt.want)
		}
	}
}
