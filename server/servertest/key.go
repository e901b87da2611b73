package servertest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/store/envelope"
)

// What Apple's pages say of the keys that NewKey makes, as far as their kind has it.
const (
	// IssuerID is the issuer of team, enterprise and In-App Purchase keys.
	IssuerID = "57246542-96fe-1a63-e053-0824d011072a"
	// TeamID is the team of keys of the developer portal.
	TeamID = "DEF123GHIJ"
	// AdsID is the team, and the client, of Apple Ads keys.
	AdsID = "SEARCHADS.27478e71-3bb0-4588-998c-182e2b405577"
	// BusinessID is the client of keys of School and Business.
	BusinessID = "BUSINESSAPI.9703f56c-10ce-4876-8f59-e78e5e23a152"
	// AppID is the app of keys of a marketplace.
	AppID = "1234567890"
)

// services are those of every key of the developer portal.
const services = "account-data-sharing,apns,classkit-catalog,device-check,iwork-export,mapkit-js,media-services,sign-in-with-apple,weatherkit"

// Key is a key as the account holder has it.
type Key struct {
	// Private is the key itself.
	Private *ecdsa.PrivateKey
	// PKCS8 is its DER, P8 the file as Apple gives it out.
	PKCS8, P8 []byte
	// Kind, KeyID and IssuerID are what Apple's pages say of it; what its kind does not have is empty.
	Kind, KeyID, IssuerID string

	facts sealed.Facts
}

// factsOf are the facts that keys of a kind have.
func factsOf(kind string) sealed.Facts {
	f := sealed.Facts{Kind: kind, KeyID: strings.ToUpper(rand.Text()[:10])}
	switch kind {
	case "app-store-connect", "enterprise", "in-app-purchase":
		f.Issuer = IssuerID
	case "developer-portal":
		f.Team, f.Services = TeamID, services
	case "apple-ads":
		f.Team, f.Client = AdsID, AdsID
	case "school-business":
		f.Client = BusinessID
	case "marketplace":
		f.KeyID, f.App = "", AppID
	}
	return f
}

// NewKey makes a key of a kind, such as "app-store-connect". One of the developer portal is enabled for all services.
func (s *Server) NewKey(kind string) *Key {
	s.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.check("making a key", err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	s.check("encoding a key", err)
	facts := factsOf(kind)
	return &Key{
		Private: private, PKCS8: der, P8: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		Kind: kind, KeyID: facts.KeyID, IssuerID: facts.Issuer, facts: facts,
	}
}

// Seal seals a key to the vault's current recipient, as the account holder does.
func (s *Server) Seal(key *Key) []byte {
	s.t.Helper()
	verifier, err := note.NewVerifier(s.made.LogKey)
	s.check("reading the log's key", err)
	answer, err := signetv1.NewKeyServiceClient(s.Operator()).GetRecipient(context.Background(), &signetv1.GetRecipientRequest{})
	s.check("getting a recipient", err)
	recipient, err := sealed.ParseRecipient(answer.GetNote(), verifier)
	s.check("reading the recipient", err)
	file, err := sealed.Seal(recipient, key.PKCS8, key.facts)
	s.check("sealing", err)
	return file
}

// ImportKey makes a key of a kind and imports it under a name, as the account holder and the operator do together.
func (s *Server) ImportKey(name, kind string) *Key {
	s.t.Helper()
	key := s.NewKey(kind)
	_, err := signetv1.NewKeyServiceClient(s.Operator()).ImportKey(context.Background(), &signetv1.ImportKeyRequest{Name: name, Sealed: s.Seal(key)})
	s.check("importing the key", err)
	return key
}

// memoryKEK is a real KEK whose key is nowhere but here.
type memoryKEK struct{ key []byte }

func newKEK() envelope.KEK {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &memoryKEK{key}
}

func (k *memoryKEK) URI() string { return "memory:servertest" }

func (k *memoryKEK) Wrap(_ context.Context, key, aad []byte) ([]byte, error) {
	return envelope.SealKey(k.key, key, aad)
}

func (k *memoryKEK) Unwrap(_ context.Context, wrapped, aad []byte) ([]byte, error) {
	key, err := envelope.OpenKey(k.key, wrapped, aad)
	if err != nil {
		return nil, errors.New("wrapped under another key")
	}
	return key, nil
}
