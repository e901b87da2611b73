package fakeapple_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

func portalKey(services ...fakeapple.Service) fakeapple.Key {
	return fakeapple.Key{Kind: fakeapple.Portal, Services: services, Clients: []string{"com.example.weather"}}
}

// expiring are claims of five minutes.
func (w *world) expiring() m {
	return m{"iss": team, "iat": w.at(-30 * time.Second), "exp": w.at(5 * time.Minute)}
}

func TestMusic(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.Media))
	const url = "https://api.music.apple.com/v1/catalog/us/songs/1"
	refusesMalformed(t, w, portalHeader, w.expiring(), func(token string) bool {
		status, _ := w.get(t, "GET", url, token)
		return status == http.StatusOK
	})
	for _, tt := range []struct {
		name, origin string
		change       m
		why          string
	}{
		{"good", "", nil, ""},
		{"its origin", "https://music.example.com", m{"origin": []string{"https://example.com", "https://music.example.com"}}, ""},
		{"another origin", "https://evil.example", m{"origin": []string{"https://example.com"}}, "Origin"},
		{"no origin", "", m{"origin": []string{"https://example.com"}}, "Origin"},
		{"no patterns", "https://a.example.com", m{"origin": []string{"https://*.example.com"}}, "Origin"},
		{"origin as text", "https://example.com", m{"origin": "https://example.com"}, "list of strings"},
		{"six months", "", m{"exp": w.at(15_777_000 * time.Second)}, ""},
		{"a second more", "", m{"exp": w.at(15_777_001 * time.Second)}, "six months"},
		{"expired", "", m{"exp": w.at(0)}, "expired"},
		{"an id", "", m{"sub": "x"}, "sub"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, portalKey(fakeapple.Media))
			status, _ := w.get(t, "GET", url, sign(t, w.key, portalHeader, with(w.expiring(), tt.change)), "Origin", tt.origin)
			w.why(t, tt.why)
			if (status == http.StatusOK) != (tt.why == "") || status != http.StatusOK && status != http.StatusUnauthorized {
				t.Errorf("answered %d", status)
			}
		})
	}
}

func TestMaps(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.Maps))
	const url = "https://maps-api.apple.com/v1/token"
	claims := with(w.expiring(), m{"scope": "server_api"})
	refusesMalformed(t, w, jwtHeader, claims, func(token string) bool {
		status, _ := w.get(t, "GET", url, token)
		return status == http.StatusOK
	})
	for why, change := range map[string]m{
		"scope is not a string": {"scope": []string{"server_api"}},
		"does not list":         {"scope": "server_api everything"},
		"origin is not a":       {"scope": "server_api mapkit_js"},
		"no server_api":         {"scope": "mapkit_js", "origin": "example.com"},
		"has an origin":         {"origin": "example.com"},
		"scope is not a":        {"scope": nil},
		"expired":               {"exp": w.at(0)},
	} {
		if status, _ := w.get(t, "GET", url, sign(t, w.key, jwtHeader, with(claims, change))); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", why, status)
		}
		w.why(t, why)
	}

	_, text := w.get(t, "GET", url, sign(t, w.key, jwtHeader, claims))
	var answer struct {
		AccessToken      string
		ExpiresInSeconds int
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.ExpiresInSeconds != 1800 {
		t.Fatalf("%s, %v", text, err)
	}
	const geocode = "https://maps-api.apple.com/v1/geocode?q=1"
	for token, want := range map[string]int{answer.AccessToken: 200, sign(t, w.key, jwtHeader, claims): 401} {
		if status, _ := w.get(t, "GET", geocode, token); status != want {
			t.Errorf("answered %d, want %d", status, want)
		}
	}
	w.advance(30 * time.Minute)
	if status, _ := w.get(t, "GET", geocode, answer.AccessToken); status != 401 {
		t.Errorf("half an hour later: %d", status)
	}
}

func TestMapKit(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.Maps))
	claims := with(w.expiring(), m{"scope": "mapkit_js embed_api", "origin": "example.com,*.example.com,https://maps.example"})
	for _, tt := range []struct {
		change      m
		scope, host string
		why         string
	}{
		{nil, "mapkit_js", "example.com", ""},
		{nil, "embed_api", "www.example.com", ""},
		{nil, "embed_api", "maps.example", ""},
		{nil, "web_snapshots", "example.com", "scope"},
		{nil, "mapkit_js", "example.org", "host"},
		{m{"origin": nil}, "mapkit_js", "example.com", "origin"},
		{m{"origin": []string{"example.com"}}, "mapkit_js", "example.com", "origin"},
		{m{"scope": []string{"mapkit_js"}}, "mapkit_js", "example.com", "scope"},
		{m{"scope": "mapkit_js,embed_api"}, "mapkit_js", "example.com", "does not list"},
	} {
		w.Apple = fakeapple.New(w.clock)
		w.add(portalKey(fakeapple.Maps), w.key)
		if err := w.MapKit(sign(t, w.key, jwtHeader, with(claims, tt.change)), tt.scope, tt.host); (err == nil) != (tt.why == "") {
			t.Errorf("%v on %s: %v", tt.scope, tt.host, err)
		}
		w.why(t, tt.why)
	}
}

func TestSnapshot(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.Maps))
	const path = "/api/v1/snapshot?center=37.33%2C-122.0&z=12&teamId=" + team + "&keyId=" + kid
	const noCenter = "/api/v1/snapshot?z=12&teamId=" + team + "&keyId=" + kid
	b64 := func(signature []byte) string { return base64.RawURLEncoding.EncodeToString(signature) }
	sig := b64(raw(t, w.key, path))
	for name, tt := range map[string]struct{ target, why string }{
		"good":              {path + "&signature=" + sig, ""},
		"not the last":      {path + "&signature=" + sig + "&scale=2", "last"},
		"another parameter": {strings.Replace(path, "z=12", "z=13", 1) + "&signature=" + sig, "verify"},
		"DER":               {path + "&signature=" + b64(der(t, w.key, path)), "64 bytes"},
		"another key":       {path + "&signature=" + b64(raw(t, newKey(t), path)), "verify"},
		"none":              {path, "missing"},
		"another team":      {strings.Replace(path, team, "AAAAAAAAAA", 1) + "&signature=" + sig, "teamId"},
		"no center":         {noCenter + "&signature=" + b64(raw(t, w.key, noCenter)), "center"},
		"another path":      {"/api/v2/snapshot?x&signature=" + sig, "path"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{Apple: fakeapple.New(w.clock), key: w.key}
			w.add(portalKey(fakeapple.Maps), w.key)
			resp := w.do(t, "GET", "https://snapshot.apple-mapkit.com"+tt.target, "")
			w.why(t, tt.why)
			if (resp.StatusCode == 200) != (tt.why == "") || resp.StatusCode != 200 && resp.StatusCode != 401 {
				t.Errorf("answered %d", resp.StatusCode)
			}
		})
	}
}

func TestWeather(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.Weather))
	const url = "https://weatherkit.apple.com/api/v1/weather/en/37/122"
	header := m{"alg": "ES256", "kid": kid, "id": team + ".com.example.weather"}
	claims := with(w.expiring(), m{"sub": "com.example.weather"})
	refusesMalformed(t, w, header, claims, func(token string) bool {
		status, text := w.get(t, "GET", url, token)
		if status != http.StatusOK && (status != http.StatusUnauthorized || text != `{"reason":"NOT_ENABLED"}`) {
			t.Errorf("answered %d %s", status, text)
		}
		return status == http.StatusOK
	})
	for why, change := range map[string]struct{ header, claims m }{
		"id is not a string":         {header: m{"id": nil}},
		"id is not the expected":     {header: m{"id": "com.example.weather"}},
		"sub is not a string":        {claims: m{"sub": nil}},
		"sub is no Services ID":      {claims: m{"sub": "com.example.other"}},
		"expired":                    {claims: m{"exp": w.at(0)}},
		`the token has "aud", which`: {claims: m{"aud": "weatherkit"}},
		"iss":                        {claims: m{"iss": "AAAAAAAAAA"}},
	} {
		if status, _ := w.get(t, "GET", url, sign(t, w.key, with(header, change.header), with(claims, change.claims))); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", why, status)
		}
		w.why(t, why)
	}
	media := newWorld(t, portalKey(fakeapple.Media))
	media.get(t, "GET", "https://api.music.apple.com/v1/x", sign(t, media.key, header, media.expiring()))
	media.why(t, "id")
}

func TestClassKit(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.ClassKit))
	refusesMalformed(t, w, jwtHeader, w.expiring(), func(token string) bool { return w.ClassKit(token) == nil })
	if err := w.ClassKit(sign(t, w.key, jwtHeader, with(w.expiring(), m{"exp": w.at(0)}))); err == nil {
		t.Error("an expired one is taken")
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t, portalKey(fakeapple.IWork))
	claims := with(w.expiring(), m{"encoded_filename": "YS5wYWdlcw", "export_format": "com.adobe.pdf"})
	refusesMalformed(t, w, portalHeader, claims, func(token string) bool { return w.Export(token) == nil })
	for why, change := range map[string]m{
		"encoded_filename is not base64url": {"encoded_filename": "a.pages"},
		"encoded_filename is not a":         {"encoded_filename": nil},
		"export_format":                     {"export_format": "pdf"},
		"expired":                           {"iat": w.at(-4*time.Hour - time.Second), "exp": w.at(time.Hour)},
	} {
		if err := w.Export(sign(t, w.key, portalHeader, with(claims, change))); err == nil {
			t.Errorf("%s: taken", why)
		}
		w.why(t, why)
	}
	twice := sign(t, w.key, portalHeader, claims)
	if err := w.Export(twice); err != nil {
		t.Error(err)
	}
	if err := w.Export(twice); err == nil {
		t.Error("taken twice")
	}
}

func TestTransfer(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.Marketplace, App: "1234567890"})
	header := m{"alg": "ES256", "typ": "JWT"}
	claims := m{"iss": "1234567890", "iat": w.at(-30 * time.Second), "exp": w.at(day), "aud": "appstoreconnect-v1", "pid": "dev-1"}
	refusesMalformed(t, w, header, claims, func(token string) bool { return w.Transfer(token, "dev-1") == nil })
	for why, change := range map[string]struct{ header, claims m }{
		"kid":        {header: m{"kid": kid}},
		"iss is no":  {claims: m{"iss": "1"}},
		"seven days": {claims: m{"exp": w.at(7 * day)}},
		"aud":        {claims: m{"aud": []string{"appstoreconnect-v1"}}},
		"pid":        {claims: m{"pid": "dev-2"}},
		"expired":    {claims: m{"exp": w.at(0)}},
	} {
		if err := w.Transfer(sign(t, w.key, with(header, change.header), with(claims, change.claims)), "dev-1"); err == nil {
			t.Errorf("%s: taken", why)
		}
		w.why(t, why)
	}
	w.add(fakeapple.Key{Kind: fakeapple.Portal, App: "2"}, w.key)
	if err := w.Transfer(sign(t, w.key, header, with(claims, m{"iss": "2"})), "dev-1"); err == nil {
		t.Error("a key of another kind is taken for the marketplace's")
	}
	w.Revoke("", 401)
	if err := w.Transfer(sign(t, w.key, header, claims), "dev-1"); err == nil {
		t.Error("a revoked key's is taken")
	}
}
