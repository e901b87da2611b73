package fakeapple

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// music is the Apple Music API, Apple Music Feed, and Apps and Books.
func (a *Apple) music(w http.ResponseWriter, r *http.Request) {
	if a.judge(func() error {
		compact, err := bearer(r)
		if err != nil {
			return err
		}
		return a.musicToken(compact, r.Header.Get("Origin"))
	}) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answerJSON(w, http.StatusOK, `{"data":[]}`)
}

func (a *Apple) musicToken(compact, origin string) error {
	t, _, err := a.portal(compact, Media, "exp", "origin")
	if err != nil {
		return err
	}
	_, exp, err := t.claims.dated(a.unix())
	if err != nil {
		return err
	}
	if t.claims["origin"] != nil {
		origins, err := t.claims.list("origin")
		if err != nil {
			return err
		}
		if !slices.Contains(origins, origin) {
			return errors.New("the request's Origin is not among the token's")
		}
	}
	return within6Months(exp, a.unix())
}

// maps is the Maps Server API: /v1/token gives an access token for the other paths.
func (a *Apple) maps(w http.ResponseWriter, r *http.Request) {
	text := `{"results":[]}`
	if a.judge(func() error {
		compact, err := bearer(r)
		if err != nil {
			return err
		}
		if r.URL.Path != "/v1/token" {
			if until, ok := a.access[compact]; !ok || !a.now().Before(until) {
				return errors.New("not an access token of /v1/token, or it has expired")
			}
			return nil
		}
		t, err := a.mapToken(compact)
		if err != nil {
			return err
		}
		if scope, _ := t.claims.text("scope"); !slices.Contains(strings.Fields(scope), "server_api") {
			return errors.New("the scope has no server_api")
		}
		access := fmt.Sprintf("access-%d", len(a.access)+1)
		a.access[access] = a.now().Add(30 * time.Minute)
		text = `{"accessToken":"` + access + `","expiresInSeconds":1800}`
		return nil
	}) != nil {
		answerJSON(w, http.StatusUnauthorized, `{"error":{"message":"Not Authorized","details":[]}}`)
		return
	}
	answerJSON(w, http.StatusOK, text)
}

// pageScopes are those of tokens for pages, which must have an origin.
var pageScopes = []string{"mapkit_js", "embed_api", "web_snapshots"}

// mapToken checks a token of Maps but for what it is used for.
func (a *Apple) mapToken(compact string) (token, error) {
	t, _, err := a.portal(compact, Maps, "exp", "scope", "origin")
	if err != nil {
		return token{}, err
	}
	if _, _, err := t.claims.dated(a.unix()); err != nil {
		return token{}, err
	}
	scope, err := t.claims.text("scope")
	if err != nil {
		return token{}, err
	}
	page := false
	for s := range strings.SplitSeq(scope, " ") {
		if !slices.Contains(pageScopes, s) && s != "server_api" {
			return token{}, errors.New("the scope has what Apple does not list")
		}
		page = page || s != "server_api"
	}
	if _, err := t.claims.text("origin"); page && err != nil {
		return token{}, err
	} else if !page && t.claims["origin"] != nil {
		return token{}, errors.New("a token of server_api has an origin")
	}
	return t, nil
}

// MapKit takes a token as MapKit JS does on a page of a host.
func (a *Apple) MapKit(compact, scope, host string) error {
	return a.judge(func() error {
		t, err := a.mapToken(compact)
		if err != nil {
			return err
		}
		if granted, _ := t.claims.text("scope"); !slices.Contains(strings.Fields(granted), scope) {
			return errors.New("the scope is not the token's")
		}
		origins, _ := t.claims.text("origin")
		for pattern := range strings.SplitSeq(origins, ",") {
			_, bare, ok := strings.Cut(pattern, "://")
			if !ok {
				bare = pattern
			}
			if match, err := path.Match(bare, host); err == nil && match {
				return nil
			}
		}
		return errors.New("the host is not among the token's origins")
	})
}

// snapshot is Maps Web Snapshots. The signature is the last parameter, and over all that stands before.
func (a *Apple) snapshot(w http.ResponseWriter, r *http.Request) {
	if a.judge(func() error { return a.snapshotURL(r.URL.EscapedPath() + "?" + r.URL.RawQuery) }) != nil {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body(w, http.StatusOK, "image/png", "\x89PNG")
}

func (a *Apple) snapshotURL(target string) error {
	signed, encoded, ok := strings.Cut(target, "&signature=")
	if !ok || !strings.HasPrefix(signed, "/api/v1/snapshot?") {
		return errors.New("not the path of a snapshot, or the signature is missing")
	}
	signature, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("the signature is not base64url, or not the last parameter")
	}
	var kid, team string
	center := false
	for pair := range strings.SplitSeq(signed[strings.IndexByte(signed, '?')+1:], "&") {
		switch name, value, _ := strings.Cut(pair, "="); name {
		case "keyId":
			kid += value
		case "teamId":
			team += value
		case "center":
			center = value != ""
		}
	}
	k, err := a.key(kid, Maps, Portal)
	switch {
	case err != nil:
		return err
	case k.Team != team:
		return errors.New("the teamId is not the key's")
	case !center:
		return errors.New("no center")
	}
	return verifyRaw(k.Public, signed, signature)
}

// weather is WeatherKit.
func (a *Apple) weather(w http.ResponseWriter, r *http.Request) {
	if a.judge(func() error {
		compact, err := bearer(r)
		if err != nil {
			return err
		}
		return a.weatherToken(compact)
	}) != nil {
		answerJSON(w, http.StatusUnauthorized, `{"reason":"NOT_ENABLED"}`)
		return
	}
	answerJSON(w, http.StatusOK, `{"currentWeather":{}}`)
}

func (a *Apple) weatherToken(compact string) error {
	t, k, err := a.portal(compact, Weather, "exp", "sub")
	if err != nil {
		return err
	}
	if _, _, err := t.claims.dated(a.unix()); err != nil {
		return err
	}
	sub, err := t.claims.text("sub")
	if err != nil {
		return err
	}
	if !slices.Contains(k.Clients, sub) {
		return errors.New("sub is no Services ID of the key's team")
	}
	return t.header.is("id", k.Team+"."+sub)
}

// ClassKit takes a token as the ClassKit Catalog API does.
func (a *Apple) ClassKit(compact string) error {
	return a.judge(func() error {
		t, _, err := a.portal(compact, ClassKit, "exp")
		if err != nil {
			return err
		}
		_, _, err = t.claims.dated(a.unix())
		return err
	})
}

// Export takes a token as the export of iWork's documents does: once, and four hours after iat no more.
func (a *Apple) Export(compact string) error {
	return a.judge(func() error {
		t, _, err := a.portal(compact, IWork, "exp", "encoded_filename", "export_format")
		if err != nil {
			return err
		}
		iat, exp, err := t.claims.dated(a.unix())
		if err != nil {
			return err
		}
		if a.unix() > min(exp, iat+4*3600) {
			return errors.New("it has expired")
		}
		name, err := t.claims.text("encoded_filename")
		if err != nil {
			return err
		}
		if _, err := base64.RawURLEncoding.Strict().DecodeString(name); err != nil {
			return errors.New("encoded_filename is not base64url")
		}
		if err := t.claims.is("export_format", "com.adobe.pdf"); err != nil {
			return err
		}
		return a.once("token of an export", compact)
	})
}

// Transfer takes a token of an alternative marketplace as App Store Connect does when a developer uploads it. It names no key:
// the key is the app's.
func (a *Apple) Transfer(compact, developer string) error {
	return a.judge(func() error {
		t, err := parse(compact)
		if err != nil {
			return err
		}
		if t.header["kid"] != nil {
			return errors.New("the header has a kid")
		}
		app, err := t.claims.text("iss")
		if err != nil {
			return err
		}
		i := slices.IndexFunc(a.keys, func(k *registered) bool { return k.Kind == Marketplace && k.App == app && k.revoked == 0 })
		if i < 0 {
			return errors.New("iss is no marketplace that is known here")
		}
		if err := t.verify(a.keys[i].Public); err != nil {
			return err
		}
		_, exp, err := t.claims.dated(a.unix())
		if err != nil {
			return err
		}
		if exp >= a.unix()+7*86400 {
			return errors.New("exp is seven days ahead, or more")
		}
		if err := t.claims.is("aud", "appstoreconnect-v1"); err != nil {
			return err
		}
		if err := t.claims.is("pid", developer); err != nil {
			return err
		}
		return t.claims.only("the token has", "iss", "iat", "exp", "aud", "pid")
	})
}
