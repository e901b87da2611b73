package fakeapple

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// lowerUUID is a UUID as StoreKit wants a nonce.
var lowerUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// offerWindow is how long a signature is taken. Apple says so of the original style alone.
const offerWindow = 24 * time.Hour

// StoreKit takes a request that is signed as a JWS, in the form of 2025, as the App Store does of an app: a promotional
// offer, whether an introductory offer is allowed, or a request of the Advanced Commerce API.
func (a *Apple) StoreKit(compact, bundle string) error {
	return a.judge(func() error {
		t, err := parse(compact)
		if err != nil {
			return err
		}
		if t.claims["exp"] != nil {
			return errors.New("it has an exp")
		}
		audience, err := t.claims.text("aud")
		if err != nil {
			return err
		}
		shape, ok := storeKitShapes[audience]
		if !ok {
			return errors.New("aud is none of StoreKit's")
		}
		if t, err = a.purchase(compact, audience, append(shape.claims, "nonce")...); err != nil {
			return err
		}
		if err := t.claims.is("bid", bundle); err != nil {
			return err
		}
		if err := shape.check(t.claims); err != nil {
			return err
		}
		iat, err := t.claims.number("iat")
		if err != nil {
			return err
		}
		if err := a.fresh(time.Unix(iat, 0)); err != nil {
			return err
		}
		nonce, err := t.claims.text("nonce")
		if err != nil {
			return err
		}
		return a.nonce(nonce)
	})
}

// storeKitShapes are the claims of each kind of request beside the common ones.
var storeKitShapes = map[string]struct {
	claims []string
	check  func(object) error
}{
	"promotional-offer": {[]string{"productId", "offerIdentifier", "transactionId"}, func(o object) error {
		if o["transactionId"] == nil {
			return o.texts("productId", "offerIdentifier")
		}
		return o.texts("productId", "offerIdentifier", "transactionId")
	}},
	"introductory-offer-eligibility": {[]string{"productId", "allowIntroductoryOffer", "transactionId"}, func(o object) error {
		if v := string(o["allowIntroductoryOffer"]); v != "true" && v != "false" {
			return errors.New("allowIntroductoryOffer is not a boolean")
		}
		return o.texts("productId", "transactionId")
	}},
	"advanced-commerce-api": {[]string{"request"}, func(o object) error {
		encoded, err := o.text("request")
		if err != nil {
			return err
		}
		request, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if err != nil {
			return errors.New("request is not standard base64")
		}
		_, err = decodeObject(request)
		return err
	}},
}

func (o object) texts(names ...string) error {
	for _, name := range names {
		if _, err := o.text(name); err != nil {
			return err
		}
	}
	return nil
}

// fresh checks a time of signing: not ahead of Apple's clock, and within the window.
func (a *Apple) fresh(at time.Time) error {
	switch age := a.now().Sub(at); {
	case age < 0:
		return errors.New("it is dated in the future")
	case age >= offerWindow:
		return errors.New("it is a day old")
	}
	return nil
}

// nonce takes a nonce, once.
func (a *Apple) nonce(nonce string) error {
	if !lowerUUID.MatchString(nonce) {
		return errors.New("the nonce is not a random UUID in lower case")
	}
	return a.once("nonce", nonce)
}

// Offer is a promotional offer as an app hands it to StoreKit, in the original style.
type Offer struct {
	Bundle, KeyID, Product, Offer, Account string
	Nonce                                  string
	Timestamp                              int64  // Unix milliseconds
	Signature                              string // standard base64 of DER
}

// Redeem takes a promotional offer in the original style: for a day, and once.
func (a *Apple) Redeem(o Offer) error {
	return a.judge(func() error {
		k, err := a.key(o.KeyID, "", InAppPurchase)
		if err != nil {
			return err
		}
		signature, err := base64.StdEncoding.Strict().DecodeString(o.Signature)
		if err != nil {
			return errors.New("the signature is not standard base64")
		}
		text := strings.Join([]string{
			o.Bundle, o.KeyID, o.Product, o.Offer, strings.ToLower(o.Account), o.Nonce, strconv.FormatInt(o.Timestamp, 10),
		}, "\u2063")
		sum := sha256.Sum256([]byte(text))
		if !ecdsa.VerifyASN1(k.Public, sum[:], signature) {
			return errors.New("the signature does not verify")
		}
		if err := a.fresh(time.UnixMilli(o.Timestamp)); err != nil {
			return err
		}
		return a.nonce(o.Nonce)
	})
}
