package client

import (
	"fmt"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// Call is what a caller fills in for one token, of a family that has something to fill in: PromotionalOffer, IntroductoryOffer,
// AdvancedCommerce, MapsSnapshot, IWorkExport or Marketplace. Profile.parameters, as AllProfiles gives it, says which a profile wants.
// The server checks the values, and that the profile allows them.
type Call interface {
	// fill puts the values into a request.
	fill(*signetv1.MintTokenRequest)
	// once says that what is minted is for one use.
	once() bool
}

// PromotionalOffer is one promotional offer to one customer, for either style of its signature.
type PromotionalOffer struct {
	// ProductID and OfferID are those of App Store Connect.
	ProductID, OfferID string
	// TransactionID is that of any transaction of the customer's, or of the app transaction; may be empty. Not of the original style.
	TransactionID string
	// Account is the app account token, or the name of the user, that the app gives to StoreKit; may be empty. Only of the original style.
	Account string
}

// IntroductoryOffer is whether one customer may have an introductory offer.
type IntroductoryOffer struct {
	// ProductID is that of App Store Connect.
	ProductID string
	// TransactionID is that of any transaction of the customer's, or of the app transaction.
	TransactionID string
	// Allow says whether the customer may.
	Allow bool
}

// AdvancedCommerce is one request of the Advanced Commerce API that an app makes.
type AdvancedCommerce struct {
	// Request is its JSON, which is signed byte for byte.
	Request []byte
}

// MapsSnapshot is one picture of a map.
type MapsSnapshot struct {
	// Query is the query of its URL, encoded, such as "center=37.33,-122.0&z=12"; without teamId, keyId and signature.
	Query string
}

// IWorkExport is one document of iWork that is exported as PDF.
type IWorkExport struct {
	// FileName is the name that the PDF is to have.
	FileName string
}

// Marketplace is one developer whose apps an alternative marketplace may take.
type Marketplace struct {
	// DeveloperID is the developer's Developer ID.
	DeveloperID string
}

func (o PromotionalOffer) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_PromotionalOffer{PromotionalOffer: &signetv1.PromotionalOfferParameters{
		ProductId: o.ProductID, OfferId: o.OfferID, TransactionId: o.TransactionID, Account: o.Account,
	}}
}

func (o IntroductoryOffer) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_IntroductoryOffer{IntroductoryOffer: &signetv1.IntroductoryOfferParameters{
		ProductId: o.ProductID, TransactionId: o.TransactionID, AllowIntroductoryOffer: &o.Allow,
	}}
}

func (a AdvancedCommerce) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_AdvancedCommerce{AdvancedCommerce: &signetv1.AdvancedCommerceParameters{Request: a.Request}}
}

func (m MapsSnapshot) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_MapsSnapshot{MapsSnapshot: &signetv1.MapsSnapshotParameters{Query: m.Query}}
}

func (e IWorkExport) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_IworkExport{IworkExport: &signetv1.IworkExportParameters{FileName: e.FileName}}
}

func (m Marketplace) fill(r *signetv1.MintTokenRequest) {
	r.Parameters = &signetv1.MintTokenRequest_Marketplace{Marketplace: &signetv1.MarketplaceParameters{DeveloperId: m.DeveloperID}}
}

func (PromotionalOffer) once() bool  { return true }
func (IntroductoryOffer) once() bool { return true }
func (AdvancedCommerce) once() bool  { return true }
func (MapsSnapshot) once() bool      { return true }
func (IWorkExport) once() bool       { return true } // Apple wants a new one even for a request that is repeated
func (Marketplace) once() bool       { return false }

// parameters puts what a caller asks for into a request: the requests of a scope, or a call's values.
func (o *MintOptions) parameters(r *signetv1.MintTokenRequest) error {
	switch {
	case len(o.Scope) > 0 && o.Call != nil:
		return fmt.Errorf("%w: no family of tokens has both a scope and values of a call; give Scope or Call, and nothing was asked for yet", ErrMalformed)
	case len(o.Scope) > 0:
		r.Parameters = &signetv1.MintTokenRequest_Scope{Scope: &signetv1.ScopeParameters{Entries: o.Scope}}
	case o.Call != nil:
		o.Call.fill(r)
	}
	return nil
}
