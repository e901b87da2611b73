package fakeapple

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bodies of App Store Connect.
const (
	unauthorized = `{"errors":[{"status":"401","code":"NOT_AUTHORIZED","title":"Authentication credentials are missing or invalid.","detail":"Provide a properly configured and signed bearer token, and make sure that it has not expired. Learn more about Generating Tokens for API Requests https://developer.apple.com/go/?id=api-generating-tokens"}]}`
	forbidden    = `{"errors":[{"status":"403","code":"FORBIDDEN_ERROR","title":"This request is forbidden for security reasons","detail":"The API key in use does not allow this request"}]}`
	limited      = `{"errors":[{"status":"429","code":"RATE_LIMIT_EXCEEDED","title":"The request rate limit has been reached.","detail":"We've received too many requests for this API. Please wait and try again or slow down your request rate."}]}`
)

// span is the longest lifetime of a token, in seconds, and how far its exp may lie ahead of Apple's clock.
const span = 1200

// longPaths are those of which tokens may live up to six months; * is an id.
var longPaths = strings.Fields(`
	/v1/ciBuildActions/* /v1/ciBuildActions/*/artifacts /v1/ciBuildActions/*/buildRun /v1/ciBuildActions/*/issues /v1/ciBuildActions/*/testResults
	/v1/ciBuildRuns/* /v1/ciBuildRuns/*/actions /v1/ciBuildRuns/*/builds
	/v1/scmGitReferences/*
	/v1/ciIssues/*
	/v1/ciMacOsVersions /v1/ciMacOsVersions/* /v1/ciMacOsVersions/*/xcodeVersions
	/v1/ciProducts /v1/ciProducts/* /v1/ciProducts/*/additionalRepositories /v1/ciProducts/*/app /v1/ciProducts/*/buildRuns
	/v1/ciProducts/*/primaryRepositories /v1/ciProducts/*/workflows /v1/apps/*/ciProduct
	/v1/scmProviders /v1/scmProviders/* /v1/scmProviders/*/repositories
	/v1/apps/*/perfPowerMetrics /v1/builds/*/perfPowerMetrics /v1/builds/*/diagnosticSignatures /v1/diagnosticSignatures/*/logs
	/v1/scmPullRequests/*
	/v1/scmRepositories /v1/scmRepositories/* /v1/scmRepositories/*/gitReferences /v1/scmRepositories/*/pullRequests
	/v1/ciTestResults/*
	/v1/ciWorkflows/* /v1/ciWorkflows/*/buildRuns /v1/ciWorkflows/*/repository
	/v1/ciXcodeVersions /v1/ciXcodeVersions/* /v1/ciXcodeVersions/*/macOsVersions`)

// notIndividual are requests that an individual key cannot make.
var notIndividual = strings.Fields("/v1/bundleIds /v1/bundleIdCapabilities /v1/certificates /v1/devices /v1/profiles /v1/salesReports /v1/financeReports")

func (a *Apple) connect(w http.ResponseWriter, r *http.Request) {
	a.storeConnect(w, r, "appstoreconnect-v1", Team, Individual)
}

func (a *Apple) enterprise(w http.ResponseWriter, r *http.Request) {
	a.storeConnect(w, r, "apple-developer-enterprise-v1", Enterprise)
}

func (a *Apple) storeConnect(w http.ResponseWriter, r *http.Request, audience string, kinds ...Kind) {
	status, text := http.StatusOK, `{"data":[],"links":{"self":"`+r.URL.Path+`"}}`
	_ = a.judge(func() error {
		k, err := a.authorize(r, audience, kinds...)
		switch {
		case errors.Is(err, errRevoked):
			if status, text = k.revoked, unauthorized; status == http.StatusForbidden {
				text = forbidden
			}
			return err
		case err != nil:
			status, text = http.StatusUnauthorized, unauthorized
			return err
		case a.stumbles > 0:
			a.stumbles--
			status, text = http.StatusUnauthorized, unauthorized
			return errors.New("a stumble")
		}
		limit, left := k.count(a.now())
		w.Header().Set("X-Rate-Limit", fmt.Sprintf("user-hour-lim:%d;user-hour-rem:%d;", limit, max(left, 0)))
		if left < 0 {
			status, text = http.StatusTooManyRequests, limited
			return errors.New("too many requests")
		}
		if !k.may(r.Method, r.URL.Path) {
			status, text = http.StatusForbidden, forbidden
			return errors.New("the key's role does not allow the request")
		}
		return nil
	})
	answerJSON(w, status, text)
}

// notary is the Notary API, which individual keys cannot use by Apple's documentation.
func (a *Apple) notary(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/notary/v2/") {
		http.NotFound(w, r)
		return
	}
	if a.judge(func() error { _, err := a.authorize(r, "appstoreconnect-v1", Team); return err }) != nil {
		body(w, http.StatusUnauthorized, "text/plain", "Unauthenticated\n\nRequest ID: 7QRLTKF6YV4QGFKU7Q2ZDCSYZ4.0.0\n")
		return
	}
	answerJSON(w, http.StatusOK, `{"data":[],"meta":{}}`)
}

// authorize checks a request's token.
func (a *Apple) authorize(r *http.Request, audience string, kinds ...Kind) (*registered, error) {
	compact, err := bearer(r)
	if err != nil {
		return nil, err
	}
	t, err := parse(compact)
	if err != nil {
		return nil, err
	}
	kid, err := t.header.text("kid")
	if err != nil {
		return nil, err
	}
	k, err := a.key(kid, "", kinds...)
	if k == nil {
		return nil, err
	}
	if err := t.verify(k.Public); err != nil {
		return nil, err
	}
	if err != nil { // revoked; its signature is good
		return k, err
	}
	if err := t.subject(k); err != nil {
		return nil, err
	}
	if err := t.claims.is("aud", audience); err != nil {
		return nil, err
	}
	scope, err := t.scope()
	if err != nil {
		return nil, err
	}
	if err := a.lifetime(t, scope, audience == "appstoreconnect-v1"); err != nil {
		return nil, err
	}
	if scope != nil && !slices.ContainsFunc(scope, func(entry string) bool { return covers(entry, r) }) {
		return nil, errors.New("no entry of the scope is this request")
	}
	return k, nil
}

// subject checks who a token says that it is of, and that it has no claims but those that Apple lists.
func (t token) subject(k *registered) error {
	names := []string{"iat", "exp", "aud", "scope"}
	if k.Kind != Individual {
		if err := t.claims.is("iss", k.Issuer); err != nil {
			return err
		}
		return t.claims.only("the token has", append(names, "iss")...)
	}
	if t.claims["iss"] != nil {
		return errors.New("an individual key's token has an iss")
	}
	if err := t.claims.is("sub", "user"); err != nil {
		return err
	}
	return t.claims.only("the token has", append(names, "sub")...)
}

// scope is the token's; nil when it has none.
func (t token) scope() ([]string, error) {
	if t.claims["scope"] == nil {
		return nil, nil
	}
	return t.claims.list("scope")
}

// lifetime checks the times of a token.
func (a *Apple) lifetime(t token, scope []string, long bool) error {
	now := a.unix()
	iat, exp, err := t.claims.dated(now)
	if err != nil {
		return err
	}
	if exp-iat <= span && exp-now <= span {
		return nil
	}
	if !long || scope == nil {
		return errors.New("it lives longer than 20 minutes")
	}
	for _, entry := range scope {
		if !mayLiveLong(entry) {
			return errors.New("it lives longer than 20 minutes, and an entry of its scope is not one of which it may")
		}
	}
	if exp-iat > sixMonths {
		return errors.New("it lives longer than six months")
	}
	return within6Months(exp, now)
}

func mayLiveLong(entry string) bool {
	target, ok := strings.CutPrefix(entry, "GET ")
	path, _, _ := strings.Cut(target, "?")
	return ok && slices.ContainsFunc(longPaths, func(pattern string) bool {
		want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
		return slices.EqualFunc(want, got, func(w, g string) bool { return w == g || w == "*" && g != "" })
	})
}

// covers says whether an entry of a scope is a request: the method, the path and the query but for the order of its
// parameters and for limit, cursor and sort. An entry without a method is a prefix of paths, and known of the Notary API alone.
func covers(entry string, r *http.Request) bool {
	method, target, ok := strings.Cut(entry, " ")
	if !ok {
		return entry == "/notary/v2" && strings.HasPrefix(r.URL.Path, "/notary/v2/")
	}
	path, query, _ := strings.Cut(target, "?")
	return method == http.MethodGet && r.Method == method && r.URL.EscapedPath() == path && slices.Equal(parameters(query), parameters(r.URL.RawQuery))
}

// parameters are those of a query that count, in order. They are decoded, for clients encode the brackets that Apple writes raw.
func parameters(query string) []string {
	var all []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if n, err := url.QueryUnescape(name); err == nil {
			name = n
		}
		if v, err := url.QueryUnescape(value); err == nil {
			value = v
		}
		if pair != "" && name != "limit" && name != "cursor" && name != "sort" {
			all = append(all, name+"="+value)
		}
	}
	slices.Sort(all)
	return all
}

// count counts a request. What is left is below 0 for one that is too many, which does not count.
func (k *registered) count(now time.Time) (limit, left int) {
	limit = k.HourLimit
	if limit == 0 {
		limit = 3500
	}
	k.requests = slices.DeleteFunc(k.requests, func(at time.Time) bool { return now.Sub(at) >= time.Hour })
	if len(k.requests) >= limit {
		return limit, -1
	}
	k.requests = append(k.requests, now)
	return limit, limit - len(k.requests)
}

// may says whether the key's owner may make a request.
func (k *registered) may(method, path string) bool {
	if k.Kind == Individual && slices.ContainsFunc(notIndividual, func(p string) bool { return path == p || strings.HasPrefix(path, p+"/") }) {
		return false
	}
	return k.May == nil || k.May(method, path)
}

// storeServer is the App Store Server API. Its 401 has no code.
func (a *Apple) storeServer(w http.ResponseWriter, r *http.Request) {
	if a.judge(func() error { return a.storeToken(r) }) != nil {
		body(w, http.StatusUnauthorized, "text/plain", "Unauthenticated\n")
		return
	}
	answerJSON(w, http.StatusOK, `{}`)
}

func (a *Apple) storeToken(r *http.Request) error {
	compact, err := bearer(r)
	if err != nil {
		return err
	}
	t, err := a.purchase(compact, "appstoreconnect-v1", "exp")
	if err != nil {
		return err
	}
	iat, exp, err := t.claims.dated(a.unix())
	if err != nil {
		return err
	}
	if exp > iat+3600 {
		return errors.New("exp is more than an hour after iat")
	}
	return nil
}

// purchase checks a token of an In-App Purchase key: signature, issuer, audience, that it is for an app, and that it has no claims but these
// beside those.
func (a *Apple) purchase(compact, audience string, claims ...string) (token, error) {
	t, err := parse(compact)
	if err != nil {
		return token{}, err
	}
	kid, err := t.header.text("kid")
	if err != nil {
		return token{}, err
	}
	k, err := a.key(kid, "", InAppPurchase)
	if err != nil {
		return token{}, err
	}
	if err := t.verify(k.Public); err != nil {
		return token{}, err
	}
	if err := t.claims.is("iss", k.Issuer); err != nil {
		return token{}, err
	}
	if err := t.claims.is("aud", audience); err != nil {
		return token{}, err
	}
	if _, err := t.claims.text("bid"); err != nil {
		return token{}, err
	}
	return t, t.claims.only("the token has", append(claims, "iss", "iat", "aud", "bid")...)
}
