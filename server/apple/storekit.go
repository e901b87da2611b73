package apple

import (
	"cmp"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// AppStoreServer are the parameters of tokens for the App Store Server API, which the External Purchase Server, Advanced Commerce
// and Retention Messaging APIs take too: five minutes unless said, 3570 s at most (Apple takes none for longer than an hour); given
// again to the same principal, though Apple's page asks for a new one each time, which reuse: never is for. A token is for one app.
// Source: Generating JSON Web Tokens for API requests, App Store Server API.
type AppStoreServer struct {
	Bundle BundleID
}

// PromotionalOffer are the parameters of signatures for promotional offers, in the form of 2025. They have no lifetime to choose, and
// each is a new one, for it is good for one purchase; a profile may list the products and offers of which a call names one.
// Source: Generating JWS to sign App Store requests, StoreKit.
type PromotionalOffer struct {
	Bundle   BundleID
	Products []ProductID // that may be offered; nil for all
	Offers   []OfferID   // that may be made; nil for all
}

// IntroductoryOffer are the parameters of signatures that say whether a customer may have an introductory offer. Lifetime and
// reuse are as of PromotionalOffer; a profile may list the products.
// Source: as of PromotionalOffer.
type IntroductoryOffer struct {
	Bundle   BundleID
	Products []ProductID // nil for all
}

// AdvancedCommerceRequest are the parameters of signatures for requests of the Advanced Commerce API that an app makes. Lifetime
// and reuse are as of PromotionalOffer; a profile may list the operations, and of the rest of a request Apple is the judge.
// Source: as of PromotionalOffer.
type AdvancedCommerceRequest struct {
	Bundle     BundleID
	Operations []string // nil for all
}

// PromotionalOfferSignature are the parameters of signatures for promotional offers in their original form, which is no JWT: Apple
// takes one for 24 hours, and once. Each is a new one; a profile may list the products and offers.
// Source: Generating a signature for promotional offers, StoreKit.
type PromotionalOfferSignature struct {
	Bundle   BundleID
	Products []ProductID // nil for all
	Offers   []OfferID   // nil for all
}

// serverClaims are those of App Store Server tokens.
type serverClaims struct {
	Iss IssuerID `json:"iss"`
	Iat int64    `json:"iat"`
	Exp int64    `json:"exp"`
	Aud string   `json:"aud"`
	Bid BundleID `json:"bid"`
}

func (c serverClaims) key() any { return c }
func (c serverClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

// storeKitClaims are those that all requests of StoreKit have. There is no exp: with one, the request fails.
type storeKitClaims struct {
	Iss   IssuerID `json:"iss"`
	Iat   int64    `json:"iat"`
	Aud   string   `json:"aud"`
	Bid   BundleID `json:"bid"`
	Nonce string   `json:"nonce"` // a UUID in lower case
}

type offerClaims struct {
	storeKitClaims
	Product     ProductID `json:"productId"`
	Offer       OfferID   `json:"offerIdentifier"`
	Transaction string    `json:"transactionId,omitempty"`
}

type introductoryClaims struct {
	storeKitClaims
	Product     ProductID `json:"productId"`
	Allow       bool      `json:"allowIntroductoryOffer"`
	Transaction string    `json:"transactionId"`
}

type commerceClaims struct {
	storeKitClaims
	Request string `json:"request"` // standard base64, with padding
}

// storeKitToken is the draft of a request of StoreKit, with a nonce that is drawn when it is signed.
type storeKitToken[C comparable] struct {
	kid    KeyID
	common storeKitClaims
	with   func(storeKitClaims) C
}

func (d storeKitToken[C]) key() any { return d.with(d.common) }

func (d storeKitToken[C]) sign(signer crypto.Signer, t times) (Token, error) {
	d.common.Iat, d.common.Nonce = t.iat, newNonce()
	text, err := sign(header{Alg: es256{}.Alg(), Kid: d.kid, Typ: typ}, d.with(d.common), signer, false)
	return Token{Text: string(text), Nonce: d.common.Nonce}, err
}

// newNonce draws a UUID in lower case. Every signature has its own: Apple takes one once. (Where there is no randomness the
// program ends: crypto/rand sees to that.)
func newNonce() string { return uuid.NewString() }

// Family returns FamilyAppStoreServer.
func (AppStoreServer) Family() Family { return FamilyAppStoreServer }

// Fields returns the app.
func (p AppStoreServer) Fields() (fixed, asked []Field) { return bundleField(p.Bundle), nil }

func (p AppStoreServer) check(Facts) error { return checkBundle(p.Bundle) }

func (p AppStoreServer) draft(f Facts, _ Ask) (draft, error) {
	return webToken{kid: f.KeyID, typ: typ, claims: serverClaims{Iss: f.Issuer, Aud: "appstoreconnect-v1", Bid: p.Bundle}}, nil
}

// Family returns FamilyPromotionalOffer.
func (PromotionalOffer) Family() Family { return FamilyPromotionalOffer }

// Fields returns the app, and product, offer and transaction.
func (p PromotionalOffer) Fields() (fixed, asked []Field) {
	return bundleField(p.Bundle), []Field{
		{"product_id", texts(p.Products), true}, {"offer_id", texts(p.Offers), true}, {"transaction_id", nil, false}}
}

func (p PromotionalOffer) check(Facts) error {
	return cmp.Or(checkBundle(p.Bundle), checkList("products", p.Products, ParseProductID), checkList("offers", p.Offers, ParseOfferID))
}

func (p PromotionalOffer) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[OfferCall](ask, "a promotional offer")
	if err != nil {
		return nil, err
	}
	if c.account != "" {
		return nil, fmt.Errorf("%w: account is of the original style alone; give transaction_id", ErrUnfitAsk)
	}
	if err := cmp.Or(granted(p.Products, c.product, "product_id"), granted(p.Offers, c.offer, "offer_id")); err != nil {
		return nil, err
	}
	return storeKitToken[offerClaims]{f.KeyID, storeKitClaims{Iss: f.Issuer, Aud: "promotional-offer", Bid: p.Bundle}, func(common storeKitClaims) offerClaims {
		return offerClaims{common, c.product, c.offer, c.transaction}
	}}, nil
}

// Family returns FamilyIntroductoryOffer.
func (IntroductoryOffer) Family() Family { return FamilyIntroductoryOffer }

// Fields returns the app, and product, transaction and whether the offer is allowed.
func (p IntroductoryOffer) Fields() (fixed, asked []Field) {
	return bundleField(p.Bundle), []Field{
		{"product_id", texts(p.Products), true}, {"transaction_id", nil, true}, {"allow_introductory_offer", []string{"true", "false"}, true}}
}

func (p IntroductoryOffer) check(Facts) error {
	return cmp.Or(checkBundle(p.Bundle), checkList("products", p.Products, ParseProductID))
}

func (p IntroductoryOffer) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[IntroductoryOfferCall](ask, "an introductory offer")
	if err != nil {
		return nil, err
	}
	if err := granted(p.Products, c.product, "product_id"); err != nil {
		return nil, err
	}
	return storeKitToken[introductoryClaims]{f.KeyID, storeKitClaims{Iss: f.Issuer, Aud: "introductory-offer-eligibility", Bid: p.Bundle}, func(common storeKitClaims) introductoryClaims {
		return introductoryClaims{common, c.product, c.allow, c.transaction}
	}}, nil
}

// Family returns FamilyAdvancedCommerceRequest.
func (AdvancedCommerceRequest) Family() Family { return FamilyAdvancedCommerceRequest }

// Fields returns the app and the operations, and the request.
func (p AdvancedCommerceRequest) Fields() (fixed, asked []Field) {
	fixed = bundleField(p.Bundle)
	if len(p.Operations) > 0 {
		fixed = append(fixed, Field{Name: "operations", Values: texts(p.Operations)})
	}
	return fixed, []Field{{"request", nil, true}}
}

func (p AdvancedCommerceRequest) check(Facts) error {
	return cmp.Or(checkBundle(p.Bundle), checkList("operations", p.Operations, ParseOperation))
}

func (p AdvancedCommerceRequest) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[CommerceCall](ask, "a request of the Advanced Commerce API")
	if err != nil {
		return nil, err
	}
	if err := granted(p.Operations, c.operation, "the operation of the request"); err != nil {
		return nil, err
	}
	return storeKitToken[commerceClaims]{f.KeyID, storeKitClaims{Iss: f.Issuer, Aud: "advanced-commerce-api", Bid: p.Bundle}, func(common storeKitClaims) commerceClaims {
		return commerceClaims{common, base64.StdEncoding.EncodeToString([]byte(c.request))}
	}}, nil
}

// Family returns FamilyPromotionalOfferSignature.
func (PromotionalOfferSignature) Family() Family { return FamilyPromotionalOfferSignature }

// Fields returns the app, and product, offer and account.
func (p PromotionalOfferSignature) Fields() (fixed, asked []Field) {
	return bundleField(p.Bundle), []Field{
		{"product_id", texts(p.Products), true}, {"offer_id", texts(p.Offers), true}, {"account", nil, false}}
}

func (p PromotionalOfferSignature) check(f Facts) error { return PromotionalOffer(p).check(f) }

func (p PromotionalOfferSignature) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[OfferCall](ask, "a promotional offer")
	if err != nil {
		return nil, err
	}
	if c.transaction != "" {
		return nil, fmt.Errorf("%w: the original style has no transaction_id; give account", ErrUnfitAsk)
	}
	if err := cmp.Or(granted(p.Products, c.product, "product_id"), granted(p.Offers, c.offer, "offer_id")); err != nil {
		return nil, err
	}
	return offerSignature{p.Bundle, f.KeyID, c}, nil
}

// offerSignature is the draft of a promotional offer's signature in its original form.
type offerSignature struct {
	bundle BundleID
	kid    KeyID
	call   OfferCall
}

// separator stands between the fields that are signed. No other thing that is signed here has it, and no field can.
const separator = "\u2063"

func (d offerSignature) key() any { return d }

func (d offerSignature) sign(signer crypto.Signer, t times) (Token, error) {
	nonce, stamp := newNonce(), t.iat*1000 // back-dated like all times, and in milliseconds
	der, err := es256{}.signASN1([]byte(d.text(nonce, stamp)), signer)
	if err != nil {
		return Token{}, err
	}
	return Token{Text: base64.StdEncoding.EncodeToString(der), Nonce: nonce, Offer: &Offer{d.kid, stamp}}, nil
}

// text is what is signed.
func (d offerSignature) text(nonce string, stamp int64) string {
	return strings.Join([]string{
		string(d.bundle), string(d.kid), string(d.call.product), string(d.call.offer), d.call.account, nonce, strconv.FormatInt(stamp, 10),
	}, separator)
}

func bundleField(b BundleID) []Field {
	return []Field{{Name: "bundle_id", Values: []string{string(b)}}}
}

func checkBundle(b BundleID) error {
	if b == "" {
		return errors.New("the bundle_id is missing: these tokens are for one app, such as com.example.app")
	}
	return named("bundle_id", b, ParseBundleID)
}

// checkList checks a list that may be left out.
func checkList[T ~string](name string, all []T, parse func(string) (T, error)) error {
	if all == nil {
		return nil
	}
	if len(all) == 0 {
		return fmt.Errorf("the list of %s is empty: leave it out for all, or name some", name)
	}
	for i, s := range all {
		if _, err := parse(string(s)); err != nil {
			return fmt.Errorf("%s, entry %d: %w", name, i+1, err)
		}
		if slices.Contains(all[:i], s) {
			return fmt.Errorf("%s, entry %d: it stands in the list before: take one out", name, i+1)
		}
	}
	return nil
}

// named checks one parameter.
func named[T ~string](name string, s T, parse func(string) (T, error)) error {
	if _, err := parse(string(s)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// texts makes plain strings of typed ones; nil of nil.
func texts[T ~string](typed []T) []string {
	if typed == nil {
		return nil
	}
	plain := make([]string, len(typed))
	for i, t := range typed {
		plain[i] = string(t)
	}
	return plain
}
