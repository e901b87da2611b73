package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Form is how Apple takes what was minted.
type Form string

// The forms.
const (
	// FormHeader: a token for the Authorization header of requests. Header and Authorization give it as it is sent.
	FormHeader Form = "header"
	// FormSecret: a token for a field of an OAuth form. PostForm gives the form, PostURL is where it is posted.
	FormSecret Form = "secret"
	// FormHanded: a token that somebody else uses: an app, a page, a developer who uploads it. AppJSON gives it to an app.
	FormHanded Form = "app"
	// FormSignature: the signature of a promotional offer in its original style, with what StoreKit wants beside it: AppJSON.
	FormSignature Form = "signature"
	// FormURL: a URL that is signed. It works for whoever has it, for as long as its key is not revoked.
	FormURL Form = "url"
)

var (
	// ErrForm: the profile's tokens do not go where this one was to go, a header say.
	ErrForm = errors.New("a token of another form")
	// ErrSingleUse: a TokenSource was asked for what Apple takes once. Each use needs its own, from Client.Mint.
	ErrSingleUse = errors.New("this is minted for one use: each use needs its own, so call Mint for it, not a TokenSource")
)

// once says that Apple takes the token one time.
func (t *Token) once() bool { return t.Nonce != "" || t.Form == FormSignature || t.Form == FormURL }

// Authorization is the value of the Authorization header, as Apple writes it for this family: with "Bearer" or "bearer" before the
// token, or nothing. It is empty for what goes into no header.
func (t Token) Authorization() string {
	switch {
	case t.Form != FormHeader:
		return ""
	case t.Scheme == "":
		return t.Text()
	default:
		return t.Scheme + " " + t.Text()
	}
}

// Header is the HTTP header line in which Apple takes the token; empty for what goes into no header.
func (t Token) Header() string {
	if value := t.Authorization(); value != "" {
		return "Authorization: " + value
	}
	return ""
}

// PostForm is what is posted to PostURL: the client secret in its field, and all else that is the same for every use. A caller adds
// what is its own, such as a code and its grant_type, and changes what it likes; nil for what is no client secret.
func (t Token) PostForm() url.Values {
	if t.Form != FormSecret {
		return nil
	}
	form := url.Values{t.SecretField: {t.Text()}}
	for _, f := range t.fields {
		form.Add(f.GetName(), f.GetValue())
	}
	return form
}

// AppJSON is what an app is handed, as a JSON object whose members are called what StoreKit calls its parameters: compactJWS for a
// signed request, beside its nonce; keyIdentifier, nonce, timestamp (Unix milliseconds, a number) and signature for an offer of the
// original style. A token without a nonce, which a page or a developer is handed, is {"token": …}. nil for all other forms.
func (t Token) AppJSON() []byte {
	var object any
	switch {
	case t.Form == FormSignature:
		object = struct {
			KeyIdentifier string `json:"keyIdentifier"`
			Nonce         string `json:"nonce"`
			Timestamp     int64  `json:"timestamp"`
			Signature     string `json:"signature"`
		}{t.KeyID, t.Nonce, t.Timestamp, t.Text()}
	case t.Form == FormHanded && t.Nonce != "":
		object = struct {
			CompactJWS string `json:"compactJWS"`
			Nonce      string `json:"nonce"`
		}{t.Text(), t.Nonce}
	case t.Form == FormHanded:
		object = struct {
			Token string `json:"token"`
		}{t.Text()}
	default:
		return nil
	}
	text, _ := json.Marshal(object) // of texts and a number
	return text
}

// credential makes a token of what was minted, with nothing but what its form says.
func credential(resp *signetv1.MintTokenResponse) (*Token, error) {
	var (
		t    Token
		text string
	)
	switch c := resp.GetCredential().(type) {
	case *signetv1.MintTokenResponse_BearerToken:
		b := c.BearerToken
		text, t.Form, t.Scheme, t.Hosts = b.GetToken(), FormHeader, "Bearer", b.GetHosts()
		switch {
		case b.Scheme != nil:
			t.Scheme = b.GetScheme()
		case len(t.Hosts) == 0:
			t.Hosts = AppleHosts()
		}
	case *signetv1.MintTokenResponse_ClientSecret:
		s := c.ClientSecret
		text, t.Form, t.SecretField, t.fields, t.PostURL = s.GetToken(), FormSecret, s.GetField(), s.GetForm(), s.GetUrl()
	case *signetv1.MintTokenResponse_HandedToken:
		text, t.Form, t.Nonce = c.HandedToken.GetToken(), FormHanded, c.HandedToken.GetNonce()
	case *signetv1.MintTokenResponse_OfferSignature:
		o := c.OfferSignature
		text, t.Form, t.Nonce, t.Timestamp = o.GetSignature(), FormSignature, o.GetNonce(), o.GetTimestamp()
	case *signetv1.MintTokenResponse_SignedUrl:
		text, t.Form = c.SignedUrl.GetUrl(), FormURL
	}
	if text == "" {
		return nil, fmt.Errorf("%w: the server answered with nothing that this client knows; is it older than the server?", ErrUnverified)
	}
	t.text = &text
	return &t, nil
}
