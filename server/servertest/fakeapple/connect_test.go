package fakeapple_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

const (
	appsURL   = "https://api.appstoreconnect.apple.com/v1/apps"
	notaryURL = "https://appstoreconnect.apple.com/notary/v2/submissions"
)

var jwtHeader = m{"alg": "ES256", "kid": kid, "typ": "JWT"}

// teamClaims are a good team key's.
func (w *world) teamClaims() m {
	return m{"iss": issuer, "iat": w.at(-30 * time.Second), "exp": w.at(570 * time.Second), "aud": "appstoreconnect-v1"}
}

func TestAppStoreConnectMalformed(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team})
	refusesMalformed(t, w, jwtHeader, w.teamClaims(), func(token string) bool {
		status, text := w.get(t, "GET", appsURL, token)
		var answer struct {
			Errors []struct{ Status, Code, Title, Detail string }
		}
		if err := json.Unmarshal([]byte(text), &answer); err != nil {
			t.Fatal(err)
		}
		if status == http.StatusUnauthorized {
			if len(answer.Errors) != 1 || answer.Errors[0].Status != "401" || answer.Errors[0].Code != "NOT_AUTHORIZED" ||
				answer.Errors[0].Title != "Authentication credentials are missing or invalid." ||
				!strings.HasPrefix(answer.Errors[0].Detail, "Provide a properly configured and signed bearer token, and make sure that it has not expired.") {
				t.Errorf("the answer is %s", text)
			}
			return false
		}
		return status == http.StatusOK
	})
}

func TestAppStoreConnectClaims(t *testing.T) {
	const day = 24 * time.Hour
	scope := func(entries ...string) m { return m{"scope": entries} }
	products := "GET /v1/ciProducts"
	lasting := func(entries ...any) func(w *world) m {
		return func(w *world) m {
			return m{"exp": w.at(90 * day), "scope": entries}
		}
	}
	set := func(members m) func(*world) m { return func(*world) m { return members } }
	times := func(iat, exp time.Duration) func(*world) m {
		return func(w *world) m { return m{"iat": w.at(iat), "exp": w.at(exp)} }
	}
	for _, tt := range []struct {
		name    string
		kind    fakeapple.Kind
		change  func(*world) m
		request string // GET /v1/apps when empty
		why     string // empty: taken
	}{
		{"team", fakeapple.Team, set(nil), "", ""},
		{"enterprise audience", fakeapple.Team, set(m{"aud": "apple-developer-enterprise-v1"}), "", "aud"},
		{"aud as a list", fakeapple.Team, set(m{"aud": []string{"appstoreconnect-v1"}}), "", "aud is not a string"},
		{"no aud", fakeapple.Team, set(m{"aud": nil}), "", "aud"},
		{"no iss", fakeapple.Team, set(m{"iss": nil}), "", "iss"},
		{"another iss", fakeapple.Team, set(m{"iss": "69a6de70-03db-47e3-e053-5b8c7c11a4d1"}), "", "iss"},
		{"iss in upper case", fakeapple.Team, set(m{"iss": strings.ToUpper(issuer)}), "", "iss"},
		{"sub of a team key", fakeapple.Team, set(m{"sub": "user"}), "", "sub"},
		{"bid", fakeapple.Team, set(m{"bid": "com.example.app"}), "", "bid"},
		{"individual", fakeapple.Individual, set(m{"iss": nil, "sub": "user"}), "", ""},
		{"individual with iss", fakeapple.Individual, set(m{"sub": "user"}), "", "has an iss"},
		{"individual without sub", fakeapple.Individual, set(m{"iss": nil}), "", "sub"},
		{"individual, another sub", fakeapple.Individual, set(m{"iss": nil, "sub": "me"}), "", "sub"},
		{"individual, provisioning", fakeapple.Individual, set(m{"iss": nil, "sub": "user"}), "GET /v1/profiles", "role"},
		{"individual, one profile", fakeapple.Individual, set(m{"iss": nil, "sub": "user"}), "GET /v1/profiles/1", "role"},
		{"individual, what begins alike", fakeapple.Individual, set(m{"iss": nil, "sub": "user"}), "GET /v1/profilesOf", ""},
		{"individual, sales", fakeapple.Individual, set(m{"iss": nil, "sub": "user"}), "GET /v1/salesReports", "role"},

		{"20 minutes", fakeapple.Team, times(-30*time.Second, 1170*time.Second), "", ""},
		{"a second more", fakeapple.Team, times(-30*time.Second, 1171*time.Second), "", "longer than 20 minutes"},
		{"20 minutes from now, back-dated", fakeapple.Team, times(-time.Minute, 20*time.Minute), "", "longer than 20 minutes"},
		{"iat of now", fakeapple.Team, times(0, 20*time.Minute), "", ""},
		{"iat a second ahead", fakeapple.Team, times(time.Second, 10*time.Minute), "", "future"},
		{"expired", fakeapple.Team, times(-10*time.Minute, 0), "", "expired"},
		{"in its last second", fakeapple.Team, times(-10*time.Minute, time.Second), "", ""},
		{"exp as text", fakeapple.Team, set(m{"exp": "1795435770"}), "", "exp is not an integer"},
		{"no exp", fakeapple.Team, set(m{"exp": nil}), "", "exp is not an integer"},
		{"milliseconds", fakeapple.Team, func(w *world) m { return m{"exp": w.at(time.Minute) * 1000} }, "", "longer than 20 minutes"},

		{"scope", fakeapple.Team, set(scope("GET /v1/apps")), "", ""},
		{"one of a scope", fakeapple.Team, set(scope("GET /v1/builds", "GET /v1/apps")), "", ""},
		{"none of a scope", fakeapple.Team, set(scope("GET /v1/builds", "GET /v1/users")), "", "no entry"},
		{"scope as text", fakeapple.Team, set(m{"scope": "GET /v1/apps"}), "", "list of strings"},
		{"an empty scope", fakeapple.Team, set(scope()), "", "list of strings"},
		{"a path below", fakeapple.Team, set(scope("GET /v1/apps")), "GET /v1/apps/123", "no entry"},
		{"a path above", fakeapple.Team, set(scope("GET /v1/apps/123")), "", "no entry"},
		{"no wildcards", fakeapple.Team, set(scope("GET /v1/apps/*")), "GET /v1/apps/123", "no entry"},
		{"another method", fakeapple.Team, set(scope("GET /v1/apps")), "POST /v1/apps", "no entry"},
		{"a scope of another method", fakeapple.Team, set(scope("POST /v1/apps")), "POST /v1/apps", "no entry"},
		{"without a method", fakeapple.Team, set(scope("/v1/apps")), "", "no entry"},
		{"notary's", fakeapple.Team, set(scope("/notary/v2")), "", "no entry"},
		{"query", fakeapple.Team, set(scope("GET /v1/apps?filter[platform]=IOS")), "GET /v1/apps?filter[platform]=IOS", ""},
		{"query, encoded", fakeapple.Team, set(scope("GET /v1/apps?filter[platform]=IOS")), "GET /v1/apps?filter%5Bplatform%5D=IOS", ""},
		{"query, its value encoded", fakeapple.Team, set(scope("GET /v1/apps?filter[platform]=IOS,MAC_OS")), "GET /v1/apps?filter[platform]=IOS%2CMAC_OS", ""},
		{"query in another order", fakeapple.Team, set(scope("GET /v1/apps?a=1&b=2")), "GET /v1/apps?b=2&a=1", ""},
		{"query with what is ignored", fakeapple.Team, set(scope("GET /v1/apps?a=1&limit=5")), "GET /v1/apps?sort=-name&a=1&cursor=x&limit=2", ""},
		{"query missing", fakeapple.Team, set(scope("GET /v1/apps?a=1")), "", "no entry"},
		{"query too much", fakeapple.Team, set(scope("GET /v1/apps")), "GET /v1/apps?include=builds", "no entry"},
		{"query of another value", fakeapple.Team, set(scope("GET /v1/apps?a=1")), "GET /v1/apps?a=2", "no entry"},
		{"limit of a relationship is not ignored", fakeapple.Team, set(scope("GET /v1/apps")), "GET /v1/apps?limit[builds]=2", "no entry"},

		{"lasting", fakeapple.Team, lasting(products), "GET /v1/ciProducts", ""},
		{"lasting, several", fakeapple.Team, lasting(products, "GET /v1/ciBuildRuns/74e2b1d0-0000-4000-8000-000000000001", "GET /v1/apps/1/ciProduct?a=b"), "GET /v1/ciProducts", ""},
		{"lasting, without a scope", fakeapple.Team, func(w *world) m { return m{"exp": w.at(90 * day)} }, "GET /v1/ciProducts", "longer than 20 minutes"},
		{"lasting, one entry is not on the list", fakeapple.Team, lasting(products, "GET /v1/apps"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting, artifacts", fakeapple.Team, lasting(products, "GET /v1/ciArtifacts/1"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting, not a read", fakeapple.Team, lasting(products, "POST /v1/ciBuildRuns/1"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting, without a method", fakeapple.Team, lasting(products, "/v1/ciProducts"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting, and old", fakeapple.Team, func(w *world) m {
			return m{"iat": w.at(-100 * day), "exp": w.at(90 * day), "scope": []string{products}}
		}, "GET /v1/ciProducts", "six months"},
		{"lasting, of any id", fakeapple.Team, lasting(products, "GET /v1/ciBuildRuns/"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting, for notarization", fakeapple.Team, lasting(products, "/notary/v2"), "GET /v1/ciProducts", "an entry of its scope"},
		{"lasting too long", fakeapple.Team, func(w *world) m { return m{"exp": w.at(183 * day), "scope": []string{products}} }, "GET /v1/ciProducts", "six months"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, fakeapple.Key{Kind: tt.kind})
			method, target := "GET", "/v1/apps"
			if tt.request != "" {
				method, target, _ = strings.Cut(tt.request, " ")
			}
			token := sign(t, w.key, jwtHeader, with(w.teamClaims(), tt.change(w)))
			status, _ := w.get(t, method, "https://api.appstoreconnect.apple.com"+target, token)
			w.why(t, tt.why)
			want := http.StatusUnauthorized
			switch tt.why {
			case "":
				want = http.StatusOK
			case "role":
				want = http.StatusForbidden
			}
			if status != want {
				t.Errorf("answered %d, want %d", status, want)
			}
		})
	}
}

func TestEnterprise(t *testing.T) {
	const url = "https://api.enterprise.developer.apple.com/v1/bundleIds"
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Enterprise})
	claims := with(w.teamClaims(), m{"aud": "apple-developer-enterprise-v1", "scope": []string{"GET /v1/bundleIds"}})
	if status, _ := w.get(t, "GET", url, sign(t, w.key, jwtHeader, claims)); status != http.StatusOK {
		t.Fatalf("answered %d: %s", status, w.Refusals())
	}
	for why, change := range map[string]m{
		"aud":         {"aud": "appstoreconnect-v1"},
		"20 minutes":  {"exp": w.at(24 * time.Hour), "scope": []string{"GET /v1/ciProducts"}}, // there is no list here
		"no entry":    {"scope": []string{"GET /v1/devices"}},
		"not listed":  nil,
		"iss is not ": {"iss": nil},
	} {
		if why == "not listed" { // at App Store Connect the key is unknown
			if status, _ := w.get(t, "GET", appsURL, sign(t, w.key, jwtHeader, w.teamClaims())); status != http.StatusUnauthorized {
				t.Errorf("App Store Connect answered %d", status)
			}
			w.why(t, "kid")
			continue
		}
		if status, _ := w.get(t, "GET", url, sign(t, w.key, jwtHeader, with(claims, change))); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", why, status)
		}
		w.why(t, why)
	}
}

func TestNotary(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team})
	for name, tt := range map[string]struct {
		method string
		change m
		why    string
	}{
		"without a scope":      {"POST", nil, ""},
		"a scope":              {"POST", m{"scope": []string{"/notary/v2"}}, ""},
		"a scope, and a read":  {"GET", m{"scope": []string{"/notary/v2"}}, ""},
		"another prefix":       {"GET", m{"scope": []string{"/notary"}}, "no entry"},
		"a scope of a request": {"POST", m{"scope": []string{"GET /v1/apps"}}, "no entry"},
		"a lifetime":           {"POST", m{"exp": w.at(time.Hour)}, "20 minutes"},
		"iat ahead":            {"POST", m{"iat": w.at(time.Second)}, "future"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team})
			resp := w.do(t, tt.method, notaryURL, "Bearer "+sign(t, w.key, jwtHeader, with(w.teamClaims(), tt.change)))
			w.why(t, tt.why)
			if tt.why == "" {
				if resp.StatusCode != http.StatusOK {
					t.Errorf("answered %d", resp.StatusCode)
				}
				return
			}
			if kind := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusUnauthorized || kind != "text/plain" {
				t.Errorf("answered %d %s", resp.StatusCode, kind)
			}
		})
	}
	individual := newWorld(t, fakeapple.Key{Kind: fakeapple.Individual})
	if status, text := individual.get(t, "GET", notaryURL, sign(t, individual.key, jwtHeader, with(individual.teamClaims(), m{"iss": nil, "sub": "user"}))); status != http.StatusUnauthorized ||
		!strings.HasPrefix(text, "Unauthenticated") || !strings.Contains(text, "Request ID: ") {
		t.Errorf("an individual key: %d %s", status, text)
	}
}

// TestAuthorization: the header itself.
func TestAuthorization(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team})
	good := sign(t, w.key, jwtHeader, w.teamClaims())
	for authorization, why := range map[string]string{"": "0 Authorization", good: "not Bearer", "bearer " + good: "not Bearer", "Bearer  " + good: "header", "Basic " + good: "not Bearer"} {
		if resp := w.do(t, "GET", appsURL, authorization); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%.10q: %d", authorization, resp.StatusCode)
		}
		w.why(t, why)
	}
}

// TestRates: a key has so many requests in an hour, and each answer says how many are left.
func TestRates(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team, HourLimit: 3})
	token := func() string { return "Bearer " + sign(t, w.key, jwtHeader, w.teamClaims()) }
	for i, want := range []struct {
		status int
		rate   string
	}{{200, "user-hour-lim:3;user-hour-rem:2;"}, {200, "user-hour-lim:3;user-hour-rem:1;"}, {200, "user-hour-lim:3;user-hour-rem:0;"}, {429, "user-hour-lim:3;user-hour-rem:0;"}} {
		resp := w.do(t, "GET", appsURL, token())
		if got := resp.Header.Get("X-Rate-Limit"); resp.StatusCode != want.status || got != want.rate {
			t.Errorf("request %d: %d, %s", i, resp.StatusCode, got)
		}
		w.advance(10 * time.Minute)
	}
	// 75 minutes after the first the first two are over an hour old; the refused one never counted.
	w.advance(35 * time.Minute)
	if resp := w.do(t, "GET", appsURL, token()); resp.Header.Get("X-Rate-Limit") != "user-hour-lim:3;user-hour-rem:1;" {
		t.Errorf("an hour later: %s", resp.Header.Get("X-Rate-Limit"))
	}
	w.do(t, "GET", appsURL, token())
	if status, text := w.get(t, "GET", appsURL, token()[len("Bearer "):]); status != http.StatusTooManyRequests || !strings.Contains(text, `"code":"RATE_LIMIT_EXCEEDED"`) {
		t.Errorf("one too many: %d %s", status, text)
	}
}

// TestRolesAndRevocation: what a good token is refused for.
func TestRolesAndRevocation(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Team, May: func(method, path string) bool { return method == "GET" && path != "/v1/users" }})
	token := sign(t, w.key, jwtHeader, w.teamClaims())
	check := func(method, path string, want int, code string) {
		t.Helper()
		status, text := w.get(t, method, "https://api.appstoreconnect.apple.com"+path, token)
		if status != want || !strings.Contains(text, code) {
			t.Errorf("%s %s: %d %s, want %d %s", method, path, status, text, want, code)
		}
	}
	check("GET", "/v1/apps", 200, "data")
	check("GET", "/v1/users", 403, "FORBIDDEN_ERROR")
	check("POST", "/v1/apps", 403, "FORBIDDEN_ERROR")
	w.Stumble(2)
	check("GET", "/v1/apps", 401, "NOT_AUTHORIZED")
	check("GET", "/v1/apps", 401, "NOT_AUTHORIZED")
	check("GET", "/v1/apps", 200, "data")
	w.Revoke("AAAAAAAAAA", 403)
	check("GET", "/v1/apps", 200, "data")
	w.Revoke(kid, 403)
	check("GET", "/v1/apps", 403, "FORBIDDEN_ERROR")
	w.Revoke(kid, 401)
	check("GET", "/v1/apps", 401, "NOT_AUTHORIZED")
	w.why(t, "revoked")
	if w.Taken() != 3 {
		t.Errorf("%d were taken, want 3", w.Taken())
	}
}

func TestAppStoreServer(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.InAppPurchase})
	claims := with(w.teamClaims(), m{"bid": "com.example.app", "exp": w.at(3570 * time.Second)})
	url := "https://api.storekit.apple.com/inApps/v1/transactions/1"
	take := func(token string) bool {
		status, text := w.get(t, "GET", url, token)
		if status == http.StatusUnauthorized && strings.Contains(text, "errorCode") {
			t.Errorf("the answer has a code: %s", text)
		}
		return status == http.StatusOK
	}
	refusesMalformed(t, w, jwtHeader, claims, take)
	for why, change := range map[string]m{
		"bid":          {"bid": nil},
		"an hour":      {"exp": w.at(3571 * time.Second)},
		"future":       {"iat": w.at(time.Second)},
		"expired":      {"exp": w.at(0)},
		"iss":          {"iss": team},
		"aud":          {"aud": "promotional-offer"},
		`has "nonce"`:  {"nonce": "1"},
		"exp is not a": {"exp": nil},
	} {
		if take(sign(t, w.key, jwtHeader, with(claims, change))) {
			t.Errorf("%s: taken", why)
		}
		w.why(t, why)
	}
	if status, _ := w.get(t, "GET", appsURL, sign(t, w.key, jwtHeader, w.teamClaims())); status != http.StatusUnauthorized {
		t.Error("App Store Connect takes an In-App Purchase key")
	}
}
