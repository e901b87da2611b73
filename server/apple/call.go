package apple

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Call is what a caller fills in for one token, of a family that has something to fill in. Its types are made by their
// New functions alone, which check the form of every value; an error of one is a *FieldError. The zero values are unfit.
type Call interface {
	// Values are what is worth a record, by the names of the fields: not what says who a customer is.
	Values() []FormField
	call()
}

// FieldError says which field of a call is not as it must be.
type FieldError struct {
	Field string // its name, as in policies and calls
	Err   error
}

// Error names the field and the rule.
func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }

// Unwrap returns the rule.
func (e *FieldError) Unwrap() error { return e.Err }

// ProductID is what App Store Connect calls the product ID of an in-app purchase.
type ProductID string

// OfferID is what App Store Connect calls the identifier of a promotional offer.
type OfferID string

var (
	productShape     = regexp.MustCompile(`^[A-Za-z0-9._-]{1,255}$`)
	transactionShape = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	developerShape   = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	operationShape   = regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)

	errMissing = errors.New("it is missing, and this family of tokens needs it")
)

// ParseProductID accepts 1 to 255 letters, digits, dots, underscores and hyphens.
func ParseProductID(s string) (ProductID, error) {
	if !productShape.MatchString(s) {
		return "", errors.New("not a product ID: it is letters, digits, dots, underscores and hyphens, as App Store Connect shows it")
	}
	return ProductID(s), nil
}

// ParseOfferID accepts 1 to 255 letters, digits, dots, underscores and hyphens.
func ParseOfferID(s string) (OfferID, error) {
	if !productShape.MatchString(s) {
		return "", errors.New("not the identifier of an offer: it is letters, digits, dots, underscores and hyphens, as App Store Connect shows it")
	}
	return OfferID(s), nil
}

// ParseOperation accepts the name of an operation of the Advanced Commerce API, such as CREATE_ONE_TIME_CHARGE.
func ParseOperation(s string) (string, error) {
	if !operationShape.MatchString(s) {
		return "", errors.New("not an operation of the Advanced Commerce API: it is upper-case letters, digits and underscores, such as CREATE_ONE_TIME_CHARGE")
	}
	return s, nil
}

// OfferCall is one promotional offer, for either style of its signature.
type OfferCall struct {
	product     ProductID
	offer       OfferID
	transaction string // not of the original style
	account     string // only of the original style
}

// NewOfferCall checks the values of a promotional offer. The transaction is one of the customer's, or their app
// transaction; the account is the app account token or the name of the user, of which upper and lower case do not matter.
// Both may be empty.
func NewOfferCall(product, offer, transaction, account string) (OfferCall, error) {
	c := OfferCall{transaction: transaction, account: strings.ToLower(account)}
	var err error
	if c.product, err = ParseProductID(product); err != nil {
		return OfferCall{}, &FieldError{"product_id", presence(product, err)}
	}
	if c.offer, err = ParseOfferID(offer); err != nil {
		return OfferCall{}, &FieldError{"offer_id", presence(offer, err)}
	}
	if err := checkTransaction(transaction); transaction != "" && err != nil {
		return OfferCall{}, &FieldError{"transaction_id", err}
	}
	if err := checkAccount(account); err != nil {
		return OfferCall{}, &FieldError{"account", err}
	}
	return c, nil
}

func checkAccount(s string) error {
	switch {
	case len(s) > maxAccount:
		return fmt.Errorf("it is longer than %d bytes", maxAccount)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("it is not UTF-8, or has characters that cannot be printed")
	case strings.ContainsAny(s, "İΣ"):
		// Of which Apple's libraries make other text than ToLower does: two characters, or another one at the end of a word.
		return errors.New("it has a letter whose lower case is not the same everywhere: give it in lower case, as the app gives it to StoreKit")
	}
	return nil
}

// maxAccount is the length in bytes of the longest account.
const maxAccount = 512

// IntroductoryOfferCall is whether one customer may have an introductory offer.
type IntroductoryOfferCall struct {
	product     ProductID
	transaction string
	allow       bool
}

// NewIntroductoryOfferCall checks the values of an eligibility.
func NewIntroductoryOfferCall(product, transaction string, allow bool) (IntroductoryOfferCall, error) {
	c := IntroductoryOfferCall{transaction: transaction, allow: allow}
	var err error
	if c.product, err = ParseProductID(product); err != nil {
		return IntroductoryOfferCall{}, &FieldError{"product_id", presence(product, err)}
	}
	if err := checkTransaction(transaction); err != nil {
		return IntroductoryOfferCall{}, &FieldError{"transaction_id", presence(transaction, err)}
	}
	return c, nil
}

// MaxCommerceRequest is the length in bytes of the longest request of the Advanced Commerce API that is signed.
const MaxCommerceRequest = 16 << 10

// CommerceCall is one request of the Advanced Commerce API, which StoreKit makes.
type CommerceCall struct {
	request   string // the very bytes
	operation string
}

// NewCommerceCall checks a request: an object in JSON, of which every member stands there once, with an operation and a
// version. The rest is Apple's to judge. It is signed byte for byte as it is.
func NewCommerceCall(request []byte) (CommerceCall, error) {
	operation, err := commerceOperation(request)
	if err != nil {
		return CommerceCall{}, &FieldError{"request", err}
	}
	return CommerceCall{string(request), operation}, nil
}

func commerceOperation(request []byte) (string, error) {
	switch {
	case len(request) == 0:
		return "", errMissing
	case len(request) > MaxCommerceRequest:
		return "", fmt.Errorf("it is longer than %d bytes", MaxCommerceRequest)
	case !utf8.Valid(request) || !json.Valid(request):
		return "", errors.New("not JSON in UTF-8")
	}
	members, err := topMembers(request)
	if err != nil {
		return "", err
	}
	var operation, version string
	if json.Unmarshal(members["operation"], &operation) != nil || json.Unmarshal(members["version"], &version) != nil || version == "" {
		return "", errors.New(`it wants the members "operation" and "version", both text`)
	}
	return ParseOperation(operation)
}

// topMembers are the members of an object of valid JSON. One that stands there twice is refused: who reads it may take the other.
func topMembers(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object of JSON")
	}
	members := make(map[string]json.RawMessage)
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errors.New("not an object of JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("not an object of JSON")
		}
		text, _ := name.(string)
		if _, twice := members[text]; twice {
			return nil, errors.New("a member stands in the object twice")
		}
		members[text] = value
	}
	return members, nil
}

// SnapshotCall is one picture of a map.
type SnapshotCall struct {
	query string
}

// maxSnapshot is the length of the longest query of a snapshot: longer URLs are cut by what stands between.
const maxSnapshot = 4096

// NewSnapshotCall checks the query of a snapshot, such as "center=37.33,-122.0&z=12": URL-encoded, and without what is added
// here (teamId, keyId, signature). It is signed as it is.
func NewSnapshotCall(query string) (SnapshotCall, error) {
	if err := checkSnapshot(query); err != nil {
		return SnapshotCall{}, &FieldError{"query", presence(query, err)}
	}
	return SnapshotCall{query}, nil
}

func checkSnapshot(query string) error {
	switch {
	case len(query) > maxSnapshot:
		return fmt.Errorf("it is longer than %d bytes", maxSnapshot)
	case query != "" && query[0] == '?':
		return errors.New("it begins with the question mark that stands before a query: leave that out")
	}
	for i := range len(query) {
		// A quote could stand there too, and browsers encode it, after which the signature is another text's.
		if c := query[i]; !isUnreserved(c) && strings.IndexByte("%&=+,:;!*()$@/?", c) < 0 {
			return errors.New("it has a character that does not stay as it is in the query of a URL: encode it, %20 for a space")
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		pair, err := url.QueryUnescape(pair)
		name, _, ok := strings.Cut(pair, "=")
		if !ok || name == "" || err != nil {
			return errors.New("it is not name=value, with & between and encoded as a URL is")
		}
		if slices.ContainsFunc([]string{"teamId", "keyId", "signature"}, func(s string) bool { return strings.EqualFold(s, name) }) {
			return errors.New("teamId, keyId and signature are added here: leave them out")
		}
	}
	return nil
}

// ExportCall is one document that is exported.
type ExportCall struct {
	file string
}

// NewExportCall checks the name that the document is to have.
func NewExportCall(file string) (ExportCall, error) {
	if file == "" || len(file) > 255 || !utf8.ValidString(file) || strings.ContainsFunc(file, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }) {
		return ExportCall{}, &FieldError{"file_name", presence(file, errors.New("not the name of a file: it is 1 to 255 bytes of text without slashes and control characters"))}
	}
	return ExportCall{file}, nil
}

// MarketplaceCall is one developer whose apps a marketplace may take.
type MarketplaceCall struct {
	developer string
}

// ParseDeveloperID accepts a Developer ID, of which Apple does not publish the form: 1 to 64 letters, digits and hyphens.
func ParseDeveloperID(s string) (string, error) {
	if !developerShape.MatchString(s) {
		return "", errors.New("not a Developer ID: it is up to 64 letters, digits and hyphens")
	}
	return s, nil
}

// NewMarketplaceCall checks the developer's ID.
func NewMarketplaceCall(developer string) (MarketplaceCall, error) {
	if _, err := ParseDeveloperID(developer); err != nil {
		return MarketplaceCall{}, &FieldError{"developer_id", presence(developer, err)}
	}
	return MarketplaceCall{developer}, nil
}

// presence tells what is not there from what is malformed.
func presence(s string, err error) error {
	if s == "" {
		return errMissing
	}
	return err
}

func checkTransaction(s string) error {
	if !transactionShape.MatchString(s) {
		return errors.New("not the ID of a transaction: it is digits, as StoreKit gives it, of any transaction of the customer or of the app transaction")
	}
	return nil
}

// Values returns product and offer.
func (c OfferCall) Values() []FormField {
	return []FormField{{"product_id", string(c.product)}, {"offer_id", string(c.offer)}}
}

// Values returns the product, and whether the offer is allowed.
func (c IntroductoryOfferCall) Values() []FormField {
	return []FormField{{"product_id", string(c.product)}, {"allow_introductory_offer", fmt.Sprint(c.allow)}}
}

// Values returns the operation.
func (c CommerceCall) Values() []FormField { return []FormField{{"operation", c.operation}} }

// Values returns nothing: where somebody looks is theirs.
func (SnapshotCall) Values() []FormField { return nil }

// Values returns nothing: what somebody's document is called is theirs.
func (ExportCall) Values() []FormField { return nil }

// Values returns the developer.
func (c MarketplaceCall) Values() []FormField { return []FormField{{"developer_id", c.developer}} }

func (OfferCall) call()             {}
func (IntroductoryOfferCall) call() {}
func (CommerceCall) call()          {}
func (SnapshotCall) call()          {}
func (ExportCall) call()            {}
func (MarketplaceCall) call()       {}

// callOf is the ask's call, of the type that the family wants.
func callOf[C interface {
	comparable
	Call
}](ask Ask, wants string) (C, error) {
	c, ok := ask.Call.(C)
	if zero := *new(C); !ok || c == zero {
		return c, fmt.Errorf("%w: it wants the values of %s", ErrUnfitAsk, wants)
	}
	return c, nil
}

// granted reports whether a value is on a list, which nil does not limit.
func granted[T ~string](list []T, value T, name string) error {
	if list != nil && !slices.Contains(list, value) {
		return fmt.Errorf("%w: %s", ErrValueNotGranted, name)
	}
	return nil
}
