package fakeapple

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// oauthError is how a token endpoint refuses.
type oauthError struct {
	code string
	why  error
}

func (e *oauthError) Error() string { return e.code + ": " + e.why.Error() }

func invalidClient(err error) error { return &oauthError{"invalid_client", err} }

func invalidRequest(why string) error { return &oauthError{"invalid_request", errors.New(why)} }

// form is the form of a request.
func form(r *http.Request) (url.Values, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, invalidRequest("not a form that is posted")
	}
	if err := r.ParseForm(); err != nil {
		return nil, invalidClient(errors.New("the form is not percent-encoded"))
	}
	for name, values := range r.PostForm {
		if len(values) != 1 || values[0] == "" {
			return nil, invalidRequest(name + " is empty, or there twice")
		}
	}
	return r.PostForm, nil
}

// endpoint answers for a token endpoint.
func (a *Apple) endpoint(w http.ResponseWriter, r *http.Request, check func(url.Values) (string, error)) {
	var text string
	err := a.judge(func() error {
		fields, err := form(r)
		if err != nil {
			return err
		}
		text, err = check(fields)
		return err
	})
	if refusal, ok := errors.AsType[*oauthError](err); ok {
		answerJSON(w, http.StatusBadRequest, `{"error":"`+refusal.code+`"}`)
		return
	}
	answerJSON(w, http.StatusOK, text)
}

// appleID is Sign in with Apple, and the token endpoint of Apple Ads.
func (a *Apple) appleID(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/auth/token", "/auth/revoke", "/auth/usermigrationinfo":
		a.endpoint(w, r, a.signIn)
	case "/auth/oauth2/token":
		a.endpoint(w, r, a.ads)
	default:
		http.NotFound(w, r)
	}
}

// account is the token endpoint of School and Business.
func (a *Apple) account(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/auth/oauth2/token" { // which is not the audience
		http.NotFound(w, r)
		return
	}
	a.endpoint(w, r, a.schoolBusiness)
}

const appleIDAudience = "https://appleid.apple.com"

func (a *Apple) signIn(fields url.Values) (string, error) {
	if fields.Get("client_id") == "" || fields.Get("client_secret") == "" {
		return "", invalidRequest("client_id or client_secret is missing")
	}
	t, k, err := a.portal(fields.Get("client_secret"), SignIn, "exp", "aud", "sub")
	if err != nil {
		return "", invalidClient(err)
	}
	sub, err := t.claims.text("sub")
	if err != nil {
		return "", invalidClient(err)
	}
	if sub != fields.Get("client_id") {
		return "", invalidRequest("client_id and sub differ")
	}
	_, exp, err := t.claims.dated(a.unix())
	switch {
	case err != nil:
		return "", invalidClient(err)
	case t.claims.is("aud", appleIDAudience) != nil:
		return "", invalidClient(errors.New("aud is not the string " + appleIDAudience))
	case !slices.Contains(k.Clients, sub):
		return "", invalidClient(errors.New("sub is no App ID and no Services ID of the key's team"))
	}
	if err := within6Months(exp, a.unix()); err != nil {
		return "", invalidClient(err)
	}
	return `{"access_token":"a","token_type":"Bearer","expires_in":3600,"refresh_token":"r","id_token":"i"}`, nil
}

// halfYear is the lifetime that a secret of Ads, School or Business must stay below, in seconds.
const halfYear = 180 * 86400

// client checks a secret of an API account that the customer has.
func (a *Apple) client(compact, clientID, audience string, kind Kind, claims ...string) (token, *registered, error) {
	t, err := parse(compact)
	if err != nil {
		return token{}, nil, err
	}
	kid, err := t.header.text("kid")
	if err != nil {
		return token{}, nil, err
	}
	k, err := a.key(kid, "", kind)
	if err != nil {
		return token{}, nil, err
	}
	if err := t.verify(k.Public); err != nil {
		return token{}, nil, err
	}
	iat, exp, err := t.claims.dated(a.unix())
	if err != nil {
		return token{}, nil, err
	}
	for name, want := range map[string]string{"sub": k.Client, "aud": audience} {
		if err := t.claims.is(name, want); err != nil {
			return token{}, nil, err
		}
	}
	switch {
	case clientID != k.Client:
		return token{}, nil, errors.New("client_id is not the key's")
	case exp-iat >= halfYear:
		return token{}, nil, errors.New("it lives 180 days or longer")
	}
	return t, k, t.claims.only("the token has", append(claims, "iss", "sub", "aud", "iat", "exp")...)
}

func (a *Apple) ads(fields url.Values) (string, error) {
	if fields.Get("grant_type") != "client_credentials" || fields.Get("scope") != "searchadsorg" {
		return "", invalidRequest("grant_type or scope is not as it must be")
	}
	t, k, err := a.client(fields.Get("client_secret"), fields.Get("client_id"), appleIDAudience, Ads)
	if err == nil {
		err = t.claims.is("iss", k.Team)
	}
	if err != nil {
		return "", invalidClient(err)
	}
	return `{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"searchadsorg"}`, nil
}

func (a *Apple) schoolBusiness(fields url.Values) (string, error) {
	scope := "business.api"
	if strings.HasPrefix(fields.Get("client_id"), "SCHOOLAPI.") {
		scope = "school.api"
	}
	for name, want := range map[string]string{
		"grant_type": "client_credentials", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "scope": scope,
	} {
		if fields.Get(name) != want {
			return "", invalidRequest(name + " is not as it must be")
		}
	}
	t, k, err := a.client(fields.Get("client_assertion"), fields.Get("client_id"), "https://account.apple.com/auth/oauth2/v2/token", SchoolBusiness, "jti")
	if err != nil {
		return "", invalidClient(err)
	}
	jti, err := t.claims.text("jti")
	if err != nil {
		return "", invalidClient(err)
	}
	if t.claims["iss"] != nil {
		if err := t.claims.is("iss", k.Client); err != nil {
			return "", invalidClient(err)
		}
	}
	if err := a.once("jti", jti); err != nil {
		return "", invalidClient(err)
	}
	return `{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"` + scope + `"}`, nil
}
