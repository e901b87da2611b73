package apple

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// vector is a case of testdata/vectors.
type vector struct {
	Name   string       `json:"name"`
	Facts  vectorFacts  `json:"facts"`
	Params vectorParams `json:"params"`
	Ask    struct {
		TTL   int64       `json:"ttl"`
		Scope []string    `json:"scope"`
		Call  *vectorCall `json:"call"`
	} `json:"ask"`
	Now    time.Time      `json:"now"`
	Header map[string]any `json:"header"`
	Claims map[string]any `json:"claims"`
	Signed string         `json:"signed"`
	Output string         `json:"output"`
	Form   [][2]string    `json:"form"`
	Error  string         `json:"error"`
}

type vectorFacts struct {
	Kind        string   `json:"kind"`
	KeyID       string   `json:"key_id"`
	IssuerID    string   `json:"issuer_id"`
	TeamID      string   `json:"team_id"`
	ClientID    string   `json:"client_id"`
	AppID       string   `json:"app_id"`
	Services    []string `json:"services"`
	Environment string   `json:"environment"`
	Topics      []string `json:"topics"`
}

type vectorParams struct {
	Family      Family   `json:"family"`
	Scope       []string `json:"scope"`
	LongLived   bool     `json:"long_lived"`
	BundleID    string   `json:"bundle_id"`
	Products    []string `json:"products"`
	Offers      []string `json:"offers"`
	Operations  []string `json:"operations"`
	Environment string   `json:"environment"`
	Topics      []string `json:"topics"`
	ClientID    string   `json:"client_id"`
	ServiceID   string   `json:"service_id"`
	Scopes      []string `json:"scopes"`
	Origins     []string `json:"origins"`
	Developers  []string `json:"developers"`
}

type vectorCall struct {
	ProductID     string `json:"product_id"`
	OfferID       string `json:"offer_id"`
	TransactionID string `json:"transaction_id"`
	Account       string `json:"account"`
	Allow         *bool  `json:"allow_introductory_offer"`
	Request       string `json:"request"`
	Query         string `json:"query"`
	FileName      string `json:"file_name"`
	DeveloperID   string `json:"developer_id"`
}

// typed makes typed strings of plain ones; nil of nil.
func typed[T ~string](all []string) []T {
	if all == nil {
		return nil
	}
	list := make([]T, len(all))
	for i, s := range all {
		list[i] = T(s)
	}
	return list
}

func (p vectorParams) terms(t *testing.T) Terms {
	scope, err := ParseScopes(p.Scope)
	if err != nil {
		t.Fatal(err)
	}
	bundle, products, offers := BundleID(p.BundleID), typed[ProductID](p.Products), typed[OfferID](p.Offers)
	params, ok := map[Family]Params{
		FamilyAppStoreConnect:           AppStoreConnect{Scope: scope},
		FamilyEnterprise:                Enterprise{Scope: scope},
		FamilyNotary:                    Notary{},
		FamilyAppStoreServer:            AppStoreServer{Bundle: bundle},
		FamilyPromotionalOffer:          PromotionalOffer{bundle, products, offers},
		FamilyIntroductoryOffer:         IntroductoryOffer{bundle, products},
		FamilyAdvancedCommerceRequest:   AdvancedCommerceRequest{bundle, p.Operations},
		FamilyPromotionalOfferSignature: PromotionalOfferSignature{bundle, products, offers},
		FamilyAPNs:                      APNs{Environment(p.Environment), typed[BundleID](p.Topics)},
		FamilyDeviceCheck:               DeviceCheck{},
		FamilyAppAttest:                 AppAttest{},
		FamilySignInWithApple:           SignInWithApple{BundleID(p.ClientID)},
		FamilyAppleMusic:                AppleMusic{typed[Origin](p.Origins)},
		FamilyMapsServer:                MapsServer{},
		FamilyMapKit:                    MapKit{typed[MapScope](p.Scopes), typed[Domain](p.Origins)},
		FamilyMapsSnapshot:              MapsSnapshot{},
		FamilyWeatherKit:                WeatherKit{BundleID(p.ServiceID)},
		FamilyClassKit:                  ClassKit{},
		FamilyIWorkExport:               IWorkExport{},
		FamilyAppleAds:                  AppleAds{},
		FamilySchoolBusiness:            SchoolBusiness{},
		FamilyMarketplace:               Marketplace{p.Developers},
	}[p.Family]
	if !ok {
		t.Fatalf("unknown family %q", p.Family)
	}
	return Terms{params, p.LongLived}
}

func (c *vectorCall) call(f Family) (Call, error) {
	switch {
	case c == nil:
		return nil, nil
	case f == FamilyIntroductoryOffer:
		return NewIntroductoryOfferCall(c.ProductID, c.TransactionID, *c.Allow)
	case f == FamilyAdvancedCommerceRequest:
		return NewCommerceCall([]byte(c.Request))
	case f == FamilyMapsSnapshot:
		return NewSnapshotCall(c.Query)
	case f == FamilyIWorkExport:
		return NewExportCall(c.FileName)
	case f == FamilyMarketplace:
		return NewMarketplaceCall(c.DeveloperID)
	}
	return NewOfferCall(c.ProductID, c.OfferID, c.TransactionID, c.Account)
}

func (v vector) run(t *testing.T) {
	f := v.Facts
	facts := Facts{
		Kind: Kind(f.Kind), KeyID: KeyID(f.KeyID), Issuer: IssuerID(f.IssuerID), Team: TeamID(f.TeamID), Client: ClientID(f.ClientID), App: AppID(f.AppID),
		Services: typed[Service](f.Services), Environment: Environment(f.Environment), Topics: typed[BundleID](f.Topics),
	}
	scope, err := ParseScopes(v.Ask.Scope)
	if err != nil {
		t.Fatal(err)
	}
	call, callErr := v.Ask.Call.call(v.Params.Family)
	if callErr != nil {
		if v.Error != "malformed" {
			t.Errorf("error %v is not %s", callErr, v.Error)
		}
		return
	}
	terms, ask := v.Params.terms(t), Ask{TTL: time.Duration(v.Ask.TTL) * time.Second, Scope: scope, Call: call}
	spec, err := terms.Spec(facts, ask)
	check := terms.Check(facts)
	if v.Error != "" {
		_, ttlErr := ParseTTL(ask.TTL)
		fits := terms.Family().CheckKind(facts.Kind) == nil && facts.Validate() == nil
		is := map[string]bool{
			"malformed":         ttlErr != nil,
			"ttl-too-long":      errors.Is(err, ErrTTLTooLong),
			"scope-not-granted": errors.Is(err, ErrScopeNotGranted),
			"value-not-granted": errors.Is(err, ErrValueNotGranted),
			"unfit":             errors.Is(err, ErrUnfitAsk),
			"wrong-key":         !fits || terms.Family().rules().checkKey(facts) != nil,
			"not-long-lived":    check != nil && fits && terms.LongLived,
			"refused":           check != nil && fits,
		}
		if err == nil && check == nil || !is[v.Error] {
			t.Errorf("errors %v, %v are not %s", err, check, v.Error)
		}
		return
	}
	if err != nil || check != nil {
		t.Fatalf("Spec: %v, Check: %v", err, check)
	}
	token, err := Mint(spec, testKey, v.Now)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v.Form, formOf(token)); diff != "" {
		t.Errorf("form (-want +got):\n%s", diff)
	}
	if token.Nonce != "" {
		if id, err := uuid.Parse(token.Nonce); err != nil || id.String() != token.Nonce || id.Version() != 4 {
			t.Errorf("the nonce is no UUID in lower case: %q", token.Nonce)
		}
	}
	if v.Signed != "" {
		v.checkSigned(t, token)
		return
	}
	v.checkJWT(t, token)
}

func formOf(token Token) [][2]string {
	var form [][2]string
	for _, f := range token.Fields {
		form = append(form, [2]string{f.Name, f.Value})
	}
	return form
}

// checkJWT compares header and claims, in which <nonce> stands for what is drawn.
func (v vector) checkJWT(t *testing.T, token Token) {
	if err := Verify(token.Text, &testKey.PublicKey); err != nil {
		t.Error(err)
	}
	parts := strings.Split(token.Text, ".")
	if diff := cmp.Diff(v.Header, decodeSegment(t, parts[0])); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	claims := decodeSegment(t, parts[1])
	for name, value := range v.Claims {
		if value == "<nonce>" {
			v.Claims[name] = token.Nonce
		}
	}
	if diff := cmp.Diff(v.Claims, claims); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if got := json.Number(fmt.Sprint(token.IssuedAt.Unix())); got != claims["iat"] {
		t.Errorf("IssuedAt is %s", token.IssuedAt)
	}
	if exp, ok := claims["exp"]; ok && json.Number(fmt.Sprint(token.Expires.Unix())) != exp {
		t.Errorf("Expires is %s", token.Expires)
	}
}

// checkSigned verifies the signature of what is no JWT over the very text, and compares what is given out.
func (v vector) checkSigned(t *testing.T, token Token) {
	fill := strings.NewReplacer("<nonce>", token.Nonce)
	digest := sha256.Sum256([]byte(fill.Replace(v.Signed)))
	if v.Output != "" {
		text, ok := strings.CutPrefix(token.Text, v.Output)
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if !ok || err != nil || len(raw) != signatureLen {
			t.Fatalf("what is given out is not the output and a signature: %q, %v", token.Text, err)
		}
		r, s := new(big.Int).SetBytes(raw[:signatureLen/2]), new(big.Int).SetBytes(raw[signatureLen/2:])
		if !ecdsa.Verify(&testKey.PublicKey, digest[:], r, s) {
			t.Error("the signature is of another text")
		}
		return
	}
	der, err := base64.StdEncoding.DecodeString(token.Text)
	if err != nil {
		t.Fatal(err)
	}
	if !ecdsa.VerifyASN1(&testKey.PublicKey, digest[:], der) {
		t.Error("the signature is of another text")
	}
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/vectors/*.json")
	if err != nil {
		t.Fatal(err)
	}
	covered := make(map[Family]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var vectors []vector
		decodeJSON(t, text, &vectors)
		if len(vectors) == 0 {
			t.Errorf("%s has no vectors", file)
		}
		for _, v := range vectors {
			if v.Error == "" {
				covered[v.Params.Family] = true
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".json")+"/"+v.Name, v.run)
		}
	}
	for _, f := range Families() {
		if !covered[f] {
			t.Errorf("%s has no vector", f)
		}
	}
}
