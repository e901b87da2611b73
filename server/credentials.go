package server

import (
	"google.golang.org/protobuf/proto"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
)

// parseCall is what a caller fills in for one token; nil when it fills in nothing, or narrows the scope.
func parseCall(req *signetv1.MintTokenRequest) (apple.Call, error) {
	switch p := req.GetParameters().(type) {
	case *signetv1.MintTokenRequest_PromotionalOffer:
		o := p.PromotionalOffer
		call, err := apple.NewOfferCall(o.GetProductId(), o.GetOfferId(), o.GetTransactionId(), o.GetAccount())
		return call, malformedField("promotional_offer.", err)
	case *signetv1.MintTokenRequest_IntroductoryOffer:
		o := p.IntroductoryOffer
		if o == nil || o.AllowIntroductoryOffer == nil {
			return nil, malformed("introductory_offer.allow_introductory_offer", "it is missing: say true or false")
		}
		call, err := apple.NewIntroductoryOfferCall(o.GetProductId(), o.GetTransactionId(), o.GetAllowIntroductoryOffer())
		return call, malformedField("introductory_offer.", err)
	case *signetv1.MintTokenRequest_AdvancedCommerce:
		call, err := apple.NewCommerceCall(p.AdvancedCommerce.GetRequest())
		return call, malformedField("advanced_commerce.", err)
	case *signetv1.MintTokenRequest_MapsSnapshot:
		call, err := apple.NewSnapshotCall(p.MapsSnapshot.GetQuery())
		return call, malformedField("maps_snapshot.", err)
	case *signetv1.MintTokenRequest_IworkExport:
		call, err := apple.NewExportCall(p.IworkExport.GetFileName())
		return call, malformedField("iwork_export.", err)
	case *signetv1.MintTokenRequest_Marketplace:
		call, err := apple.NewMarketplaceCall(p.Marketplace.GetDeveloperId())
		return call, malformedField("marketplace.", err)
	}
	return nil, nil
}

// setCredential puts what was minted into the answer, in the form in which Apple takes it.
func setCredential(to *signetv1.MintTokenResponse, t *apple.Token) {
	switch use := t.Family.Use(); use.Form {
	case apple.FormSecret:
		secret := &signetv1.ClientSecret{Token: t.Text, Field: use.Field, Url: t.Family.URL()}
		for _, f := range t.Fields {
			secret.Form = append(secret.Form, &signetv1.FormField{Name: f.Name, Value: f.Value})
		}
		to.Credential = &signetv1.MintTokenResponse_ClientSecret{ClientSecret: secret}
	case apple.FormApp, apple.FormUpload:
		to.Credential = &signetv1.MintTokenResponse_HandedToken{HandedToken: &signetv1.HandedToken{Token: t.Text, Nonce: t.Nonce}}
	case apple.FormSignature:
		to.Credential = &signetv1.MintTokenResponse_OfferSignature{OfferSignature: &signetv1.OfferSignature{
			Signature: t.Text, Nonce: t.Nonce, Timestamp: t.Offer.Timestamp,
		}}
	case apple.FormURL:
		to.Credential = &signetv1.MintTokenResponse_SignedUrl{SignedUrl: &signetv1.SignedUrl{Url: t.Text}}
	default:
		bearer := &signetv1.BearerToken{Token: t.Text}
		if t.Family != apple.FamilyAppStoreConnect { // what is said of the others is what is true of this one when nothing is
			bearer.Hosts = t.Hosts
			if use.Scheme != "Bearer" || len(use.Hosts) == 0 {
				bearer.Scheme = proto.String(use.Scheme)
			}
		}
		to.Credential = &signetv1.MintTokenResponse_BearerToken{BearerToken: bearer}
	}
}

func wireFields(fields []apple.Field) []*signetv1.ProfileField {
	var wire []*signetv1.ProfileField
	for _, f := range fields {
		wire = append(wire, &signetv1.ProfileField{Name: f.Name, Values: f.Values, Required: f.Required})
	}
	return wire
}
