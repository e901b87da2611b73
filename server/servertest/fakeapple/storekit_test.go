package fakeapple_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/server/servertest/fakeapple"
)

// nonce is the nth nonce of a test.
func nonce(n int) string { return fmt.Sprintf("0b9e2f0c-6d1f-4c0e-9a53-%012x", n) }

func TestStoreKit(t *testing.T) {
	const bundle = "com.example.app"
	n := 0
	kinds := map[string]m{
		"promotional-offer":              {"productId": "com.example.pro", "offerIdentifier": "winback1", "transactionId": "1000011859217"},
		"introductory-offer-eligibility": {"productId": "com.example.pro", "allowIntroductoryOffer": true, "transactionId": "1000011859217"},
		"advanced-commerce-api":          {"request": base64.StdEncoding.EncodeToString([]byte(`{"operation":"CREATE_ONE_TIME_CHARGE","version":"1"}`))},
	}
	own := map[string]map[string]m{ // changes of one kind alone, by why they are refused
		"promotional-offer": {
			"productId":       {"productId": nil},
			"offerIdentifier": {"offerIdentifier": ""},
			"transactionId":   {"transactionId": 7},
			`has "request"`:   {"request": "e30="},
			"":                {"transactionId": nil},
		},
		"introductory-offer-eligibility": {
			"allowIntroductoryOffer": {"allowIntroductoryOffer": "true"},
			"transactionId":          {"transactionId": nil},
			"":                       {"allowIntroductoryOffer": false},
		},
		"advanced-commerce-api": {
			"request is not standard base64": {"request": base64.RawURLEncoding.EncodeToString([]byte(`{"a":"bc"}`))},
			"not an object":                  {"request": base64.StdEncoding.EncodeToString([]byte("[]"))},
		},
	}
	for audience, extra := range kinds {
		t.Run(audience, func(t *testing.T) {
			w := newWorld(t, fakeapple.Key{Kind: fakeapple.InAppPurchase})
			good := func() m {
				n++
				return with(with(m{"iss": issuer, "iat": w.at(-30 * time.Second), "aud": audience, "bid": bundle, "nonce": nonce(n)}, extra), nil)
			}
			refusesMalformed(t, w, jwtHeader, good(), func(token string) bool { return w.StoreKit(token, bundle) == nil })
			changes := map[string]m{
				"has an exp":          {"exp": w.at(time.Hour)},
				"aud is none":         {"aud": "appstoreconnect-v1"},
				"aud is not a string": {"aud": []string{audience}},
				"bid is not the":      {"bid": "com.example.other"},
				"bid is not a":        {"bid": nil},
				"iss":                 {"iss": team},
				"lower case":          {"nonce": strings.ToUpper(nonce(1))},
				"nonce is not a":      {"nonce": nil},
				"future":              {"iat": w.at(time.Second)},
				"a day old":           {"iat": w.at(-24 * time.Hour)},
			}
			for why, change := range own[audience] {
				changes[why] = change
			}
			for why, change := range changes {
				if err := w.StoreKit(sign(t, w.key, jwtHeader, with(good(), change)), bundle); (err == nil) != (why == "") {
					t.Errorf("%q: %v", why, err)
				}
				if why != "" {
					w.why(t, why)
				}
			}
			twice := good()
			if err := w.StoreKit(sign(t, w.key, jwtHeader, twice), bundle); err != nil {
				t.Error(err)
			}
			if err := w.StoreKit(sign(t, w.key, jwtHeader, twice), bundle); err == nil {
				t.Error("a nonce is taken twice")
			}
		})
	}
}

func TestRedeem(t *testing.T) {
	w := newWorld(t, fakeapple.Key{Kind: fakeapple.InAppPurchase})
	signed := func(o fakeapple.Offer, separator string) fakeapple.Offer {
		text := strings.Join([]string{o.Bundle, o.KeyID, o.Product, o.Offer, o.Account, o.Nonce, fmt.Sprint(o.Timestamp)}, separator)
		o.Signature = base64.StdEncoding.EncodeToString(der(t, w.key, text))
		return o
	}
	n := 0
	offer := func() fakeapple.Offer {
		n++
		return fakeapple.Offer{Bundle: "com.example.app", KeyID: kid, Product: "pro", Offer: "winback", Account: "user", Nonce: nonce(n), Timestamp: w.clock().UnixMilli()}
	}
	const separator = "\u2063"
	for _, tt := range []struct {
		name   string
		before func(*fakeapple.Offer) // it is signed
		after  func(*fakeapple.Offer)
		why    string
	}{
		{"good", nil, nil, ""},
		{"without an account", func(o *fakeapple.Offer) { o.Account = "" }, nil, ""},
		{"an account in upper case", nil, func(o *fakeapple.Offer) { o.Account = "USER" }, ""},
		{"signed of an account in upper case", func(o *fakeapple.Offer) { o.Account = "USER" }, nil, "verify"},
		{"a nonce in upper case", func(o *fakeapple.Offer) { o.Nonce = strings.ToUpper(o.Nonce) }, nil, "lower case"},
		{"seconds", func(o *fakeapple.Offer) { o.Timestamp /= 1000 }, nil, "a day old"},
		{"a day old", func(o *fakeapple.Offer) { o.Timestamp -= 24 * 3600 * 1000 }, nil, "a day old"},
		{"almost", func(o *fakeapple.Offer) { o.Timestamp -= 24*3600*1000 - 1 }, nil, ""},
		{"ahead", func(o *fakeapple.Offer) { o.Timestamp++ }, nil, "future"},
		{"another product", nil, func(o *fakeapple.Offer) { o.Product = "max" }, "verify"},
		{"another offer", nil, func(o *fakeapple.Offer) { o.Offer = "more" }, "verify"},
		{"another time", nil, func(o *fakeapple.Offer) { o.Timestamp-- }, "verify"},
		{"another key", nil, func(o *fakeapple.Offer) { o.KeyID = "AAAAAAAAAA" }, "kid"},
		{"r and s", nil, func(o *fakeapple.Offer) { o.Signature = base64.StdEncoding.EncodeToString(raw(t, w.key, "x")) }, "verify"},
		{"base64url", nil, func(o *fakeapple.Offer) { o.Signature = "-_" + o.Signature[2:] }, "standard base64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w.Apple = fakeapple.New(w.clock)
			w.add(fakeapple.Key{Kind: fakeapple.InAppPurchase}, w.key)
			o := offer()
			if tt.before != nil {
				tt.before(&o)
			}
			o = signed(o, separator)
			if tt.after != nil {
				tt.after(&o)
			}
			if err := w.Redeem(o); (err == nil) != (tt.why == "") {
				t.Error(err)
			}
			w.why(t, tt.why)
			if tt.why == "" && w.Redeem(o) == nil {
				t.Error("taken twice")
			}
		})
	}
	if err := w.Redeem(signed(offer(), ".")); err == nil {
		t.Error("with another separator it is taken")
	}
}
