// Package apple knows Apple's signing keys and the tokens that are made with them: which kinds of key there are,
// what a .p8 file looks like in all the shapes in which people hand it over, which claims each family of token
// takes, and how one is signed.
//
// It is pure but for the randomness of a signature: no I/O, no clock, no state. Time, facts and signers come in as arguments, so every function is safe
// for concurrent use and a crash leaves nothing behind.
//
// # Trust
//
// Text that comes from outside becomes a value of this package only through a Parse function, and no error of a
// Parse function repeats any part of its input: what was pasted may be a private key. A token is signed from a
// [Spec] alone; a Spec is made only by the typed [Params] of a family from checked [Facts], and the zero Spec
// cannot be minted. There is no way to have bytes of a caller's choosing signed.
//
// Private key bytes are held only by a [Key], while a file is being imported; [Key.Wipe] overwrites them. Minting
// takes a [crypto.Signer] and never sees them.
package apple

import (
	"errors"
	"regexp"
	"slices"
	"strings"
)

// Kind is what Apple calls a key: it decides which families of token the key can sign and what must be known of it.
type Kind string

// The kinds of key that can be kept.
const (
	// KindAppStoreConnect is a team key of App Store Connect: it has an issuer ID and spans all apps.
	KindAppStoreConnect Kind = "app-store-connect"
	// KindAppStoreConnectIndividual is the key of one App Store Connect user: it has no issuer ID.
	KindAppStoreConnectIndividual Kind = "app-store-connect-individual"
	// KindEnterprise is a key of the Enterprise Program API.
	KindEnterprise Kind = "enterprise"
)

// kindInAppPurchase is known from its file name only: see KeyFileHint.
const kindInAppPurchase Kind = "in-app-purchase"

// Kinds lists every kind that ParseKind accepts, in the order in which they are documented.
func Kinds() []Kind {
	return []Kind{KindAppStoreConnect, KindAppStoreConnectIndividual, KindEnterprise}
}

// ParseKind accepts exactly the names that Kinds lists.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", errors.New("unknown kind of key: it is one of app-store-connect, app-store-connect-individual, enterprise")
}

// KeyID is Apple's identifier of a key, the kid of a token's header.
type KeyID string

var (
	keyIDShape   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	usualKeyID   = regexp.MustCompile(`^[A-Z0-9]{10}$`)
	issuerShape  = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	keyFileShape = regexp.MustCompile(`^(AuthKey|ApiKey|SubscriptionKey)_([A-Z0-9]{8,12})\.p8$`)
)

// ParseKeyID accepts 1 to 64 letters, digits, dots, underscores and hyphens, and keeps them as they are. Nearly every
// key ID is ten upper-case letters and digits; for another shape the warning says so and is otherwise empty.
func ParseKeyID(s string) (id KeyID, warning string, err error) {
	if !keyIDShape.MatchString(s) {
		return "", "", errors.New("not a key ID: it is the (nearly always ten) letters and digits that App Store Connect shows beside the key and that its file name carries, AuthKey_<key ID>.p8")
	}
	if !usualKeyID.MatchString(s) {
		warning = "the key ID is not ten upper-case letters and digits, as nearly all are: compare it with the one that Apple shows"
	}
	return KeyID(s), warning, nil
}

// IssuerID is the identifier of an organisation at Apple, the iss of a team's token.
type IssuerID string

// ParseIssuerID accepts the text form of a UUID, any variant and version (Apple's often are none of RFC 9562's), and
// keeps it byte for byte.
func ParseIssuerID(s string) (IssuerID, error) {
	if !issuerShape.MatchString(s) {
		return "", errors.New("not an issuer ID: it is the UUID (8-4-4-4-12 hexadecimal digits) shown above the list of keys under Users and Access, Integrations")
	}
	return IssuerID(s), nil
}

// Facts is what must be known about a key to mint with it.
type Facts struct {
	Kind   Kind
	KeyID  KeyID
	Issuer IssuerID // empty for an individual key
}

// Validate reports the first thing that is missing from the facts, malformed, or of no use to the kind.
func (f Facts) Validate() error {
	if _, err := ParseKind(string(f.Kind)); err != nil {
		return err
	}
	if f.KeyID == "" {
		return errors.New("the key ID is missing: Apple shows it beside the key, and the file name carries it, AuthKey_<key ID>.p8")
	}
	if _, _, err := ParseKeyID(string(f.KeyID)); err != nil {
		return err
	}
	if f.Kind == KindAppStoreConnectIndividual {
		if f.Issuer != "" {
			return errors.New("an individual key has no issuer ID (Apple answers 401 to a token that names one): leave it out, or say that this is a team key, kind app-store-connect")
		}
		return nil
	}
	if f.Issuer == "" {
		return errors.New("the issuer ID is missing: it is shown above the list of keys under Users and Access, Integrations; only an individual key, kind app-store-connect-individual, has none")
	}
	_, err := ParseIssuerID(string(f.Issuer))
	return err
}

// KeyFileHint reads what the name of a downloaded key file says: AuthKey_<key ID>.p8 is a team key or a key of the
// developer portal (kind is empty: the name does not tell which), ApiKey_ an individual key, SubscriptionKey_ an
// In-App Purchase key, a kind that ParseKind does not know. The name may come with its folders. People rename files:
// the kind is a hint and decides nothing.
func KeyFileHint(name string) (kid KeyID, kind Kind, ok bool) {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	m := keyFileShape.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	switch m[1] {
	case "ApiKey":
		kind = KindAppStoreConnectIndividual
	case "SubscriptionKey":
		kind = kindInAppPurchase
	}
	return KeyID(m[2]), kind, true
}
