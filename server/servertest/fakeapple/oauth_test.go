package fakeapple_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

// post sends a form, or the same with another Content-Type, and answers the status and the error; none for what was taken.
func (w *world) post(t *testing.T, target, form string, kind ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", append(kind, "application/x-www-form-urlencoded")[0])
	resp, err := w.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if code, ok := strings.CutPrefix(string(text), `{"error":"`); ok {
		return resp.StatusCode, strings.TrimSuffix(code, `"}`)
	}
	return resp.StatusCode, ""
}

// formed is a form of these fields; those of change are others, or out when empty.
func formed(fields, change map[string]string) string {
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value)
	}
	for name, value := range change {
		if values.Set(name, value); value == "" {
			values.Del(name)
		}
	}
	return values.Encode()
}

// endpointCase is a change to a good secret or to the form around it, and how it is refused.
type endpointCase struct {
	name   string
	claims m
	form   map[string]string
	code   string // empty: taken
	why    string
}

// endpoints runs the cases against a token endpoint.
func endpoints(t *testing.T, newWorld func() *world, target, field string, header, claims m, fields map[string]string, cases []endpointCase) {
	t.Helper()
	w := newWorld()
	refusesMalformed(t, w, header, claims, func(token string) bool {
		status, code := w.post(t, target, formed(fields, map[string]string{field: token}))
		if status != http.StatusOK && (status != http.StatusBadRequest || code != "invalid_client") {
			t.Errorf("answered %d %s", status, code)
		}
		return status == http.StatusOK
	})
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			form := map[string]string{field: sign(t, w.key, header, with(claims, tt.claims))}
			for name, value := range tt.form {
				form[name] = value
			}
			status, code := w.post(t, target, formed(fields, form))
			if want := map[bool]int{true: 200, false: 400}[tt.code == ""]; status != want || code != tt.code {
				t.Errorf("answered %d %s, want %d %s", status, code, want, tt.code)
			}
			w.why(t, tt.why)
		})
	}
	t.Run("not a form", func(t *testing.T) {
		w := newWorld()
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if resp := w.do(t, method, target, ""); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s without a form is answered %d", method, resp.StatusCode)
			}
		}
		good := func() string { return formed(fields, map[string]string{field: sign(t, w.key, header, claims)}) }
		for name, form := range map[string]string{"a field twice": good() + "&more=1&more=1", "an empty field": good() + "&more="} {
			if status, code := w.post(t, target, form); status != http.StatusBadRequest || code != "invalid_request" {
				t.Errorf("%s: %d %s", name, status, code)
			}
		}
		for _, kind := range []string{"", "application/json", "multipart/form-data; boundary=a"} {
			if status, _ := w.post(t, target, good(), kind); status != http.StatusBadRequest {
				t.Errorf("a form that says it is %q is answered %d", kind, status)
			}
			w.why(t, "not a form")
		}
		status, code := w.post(t, target, "client_id=%zz")
		if status != http.StatusBadRequest || code != "invalid_client" {
			t.Errorf("a form that is not encoded: %d %s", status, code)
		}
	})
}

const day = 24 * time.Hour

func TestSignIn(t *testing.T) {
	const web = "com.example.web"
	made := func() *world {
		return newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.SignIn}, Clients: []string{web, "com.example.app"}})
	}
	w := made()
	claims := m{"iss": team, "iat": w.at(-30 * time.Second), "exp": w.at(5 * time.Minute), "aud": "https://appleid.apple.com", "sub": web}
	fields := map[string]string{"client_id": web, "grant_type": "authorization_code", "code": "c"}
	cases := []endpointCase{
		{name: "good"},
		{name: "another client", claims: m{"sub": "com.example.app"}, code: "invalid_request", why: "differ"},
		{name: "a client of nobody's", claims: m{"sub": "com.example.no"}, form: map[string]string{"client_id": "com.example.no"}, code: "invalid_client", why: "sub is no"},
		{name: "a client in upper case", claims: m{"sub": "com.Example.web"}, form: map[string]string{"client_id": "com.Example.web"}, code: "invalid_client", why: "sub is no"},
		{name: "the team before the client", claims: m{"sub": team + "." + web}, form: map[string]string{"client_id": team + "." + web}, code: "invalid_client", why: "sub is no"},
		{name: "no client_id", form: map[string]string{"client_id": ""}, code: "invalid_request", why: "missing"},
		{name: "no client_secret", form: map[string]string{"client_secret": ""}, code: "invalid_request", why: "missing"},
		{name: "aud as a list", claims: m{"aud": []string{"https://appleid.apple.com"}}, code: "invalid_client", why: "aud"},
		{name: "aud with a slash", claims: m{"aud": "https://appleid.apple.com/"}, code: "invalid_client", why: "aud"},
		{name: "another team", claims: m{"iss": "AAAAAAAAAA"}, code: "invalid_client", why: "iss"},
		{name: "expired", claims: m{"exp": w.at(0)}, code: "invalid_client", why: "expired"},
		{name: "ahead", claims: m{"iat": w.at(time.Second)}, code: "invalid_client", why: "future"},
		{name: "six months", claims: m{"exp": w.at(15_777_000 * time.Second)}},
		{name: "a second more", claims: m{"exp": w.at(15_777_001 * time.Second)}, code: "invalid_client", why: "six months"},
	}
	for _, path := range []string{"/auth/token", "/auth/revoke", "/auth/usermigrationinfo"} {
		endpoints(t, made, "https://appleid.apple.com"+path, "client_secret", portalHeader, claims, fields, cases)
	}
	other := newWorld(t, fakeapple.Key{Kind: fakeapple.Portal, Services: []fakeapple.Service{fakeapple.APNs}, Clients: []string{web}})
	if status, _ := other.post(t, "https://appleid.apple.com/auth/token", formed(fields, map[string]string{"client_secret": sign(t, other.key, portalHeader, claims)})); status != 400 {
		t.Errorf("a key of another service: %d", status)
	}
	other.why(t, "not enabled")
}

func TestAds(t *testing.T) {
	const client, account = "SEARCHADS.9703f56c-10ce-4876-8f59-e78e5e23a152", "SEARCHADS.00000000-10ce-4876-8f59-e78e5e23a152"
	made := func() *world {
		return newWorld(t, fakeapple.Key{Kind: fakeapple.Ads, Client: client, Team: account})
	}
	w := made()
	claims := m{"iss": account, "sub": client, "iat": w.at(-30 * time.Second), "exp": w.at(5 * time.Minute), "aud": "https://appleid.apple.com"}
	fields := map[string]string{"grant_type": "client_credentials", "client_id": client, "scope": "searchadsorg"}
	endpoints(t, made, "https://appleid.apple.com/auth/oauth2/token", "client_secret", portalHeader, claims, fields, []endpointCase{
		{name: "good"},
		{name: "another grant", form: map[string]string{"grant_type": "password"}, code: "invalid_request", why: "grant_type"},
		{name: "another scope", form: map[string]string{"scope": "all"}, code: "invalid_request", why: "scope"},
		{name: "another client_id", form: map[string]string{"client_id": account}, code: "invalid_client", why: "client_id"},
		{name: "another sub", claims: m{"sub": account}, code: "invalid_client", why: "sub"},
		{name: "another iss", claims: m{"iss": client}, code: "invalid_client", why: "iss"},
		{name: "aud of the endpoint", claims: m{"aud": "https://appleid.apple.com/auth/oauth2/token"}, code: "invalid_client", why: "aud"},
		{name: "aud as a list", claims: m{"aud": []string{"https://appleid.apple.com"}}, code: "invalid_client", why: "aud"},
		{name: "ahead", claims: m{"iat": w.at(time.Second)}, code: "invalid_client", why: "future"},
		{name: "expired", claims: m{"exp": w.at(-time.Second)}, code: "invalid_client", why: "expired"},
		{name: "below 180 days", claims: m{"iat": w.at(0), "exp": w.at(180*day - time.Second)}},
		{name: "180 days", claims: m{"iat": w.at(0), "exp": w.at(180 * day)}, code: "invalid_client", why: "180 days"},
	})
}

func TestSchoolBusiness(t *testing.T) {
	const target = "https://account.apple.com/auth/oauth2/token"
	for client, scope := range map[string]string{
		"BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152": "business.api",
		"SCHOOLAPI.9703f56c-10ce-4876-8f59-e78e5e23a152":   "school.api",
	} {
		made := func() *world {
			return newWorld(t, fakeapple.Key{Kind: fakeapple.SchoolBusiness, Client: client})
		}
		w := made()
		claims := m{"iss": client, "sub": client, "iat": w.at(-30 * time.Second), "exp": w.at(5 * time.Minute),
			"aud": "https://account.apple.com/auth/oauth2/v2/token", "jti": "3f0e2c1e-5d2b-4f7e-9a0a-4f1f1a2b3c4d"}
		fields := map[string]string{"grant_type": "client_credentials", "client_id": client, "scope": scope,
			"client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
		endpoints(t, made, target, "client_assertion", portalHeader, claims, fields, []endpointCase{
			{name: "good"},
			{name: "without iss", claims: m{"iss": nil}},
			{name: "another iss", claims: m{"iss": team}, code: "invalid_client", why: "iss"},
			{name: "no jti", claims: m{"jti": nil}, code: "invalid_client", why: "jti"},
			{name: "aud of the endpoint", claims: m{"aud": target}, code: "invalid_client", why: "aud"},
			{name: "another sub", claims: m{"sub": team}, code: "invalid_client", why: "sub"},
			{name: "180 days", claims: m{"iat": w.at(0), "exp": w.at(180 * day)}, code: "invalid_client", why: "180 days"},
			{name: "no type", form: map[string]string{"client_assertion_type": ""}, code: "invalid_request", why: "client_assertion_type"},
			{name: "another scope", form: map[string]string{"scope": "searchadsorg"}, code: "invalid_request", why: "scope"},
			{name: "another client", form: map[string]string{"client_id": client + "0"}, code: "invalid_client", why: "client_id"},
		})
		w = made()
		form := formed(fields, map[string]string{"client_assertion": sign(t, w.key, portalHeader, claims)})
		for i, want := range []int{200, 400} {
			if status, _ := w.post(t, target, form); status != want {
				t.Errorf("time %d: %d, want %d", i, status, want)
			}
		}
		w.why(t, "jti was used before")
	}
}
