package server_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// echo is in every text of these tests that is refused, and in no answer.
const echo = "3ch0"

// TestBadCalls: what a caller fills in is refused with the name of the field and the rule, whatever the profile says, and nothing of it
// is repeated, recorded or signed.
func TestBadCalls(t *testing.T) {
	s, _ := everyFamily(t)
	tokens := signetv1.NewTokenServiceClient(s.Conn(ci))
	offer := func(p *signetv1.PromotionalOfferParameters) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "promotional-offer", Parameters: &signetv1.MintTokenRequest_PromotionalOffer{PromotionalOffer: p}}
	}
	intro := func(p *signetv1.IntroductoryOfferParameters) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "introductory-offer", Parameters: &signetv1.MintTokenRequest_IntroductoryOffer{IntroductoryOffer: p}}
	}
	commerce := func(text string) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "advanced-commerce-request", Parameters: &signetv1.MintTokenRequest_AdvancedCommerce{
			AdvancedCommerce: &signetv1.AdvancedCommerceParameters{Request: []byte(text)}}}
	}
	snapshot := func(query string) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "maps-snapshot", Parameters: &signetv1.MintTokenRequest_MapsSnapshot{MapsSnapshot: &signetv1.MapsSnapshotParameters{Query: query}}}
	}
	export := func(name string) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "iwork-export", Parameters: &signetv1.MintTokenRequest_IworkExport{IworkExport: &signetv1.IworkExportParameters{FileName: name}}}
	}
	market := func(id string) *signetv1.MintTokenRequest {
		return &signetv1.MintTokenRequest{Profile: "marketplace", Parameters: &signetv1.MintTokenRequest_Marketplace{Marketplace: &signetv1.MarketplaceParameters{DeveloperId: id}}}
	}
	long := func(n int) string { return strings.Repeat("a", n-len(echo)) + echo }
	tests := []struct {
		name, field string
		in          *signetv1.MintTokenRequest
	}{
		{"offer of nothing", "promotional_offer.product_id", offer(&signetv1.PromotionalOfferParameters{})},
		{"offer without a product", "promotional_offer.product_id", offer(&signetv1.PromotionalOfferParameters{OfferId: echo})},
		{"offer of no product", "promotional_offer.product_id", offer(&signetv1.PromotionalOfferParameters{ProductId: "a " + echo, OfferId: "b"})},
		{"offer of a long product", "promotional_offer.product_id", offer(&signetv1.PromotionalOfferParameters{ProductId: long(256), OfferId: "b"})},
		{"offer with a separator in it", "promotional_offer.product_id", offer(&signetv1.PromotionalOfferParameters{ProductId: echo + "\u2063", OfferId: "b"})},
		{"offer without an offer", "promotional_offer.offer_id", offer(&signetv1.PromotionalOfferParameters{ProductId: echo})},
		{"offer of no offer", "promotional_offer.offer_id", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: echo + "/"})},
		{"offer of a long offer", "promotional_offer.offer_id", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: long(256)})},
		{"offer of no transaction", "promotional_offer.transaction_id", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", TransactionId: echo + "!"})},
		{"offer of a long transaction", "promotional_offer.transaction_id", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", TransactionId: long(65)})},
		{"offer to an account with a line break", "promotional_offer.account", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", Account: echo + "\n"})},
		{"offer to an account with a separator", "promotional_offer.account", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", Account: echo + "\u2063x"})},
		{"offer to a long account", "promotional_offer.account", offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", Account: long(513)})},

		{"introductory offer that says nothing", "introductory_offer.allow_introductory_offer", intro(&signetv1.IntroductoryOfferParameters{ProductId: echo, TransactionId: "1"})},
		{"introductory offer without a product", "introductory_offer.product_id", intro(&signetv1.IntroductoryOfferParameters{TransactionId: "1", AllowIntroductoryOffer: proto.Bool(true)})},
		{"introductory offer of no product", "introductory_offer.product_id", intro(&signetv1.IntroductoryOfferParameters{ProductId: echo + " ", TransactionId: "1", AllowIntroductoryOffer: proto.Bool(true)})},
		{"introductory offer of a long product", "introductory_offer.product_id", intro(&signetv1.IntroductoryOfferParameters{ProductId: long(256), TransactionId: "1", AllowIntroductoryOffer: proto.Bool(true)})},
		{"introductory offer without a transaction", "introductory_offer.transaction_id", intro(&signetv1.IntroductoryOfferParameters{ProductId: echo, AllowIntroductoryOffer: proto.Bool(true)})},
		{"introductory offer of no transaction", "introductory_offer.transaction_id", intro(&signetv1.IntroductoryOfferParameters{ProductId: "a", TransactionId: echo + ".", AllowIntroductoryOffer: proto.Bool(true)})},

		{"commerce of nothing", "advanced_commerce.request", commerce("")},
		{"commerce that is no JSON", "advanced_commerce.request", commerce(`{"operation": "` + echo)},
		{"commerce that is a list", "advanced_commerce.request", commerce(`["` + echo + `"]`)},
		{"commerce of no operation", "advanced_commerce.request", commerce(`{"version": "` + echo + `"}`)},
		{"commerce of an operation that is none", "advanced_commerce.request", commerce(`{"operation": "` + echo + `", "version": "1"}`)},
		{"commerce of a number", "advanced_commerce.request", commerce(`{"operation": "A", "version": 1, "a": "` + echo + `"}`)},
		{"commerce with a member twice", "advanced_commerce.request", commerce(`{"operation": "A", "version": "1", "operation": "` + echo + `"}`)},
		{"commerce and more", "advanced_commerce.request", commerce(`{"operation": "A", "version": "1"} ` + echo)},
		{"commerce that is too long", "advanced_commerce.request", commerce(`{"operation": "A", "version": "1", "a": "` + long(16<<10) + `"}`)},

		{"map of nothing", "maps_snapshot.query", snapshot("")},
		{"map with a space", "maps_snapshot.query", snapshot("center=" + echo + " x")},
		{"map with a key of its own", "maps_snapshot.query", snapshot("center=1&keyId=" + echo)},
		{"map with a signature, in disguise", "maps_snapshot.query", snapshot("center=1&sign%61ture=" + echo)},
		{"map with a fragment", "maps_snapshot.query", snapshot("center=1#" + echo)},
		{"map without values", "maps_snapshot.query", snapshot(echo)},
		{"map that is too long", "maps_snapshot.query", snapshot("a=" + long(4096))},

		{"file without a name", "iwork_export.file_name", export("")},
		{"file in a folder", "iwork_export.file_name", export("a/" + echo)},
		{"file with a zero byte", "iwork_export.file_name", export(echo + "\x00")},
		{"file with a long name", "iwork_export.file_name", export(long(256))},

		{"developer without an id", "marketplace.developer_id", market("")},
		{"developer of no id", "marketplace.developer_id", market(echo + "/")},
		{"developer of a long id", "marketplace.developer_id", market(long(65))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tokens.MintToken(t.Context(), tt.in)
			expect(t, err, codes.InvalidArgument, "MALFORMED")
			checkRefusal(t, err, tt.field)
		})
	}
	// What is well-formed and not the family's is told in words of ours.
	for name, in := range map[string]*signetv1.MintTokenRequest{
		"an account, in the new style": offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", Account: echo}),
		"a transaction, in the original style": func() *signetv1.MintTokenRequest {
			in := offer(&signetv1.PromotionalOfferParameters{ProductId: "a", OfferId: "b", TransactionId: echo})
			in.Profile = "promotional-offer-signature"
			return in
		}(),
		"another family's": func() *signetv1.MintTokenRequest { in := export(echo); in.Profile = "apns"; return in }(),
	} {
		_, err := tokens.MintToken(t.Context(), in)
		expect(t, err, codes.InvalidArgument, "UNFIT_REQUEST")
		if strings.Contains(status.Convert(err).String(), echo) {
			t.Errorf("%s: it echoes: %v", name, err)
		}
	}
	for _, line := range entries(t, s, &signetv1.EntryFilter{}) {
		if strings.Contains(line, echo) {
			t.Errorf("recorded: %s", line)
		}
	}
}

// checkRefusal looks for the field in the violations, and for what was sent nowhere.
func checkRefusal(t *testing.T, err error, field string) {
	t.Helper()
	if fields := violations(err); !slices.Contains(fields, field) {
		t.Errorf("violations of %q, want %q: %v", fields, field, err)
	}
	wire, marshalErr := proto.Marshal(status.Convert(err).Proto())
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	if bytes.Contains(wire, []byte(echo)) {
		t.Errorf("it echoes: %v", err)
	}
}

// TestBadFacts: so it is with every fact of a key, in each of the requests that have facts.
func TestBadFacts(t *testing.T) {
	s := servertest.New(t, servertest.Options{Keys: map[string]string{"push": "developer-portal", "asc": "app-store-connect"}})
	keys := signetv1.NewKeyServiceClient(s.Operator())
	sealed := s.Seal(s.NewKey("developer-portal"))
	tests := []struct {
		name, field string
		facts       *signetv1.KeyFacts
	}{
		{"kind", "facts.kind", &signetv1.KeyFacts{Kind: echo}},
		{"kind that is long", "facts.kind", &signetv1.KeyFacts{Kind: strings.Repeat(echo, 17)}},
		{"key id", "facts.key_id", &signetv1.KeyFacts{KeyId: "a " + echo}},
		{"key id that is long", "facts.key_id", &signetv1.KeyFacts{KeyId: strings.Repeat(echo, 17)}},
		{"issuer", "facts.issuer_id", &signetv1.KeyFacts{IssuerId: echo}},
		{"team", "facts.team_id", &signetv1.KeyFacts{TeamId: echo}},
		{"team in small letters", "facts.team_id", &signetv1.KeyFacts{TeamId: "abc" + echo + "efg"}},
		{"client", "facts.client_id", &signetv1.KeyFacts{ClientId: "SEARCHADS." + echo}},
		{"app", "facts.app_id", &signetv1.KeyFacts{AppId: echo}},
		{"app that begins with nothing", "facts.app_id", &signetv1.KeyFacts{AppId: "01"}},
		{"service", "facts.services", &signetv1.KeyFacts{Services: []string{"apns", echo}}},
		{"too many services", "facts.services", &signetv1.KeyFacts{Services: slices.Repeat([]string{echo}, 17)}},
		{"environment", "facts.environment", &signetv1.KeyFacts{Environment: echo}},
		{"topic", "facts.topics", &signetv1.KeyFacts{Topics: []string{echo}}},
		{"topic with a comma", "facts.topics", &signetv1.KeyFacts{Topics: []string{"com.a,com." + echo}}},
		{"topic that is long", "facts.topics[0]", &signetv1.KeyFacts{Topics: []string{"com." + strings.Repeat(echo, 38)}}},
		{"too many topics", "facts.topics", &signetv1.KeyFacts{Topics: slices.Repeat([]string{"com." + echo}, 401)}},
		{"role", "facts.roles", &signetv1.KeyFacts{Roles: []string{echo}}},
		{"too many roles", "facts.roles", &signetv1.KeyFacts{Roles: slices.Repeat([]string{echo}, 17)}},
	}
	before := visible(t, s)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, imported := keys.ImportKey(t.Context(), &signetv1.ImportKeyRequest{Name: "new", Sealed: sealed, Facts: tt.facts})
			_, updated := keys.UpdateKey(t.Context(), &signetv1.UpdateKeyRequest{Name: "push", Facts: tt.facts, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topics"}}})
			_, generated := keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "new", Facts: tt.facts})
			for _, err := range []error{imported, updated, generated} {
				expect(t, err, codes.InvalidArgument, "MALFORMED")
				checkRefusal(t, err, tt.field)
			}
		})
	}
	mask := func(paths ...string) *signetv1.UpdateKeyRequest {
		return &signetv1.UpdateKeyRequest{Name: "push", UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}}
	}
	version := mask("topics")
	version.Version = -1
	reason := mask("topics")
	reason.Reason = strings.Repeat("a", 1025)
	bad := []struct {
		name, field string
		in          *signetv1.UpdateKeyRequest
	}{
		{"no mask", "update_mask", &signetv1.UpdateKeyRequest{Name: "push"}},
		{"an empty mask", "update_mask", mask()},
		{"a path that nobody knows", "update_mask.paths[1]", mask("topics", echo)},
		{"a path that is a fact and does not change", "update_mask.paths[0]", mask("kind")},
		{"an issuer", "update_mask.paths[0]", mask("issuer_id")},
		{"everything", "update_mask.paths[0]", mask("*")},
		{"a path within", "update_mask.paths[0]", mask("facts.topics")},
		{"a path twice", "update_mask.paths[1]", mask("topics", "topics")},
		{"very many paths", "update_mask.paths[1]", mask(slices.Repeat([]string{"topics"}, 10_000)...)},
		{"a version below 0", "version", version},
		{"a long reason", "reason", reason},
		{"no name", "name", &signetv1.UpdateKeyRequest{UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topics"}}}},
		{"a name that climbs", "name", &signetv1.UpdateKeyRequest{Name: "../" + echo, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topics"}}}},
	}
	for _, tt := range bad {
		t.Run(tt.name, func(t *testing.T) {
			_, err := keys.UpdateKey(t.Context(), tt.in)
			expect(t, err, codes.InvalidArgument, "MALFORMED")
			checkRefusal(t, err, tt.field)
		})
	}
	more := []struct {
		name string
		err  error
		code codes.Code
		why  string
	}{
		{"a version that is not there", second(keys.UpdateKey(t.Context(), &signetv1.UpdateKeyRequest{Name: "push", Version: 9, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"topics"}}})), codes.NotFound, "NOT_FOUND"},
		{"another team", second(keys.UpdateKey(t.Context(), &signetv1.UpdateKeyRequest{Name: "push", Facts: &signetv1.KeyFacts{TeamId: "ZZZ123GHIJ"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"team_id"}}})), codes.AlreadyExists, "ALREADY_EXISTS"},
		{"no team", second(keys.UpdateKey(t.Context(), mask("team_id"))), codes.InvalidArgument, "MALFORMED"},
		{"no services", second(keys.UpdateKey(t.Context(), mask("services"))), codes.InvalidArgument, "MALFORMED"},
		{"a key that Apple makes", second(keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "new", Facts: &signetv1.KeyFacts{Kind: "app-store-connect"}})), codes.InvalidArgument, "MALFORMED"},
		{"a key of no kind", second(keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "new"})), codes.InvalidArgument, "MALFORMED"},
		{"a key of no name", second(keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "a/", Facts: &signetv1.KeyFacts{Kind: "apple-ads"}})), codes.InvalidArgument, "MALFORMED"},
		{"a version of another kind", second(keys.GenerateKey(t.Context(), &signetv1.GenerateKeyRequest{Name: "asc", Facts: &signetv1.KeyFacts{Kind: "apple-ads"}})), codes.FailedPrecondition, "SEAL_MISMATCH"},
		{"the public half of nothing", second(keys.GetPublicKey(t.Context(), &signetv1.GetPublicKeyRequest{Name: "nothing"})), codes.NotFound, "NOT_FOUND"},
		{"the public half of no version", second(keys.GetPublicKey(t.Context(), &signetv1.GetPublicKeyRequest{Name: "push", Version: 2})), codes.NotFound, "NOT_FOUND"},
		{"the public half of a version below 0", second(keys.GetPublicKey(t.Context(), &signetv1.GetPublicKeyRequest{Name: "push", Version: -1})), codes.InvalidArgument, "MALFORMED"},
	}
	for _, tt := range more {
		t.Run(tt.name, func(t *testing.T) { expect(t, tt.err, tt.code, tt.why) })
	}
	if diff := cmp.Diff(before, visible(t, s), protocmp.Transform()); diff != "" {
		t.Errorf("bad input has changed something: %s", diff)
	}
}

// second is the error of a call.
func second[T any](_ T, err error) error { return err }
