package server

import (
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/p8signet/signet/proto/signet/v1"
)

// carriers are all fields of the wire that could carry bytes or text, and so a private key: what each is instead, and
// who sees to it. A new field fails TestNoFieldForAKey until somebody has thought about it.
var carriers = map[protoreflect.FullName]string{
	// In: opened, compiled or parsed before anything is kept; and every one is refused when it looks like a key.
	"signet.v1.ImportKeyRequest.sealed":                    "HPKE ciphertext",
	"signet.v1.ApplyPolicyRequest.document":                "policy, parsed strictly",
	"signet.v1.ProveInclusionRequest.leaf_hash":            "SHA-256",
	"signet.v1.ProveConsistencyRequest.checkpoint":         "signed note, parsed",
	"signet.v1.IssueCertificateRequest.csr":                "PKCS#10: a public key",
	"signet.v1.MintTokenRequest.profile":                   "name",
	"signet.v1.ScopeParameters.entries":                    "scope grammar",
	"signet.v1.PromotionalOfferParameters.product_id":      "at most 255 characters, of an identifier",
	"signet.v1.PromotionalOfferParameters.offer_id":        "at most 255 characters, of an identifier",
	"signet.v1.PromotionalOfferParameters.transaction_id":  "at most 64 characters",
	"signet.v1.PromotionalOfferParameters.account":         "free text, signed and not kept",
	"signet.v1.IntroductoryOfferParameters.product_id":     "at most 255 characters, of an identifier",
	"signet.v1.IntroductoryOfferParameters.transaction_id": "at most 64 characters",
	"signet.v1.AdvancedCommerceParameters.request":         "JSON, signed and not kept",
	"signet.v1.MapsSnapshotParameters.query":               "query of a URL, signed and not kept",
	"signet.v1.IworkExportParameters.file_name":            "name of a file, signed and not kept",
	"signet.v1.MarketplaceParameters.developer_id":         "at most 64 characters",
	"signet.v1.ListProfilesRequest.page_token":             "name",
	"signet.v1.ImportKeyRequest.name":                      "name",
	"signet.v1.KeyFacts.kind":                              "one of a list",
	"signet.v1.KeyFacts.key_id":                            "at most 64 characters",
	"signet.v1.KeyFacts.issuer_id":                         "UUID",
	"signet.v1.KeyFacts.team_id":                           "ten characters, or an Apple Ads id",
	"signet.v1.KeyFacts.client_id":                         "an id of an API account",
	"signet.v1.KeyFacts.app_id":                            "digits",
	"signet.v1.KeyFacts.services":                          "some of a list",
	"signet.v1.KeyFacts.environment":                       "one of a list",
	"signet.v1.KeyFacts.topics":                            "at most 155 characters each, of an identifier",
	"signet.v1.KeyFacts.roles":                             "some of a list",
	"signet.v1.UpdateKeyRequest.name":                      "name",
	"signet.v1.UpdateKeyRequest.update_mask":               "some of a list",
	"signet.v1.UpdateKeyRequest.reason":                    "free text",
	"signet.v1.GenerateKeyRequest.name":                    "name",
	"signet.v1.GetPublicKeyRequest.name":                   "name",
	"signet.v1.ImportKeyRequest.allow_duplicate":           "name",
	"signet.v1.ListKeysRequest.page_token":                 "name",
	"signet.v1.GetKeyRequest.name":                         "name",
	"signet.v1.ActivateVersionRequest.name":                "name",
	"signet.v1.DisableKeyRequest.name":                     "name",
	"signet.v1.DisableKeyRequest.reason":                   "free text",
	"signet.v1.EnableKeyRequest.name":                      "name",
	"signet.v1.EnableKeyRequest.reason":                    "free text",
	"signet.v1.RevokeKeyRequest.name":                      "name",
	"signet.v1.RevokeKeyRequest.reason":                    "free text",
	"signet.v1.ApplyPolicyRequest.etag":                    "compared",
	"signet.v1.ListRevisionsRequest.page_token":            "number",
	"signet.v1.EntryFilter.key":                            "compared",
	"signet.v1.EntryFilter.principal":                      "compared",
	"signet.v1.EntryFilter.action":                         "compared",
	"signet.v1.EntryFilter.outcome":                        "compared",
	"signet.v1.EntryFilter.log":                            "compared",
	"signet.v1.EntryFilter.profile":                        "compared",
	"signet.v1.EntryFilter.token_sha256":                   "SHA-256",
	"signet.v1.ListEntriesRequest.page_token":              "place in a log",
	"signet.v1.GetCheckpointRequest.log":                   "compared",
	"signet.v1.EntryPlace.log":                             "compared",
	"signet.v1.TraceTokenRequest.sha256":                   "SHA-256",
	"signet.v1.ProveInclusionRequest.log":                  "compared",
	"signet.v1.IssueCertificateRequest.uri":                "SPIFFE id",
	"signet.v1.IssueCertificateRequest.hosts":              "DNS name or IP address",
	"signet.v1.AcknowledgeRequest.id":                      "compared",
	"signet.v1.AcknowledgeRequest.reason":                  "free text",
	"signet.v1.ForgetMemberRequest.node":                   "compared",
	"signet.v1.ForgetMemberRequest.reason":                 "free text",
	"signet.v1.Member.node":                                "name",
	"signet.v1.Member.incarnation":                         "id",
	"signet.v1.Member.fenced_by":                           "name",

	// Out: made by us from what is public.
	"signet.v1.BearerToken.token":                       "signed token",
	"signet.v1.BearerToken.scheme":                      "our words",
	"signet.v1.BearerToken.hosts":                       "hosts of Apple",
	"signet.v1.ClientSecret.token":                      "signed token",
	"signet.v1.ClientSecret.field":                      "our words",
	"signet.v1.ClientSecret.url":                        "URL of Apple",
	"signet.v1.FormField.name":                          "our words",
	"signet.v1.FormField.value":                         "facts of the key, and our words",
	"signet.v1.HandedToken.token":                       "signed token",
	"signet.v1.HandedToken.nonce":                       "random id",
	"signet.v1.OfferSignature.signature":                "signature",
	"signet.v1.OfferSignature.nonce":                    "random id",
	"signet.v1.SignedUrl.url":                           "URL of Apple with a signature",
	"signet.v1.Profile.form":                            "one of a list",
	"signet.v1.ProfileField.name":                       "our words",
	"signet.v1.ProfileField.values":                     "values of the policy",
	"signet.v1.Key.incomplete":                          "our words",
	"signet.v1.PublicKey.pem":                           "public key",
	"signet.v1.PublicKey.fingerprint":                   "SHA-256 of the public key",
	"signet.v1.MintTokenResponse.scope":                 "canonical scope",
	"signet.v1.MintTokenResponse.key_id":                "Apple's key ID",
	"signet.v1.MintTokenResponse.sha256":                "SHA-256",
	"signet.v1.ListProfilesResponse.next_page_token":    "name",
	"signet.v1.Profile.name":                            "name",
	"signet.v1.Profile.family":                          "one of a list",
	"signet.v1.Profile.key_id":                          "Apple's key ID",
	"signet.v1.Profile.scope":                           "canonical scope",
	"signet.v1.Profile.reads":                           "some of a list",
	"signet.v1.Profile.reuse":                           "one of a list",
	"signet.v1.Profile.unavailable_reason":              "our words",
	"signet.v1.Receipt.origin":                          "names",
	"signet.v1.Receipt.leaf_hash":                       "SHA-256",
	"signet.v1.Receipt.proof":                           "hashes and a signed note",
	"signet.v1.Receipt.entry":                           "audit entry",
	"signet.v1.Recipient.note":                          "public key, signed",
	"signet.v1.Recipient.id":                            "random id",
	"signet.v1.ImportKeyResponse.warnings":              "our words",
	"signet.v1.Key.name":                                "name",
	"signet.v1.Key.kind":                                "one of a list",
	"signet.v1.Key.issuer_id":                           "UUID",
	"signet.v1.Key.problem":                             "our words",
	"signet.v1.KeyVersion.key_id":                       "Apple's key ID",
	"signet.v1.KeyVersion.fingerprint":                  "SHA-256 of the public key",
	"signet.v1.Twin.name":                               "name",
	"signet.v1.RevokeKeyResponse.warnings":              "our words",
	"signet.v1.ListKeysResponse.next_page_token":        "name",
	"signet.v1.Exposure.remaining_step":                 "our words",
	"signet.v1.LogExposure.origin":                      "names",
	"signet.v1.LogExposure.unreachable":                 "our words",
	"signet.v1.Holder.kind":                             "one of a list",
	"signet.v1.Holder.id":                               "SPIFFE id",
	"signet.v1.Policy.document":                         "policy, as it was applied",
	"signet.v1.Policy.digest":                           "SHA-256",
	"signet.v1.Policy.etag":                             "digest",
	"signet.v1.Policy.author":                           "SPIFFE id",
	"signet.v1.Problem.message":                         "our words",
	"signet.v1.ListRevisionsResponse.next_page_token":   "number",
	"signet.v1.ListEntriesResponse.next_page_token":     "place in a log",
	"signet.v1.StoredEntry.origin":                      "names",
	"signet.v1.StoredEntry.line":                        "audit entry",
	"signet.v1.TracedToken.family":                      "one of a list",
	"signet.v1.TracedToken.scope":                       "canonical scope",
	"signet.v1.TracedToken.key":                         "name",
	"signet.v1.TracedToken.key_id":                      "Apple's key ID",
	"signet.v1.TracedToken.fingerprint":                 "SHA-256 of the public key",
	"signet.v1.TracedToken.version_state":               "one of a list",
	"signet.v1.TracedToken.remaining_step":              "our words",
	"signet.v1.TokenHolder.kind":                        "one of a list",
	"signet.v1.TokenHolder.id":                          "SPIFFE id",
	"signet.v1.TokenDelivery.origin":                    "names",
	"signet.v1.TokenDelivery.node":                      "name",
	"signet.v1.TokenDelivery.request_id":                "random id",
	"signet.v1.TokenDelivery.principal_kind":            "one of a list",
	"signet.v1.TokenDelivery.principal":                 "SPIFFE id",
	"signet.v1.TokenDelivery.certificate":               "SHA-256",
	"signet.v1.TokenDelivery.peer":                      "address",
	"signet.v1.TokenDelivery.profile":                   "name",
	"signet.v1.TokenDelivery.grant":                     "name",
	"signet.v1.TokenDelivery.policy":                    "SHA-256",
	"signet.v1.AskedLog.origin":                         "names",
	"signet.v1.AskedLog.unreachable":                    "our words",
	"signet.v1.KeyUsage.name":                           "name",
	"signet.v1.KeyUsage.state":                          "one of a list",
	"signet.v1.KeyUsage.key_id":                         "Apple's key ID",
	"signet.v1.ProfileUsage.name":                       "name",
	"signet.v1.ProfileUsage.key":                        "name",
	"signet.v1.PrincipalUsage.id":                       "SPIFFE id",
	"signet.v1.ProfileCount.profile":                    "name",
	"signet.v1.GrantUsage.id":                           "name",
	"signet.v1.GrantUsage.unused_profiles":              "names",
	"signet.v1.Checkpoint.note":                         "signed note",
	"signet.v1.ProveInclusionResponse.proof":            "hashes and a signed note",
	"signet.v1.ProveConsistencyResponse.checkpoint":     "signed note",
	"signet.v1.ProveConsistencyResponse.hashes":         "SHA-256",
	"signet.v1.Status.version":                          "our words",
	"signet.v1.Status.vault_id":                         "random id",
	"signet.v1.Status.node":                             "name",
	"signet.v1.Status.reasons":                          "our words",
	"signet.v1.StoreStatus.lineage":                     "random id",
	"signet.v1.StoreStatus.digest":                      "SHA-256",
	"signet.v1.StoreStatus.damaged_keys":                "names",
	"signet.v1.KekStatus.uri":                           "URI without secrets",
	"signet.v1.KekChange.uri":                           "URI without secrets",
	"signet.v1.LogStatus.origin":                        "names",
	"signet.v1.LogStatus.verifier_key":                  "public key",
	"signet.v1.Gap.id":                                  "random id",
	"signet.v1.Gap.kind":                                "one of a list",
	"signet.v1.Gap.detail":                              "our words",
	"signet.v1.IssueCertificateResponse.certificate":    "certificate",
	"signet.v1.IssueCertificateResponse.ca_certificate": "certificate",
	"signet.v1.IssueCertificateResponse.fingerprint":    "SHA-256",
}

// plainTypes are the messages of others that fields of ours may have: they hold numbers.
var plainTypes = map[protoreflect.FullName]bool{"google.protobuf.Timestamp": true, "google.protobuf.Duration": true}

// TestNoFieldForAKey walks every message of the wire: law 1.
func TestNoFieldForAKey(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			m := messages.Get(i)
			walk(m.Messages())
			for j := range m.Fields().Len() {
				f := m.Fields().Get(j)
				switch {
				case f.Kind() == protoreflect.StringKind, f.Kind() == protoreflect.BytesKind:
					seen[f.FullName()] = true
					if carriers[f.FullName()] == "" {
						t.Errorf("%s could carry a private key: say in carriers what it is instead", f.FullName())
					}
				case f.IsMap():
					t.Errorf("%s is a map, which takes what nobody has listed", f.FullName())
				case f.Message() != nil && carriers[f.FullName()] != "":
					seen[f.FullName()] = true
				case f.Message() != nil && f.Message().ParentFile().Package() != "signet.v1" && !plainTypes[f.Message().FullName()]:
					t.Errorf("%s is a %s, which takes what nobody has listed", f.FullName(), f.Message().FullName())
				}
			}
		}
	}
	protoregistry.GlobalFiles.RangeFilesByPackage(signetv1.File_signet_v1_token_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		walk(f.Messages())
		return true
	})
	for name := range carriers {
		if !seen[name] {
			t.Errorf("%s is in carriers and on no wire", name)
		}
	}
}
