package apple

import (
	"cmp"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// APNs are the parameters of provider tokens for the Apple Push Notification service. A token says nothing of environment and
// topics; those are the key's, and a profile names what it counts on. There is no exp: Apple takes a token for an hour after its iat,
// and minds clients that change theirs more than once in 20 minutes, so that everybody has the same one from one half-hour to the next.
// There is nothing to narrow.
// Source: Establishing a token-based connection to APNs.
type APNs struct {
	Environment Environment // empty: whatever the key has
	Topics      []BundleID  // that the key must have; nil: whatever it has
}

// DeviceCheck are the parameters of tokens for DeviceCheck, which are as those of APNs.
// Source: Accessing and modifying per-device data.
type DeviceCheck struct{}

// AppAttest are the parameters of tokens with which a receipt of App Attest is renewed. They are as those of APNs, and stand in the
// header alone, without a scheme.
// Source: Assessing fraud risk.
type AppAttest struct{}

// AppleMusic are the parameters of developer tokens for the Apple Music API, Apple Music Feed and Apps and Books: twelve hours unless
// said, 30 days at most, long-lived ones 180 days (Apple says six months); given again to the same principal. Such a token ends in an
// app or a page, and a profile may narrow it to pages.
// Source: Generating Developer Tokens, Apple Music API.
type AppleMusic struct {
	Origins []Origin // of the pages that may use a token; nil for any use
}

// MapsServer are the parameters of tokens for the Maps Server API: 15 minutes unless said, an hour at most (Apple names no limit);
// given again to the same principal. There is nothing to narrow.
// Source: Creating and using tokens with Maps Server API.
type MapsServer struct{}

// MapKit are the parameters of tokens for MapKit JS, the Embed API and Web Snapshots, which go to a page: twelve hours unless said, 30
// days at most, long-lived ones 180 days (Apple names no limit); given again to the same principal.
// Source: as of MapsServer.
type MapKit struct {
	Scopes  []MapScope // what a token is for; Apple advises one
	Origins []Domain   // of the pages that may use it; Apple wants some
}

// MapsSnapshot are the parameters of signed URLs of map snapshots. They do not end, and each call has one signed for its own query.
// There is nothing to narrow.
// Source: Generating a URL and Signature to Create a Maps Web Snapshot.
type MapsSnapshot struct{}

// WeatherKit are the parameters of tokens for the WeatherKit REST API: 15 minutes unless said, an hour at most (Apple names no
// limit); given again to the same principal.
// Source: Request authentication for WeatherKit REST API.
type WeatherKit struct {
	Service BundleID // a Services ID
}

// ClassKit are the parameters of tokens for the ClassKit Catalog API: 15 minutes unless said, an hour at most (Apple says 10 to 30
// minutes as a rule); given again to the same principal. There is nothing to narrow.
// Source: ClassKit Catalog API.
type ClassKit struct{}

// IWorkExport are the parameters of tokens with which a document of iWork is exported as PDF: 15 minutes unless said, four hours less
// the back-dating at most. Each request, a repeated one too, has a new one, for one document.
// Source: Export a PDF document from an iWork file.
type IWorkExport struct{}

// Origin is an origin as a browser sends it: scheme, host, and a port that is not the scheme's own.
type Origin string

// Domain is where a page with a map lies: a host, one whose first part is *, either with a scheme before it.
type Domain string

// MapScope is a use of a MapKit token.
type MapScope string

var (
	originShape = regexp.MustCompile(`^(https?)://[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::([0-9]{1,5}))?$`)
	domainShape = regexp.MustCompile(`^(https?://)?(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(?::([0-9]{1,5}))?$`)
)

// MaxOrigins is how many origins a profile can have.
const MaxOrigins = 64

// defaultPorts are the ports that browsers do not write.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// isPort accepts a port as browsers write one.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}

// ParseOrigin accepts an origin such as https://example.com, as browsers write it: lower case, no path, no pattern.
func ParseOrigin(s string) (Origin, error) {
	m := originShape.FindStringSubmatch(s)
	if len(s) > 255 || m == nil {
		return "", errors.New("not an origin: it is written as browsers send it, https://example.com, in lower case, without a path, a slash at the end or a pattern")
	}
	switch scheme, port := m[1], m[2]; {
	case port == "":
	case port == defaultPorts[scheme]:
		return "", errors.New("not an origin as browsers send it: they leave out the port that is the scheme's own; leave it out")
	case !isPort(port):
		return "", errors.New("not an origin: the port is a number from 1 to 65535 that does not begin with 0")
	}
	return Origin(s), nil
}

// ParseDomain accepts a domain such as example.com or *.example.com.
func ParseDomain(s string) (Domain, error) {
	m := domainShape.FindStringSubmatch(s)
	if len(s) > 255 || m == nil {
		return "", errors.New("not a domain of a page: it is written example.com or *.example.com, in lower case and without a path; several are a list")
	}
	if port := m[len(m)-1]; port != "" && !isPort(port) {
		return "", errors.New("not a domain of a page: the port is a number from 1 to 65535 that does not begin with 0")
	}
	return Domain(s), nil
}

// MapScopes lists every scope that ParseMapScope accepts.
func MapScopes() []MapScope { return []MapScope{"mapkit_js", "embed_api", "web_snapshots"} }

// ParseMapScope accepts exactly the names that MapScopes lists.
func ParseMapScope(s string) (MapScope, error) {
	if m := MapScope(s); slices.Contains(MapScopes(), m) {
		return m, nil
	}
	return "", fmt.Errorf("unknown scope of a MapKit token: it is one of %s; server_api is the family maps_server", list(MapScopes()))
}

// teamClaims are those of APNs and its kin (iss and iat alone), and of ClassKit.
type teamClaims struct {
	Iss TeamID `json:"iss"`
	Iat int64  `json:"iat"`
	Exp int64  `json:"exp,omitempty"` // not of those that are shared
}

func (c teamClaims) key() any { return c }
func (c teamClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

type musicClaims struct {
	Iss    TeamID   `json:"iss"`
	Iat    int64    `json:"iat"`
	Exp    int64    `json:"exp"`
	Origin []Origin `json:"origin,omitempty"` // a list
}

func (c musicClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

func (c musicClaims) key() any {
	return [2]string{string(c.Iss), strings.Join(texts(c.Origin), ",")}
}

type mapClaims struct {
	Iss    TeamID `json:"iss"`
	Iat    int64  `json:"iat"`
	Exp    int64  `json:"exp"`
	Scope  string `json:"scope"`            // separated by spaces
	Origin string `json:"origin,omitempty"` // separated by commas
}

func (c mapClaims) key() any { return c }
func (c mapClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

type weatherClaims struct {
	Iss TeamID   `json:"iss"`
	Iat int64    `json:"iat"`
	Exp int64    `json:"exp"`
	Sub BundleID `json:"sub"`
}

func (c weatherClaims) key() any { return c }
func (c weatherClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

type exportClaims struct {
	Iss    TeamID `json:"iss"`
	Iat    int64  `json:"iat"`
	Exp    int64  `json:"exp"`
	File   string `json:"encoded_filename"` // base64url
	Format string `json:"export_format"`
}

func (c exportClaims) key() any { return c }
func (c exportClaims) at(t times) any {
	c.Iat, c.Exp = t.iat, t.exp
	return c
}

// Family returns FamilyAPNs.
func (APNs) Family() Family { return FamilyAPNs }

// Fields returns the environment and the topics that the profile counts on.
func (p APNs) Fields() (fixed, asked []Field) {
	if p.Environment != "" {
		fixed = append(fixed, Field{Name: "environment", Values: []string{string(p.Environment)}})
	}
	if len(p.Topics) > 0 {
		fixed = append(fixed, Field{Name: "topics", Values: texts(p.Topics)})
	}
	return fixed, nil
}

func (p APNs) check(f Facts) error {
	if p.Environment != "" {
		if err := named("environment", p.Environment, ParseEnvironmentName); err != nil {
			return err
		}
	}
	return cmp.Or(checkList("topics", p.Topics, ParseBundleID), p.served(f))
}

// served reports whether the key has what the profile counts on.
func (p APNs) served(f Facts) error {
	if !f.Environment.covers(p.Environment) {
		return fmt.Errorf("the key works in %s alone, and the profile wants %s: name another key, or take the environment out", f.Environment, p.Environment)
	}
	if f.Topics == nil {
		return nil
	}
	for i, t := range p.Topics {
		if !slices.Contains(f.Topics, t) {
			return fmt.Errorf("topics, entry %d: the key is for other topics alone, as far as is known here: name another key, or, when it is for this one too, say so with signet key update KEY --topics", i+1)
		}
	}
	return nil
}

func (p APNs) draft(f Facts, _ Ask) (draft, error) {
	if err := p.served(f); err != nil { // the facts may have changed since the policy was applied
		return nil, err
	}
	return webToken{kid: f.KeyID, claims: teamClaims{Iss: f.Team}, hosts: p.Hosts()}, nil
}

// Hosts are those of the family that the profile's tokens are for: the sandbox's, the others, or all.
func (p APNs) Hosts() []string {
	all := FamilyAPNs.Use().Hosts
	if p.Environment != EnvironmentSandbox && p.Environment != EnvironmentProduction {
		return all
	}
	var hosts []string
	for _, h := range all {
		if strings.Contains(h, ".sandbox.") == (p.Environment == EnvironmentSandbox) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// Family returns FamilyDeviceCheck.
func (DeviceCheck) Family() Family { return FamilyDeviceCheck }

// Fields returns nothing.
func (DeviceCheck) Fields() (fixed, asked []Field) { return nil, nil }

func (DeviceCheck) check(Facts) error { return nil }

func (DeviceCheck) draft(f Facts, _ Ask) (draft, error) { return teamDraft(f, ""), nil }

// Family returns FamilyAppAttest.
func (AppAttest) Family() Family { return FamilyAppAttest }

// Fields returns nothing.
func (AppAttest) Fields() (fixed, asked []Field) { return nil, nil }

func (AppAttest) check(Facts) error { return nil }

func (AppAttest) draft(f Facts, _ Ask) (draft, error) { return teamDraft(f, ""), nil }

// Family returns FamilyClassKit.
func (ClassKit) Family() Family { return FamilyClassKit }

// Fields returns nothing.
func (ClassKit) Fields() (fixed, asked []Field) { return nil, nil }

func (ClassKit) check(Facts) error { return nil }

func (ClassKit) draft(f Facts, _ Ask) (draft, error) { return teamDraft(f, typ), nil }

// teamDraft is a token that names nothing but the team.
func teamDraft(f Facts, typ string) draft {
	return webToken{kid: f.KeyID, typ: typ, claims: teamClaims{Iss: f.Team}}
}

// Family returns FamilyAppleMusic.
func (AppleMusic) Family() Family { return FamilyAppleMusic }

// Fields returns the origins.
func (p AppleMusic) Fields() (fixed, asked []Field) {
	if len(p.Origins) == 0 {
		return nil, nil
	}
	return []Field{{Name: "origins", Values: texts(p.Origins)}}, nil
}

func (p AppleMusic) check(Facts) error { return checkOrigins(p.Origins, ParseOrigin) }

func (p AppleMusic) draft(f Facts, _ Ask) (draft, error) {
	return webToken{kid: f.KeyID, claims: musicClaims{Iss: f.Team, Origin: p.Origins}}, nil
}

// Family returns FamilyMapsServer.
func (MapsServer) Family() Family { return FamilyMapsServer }

// Fields returns nothing.
func (MapsServer) Fields() (fixed, asked []Field) { return nil, nil }

func (MapsServer) check(Facts) error { return nil }

func (MapsServer) draft(f Facts, _ Ask) (draft, error) {
	return webToken{kid: f.KeyID, typ: typ, claims: mapClaims{Iss: f.Team, Scope: "server_api"}}, nil
}

// Family returns FamilyMapKit.
func (MapKit) Family() Family { return FamilyMapKit }

// Fields returns scopes and origins.
func (p MapKit) Fields() (fixed, asked []Field) {
	return []Field{{Name: "scopes", Values: texts(p.Scopes)}, {Name: "origins", Values: texts(p.Origins)}}, nil
}

func (p MapKit) check(Facts) error {
	switch {
	case len(p.Scopes) == 0:
		return fmt.Errorf("scopes are missing: say what the tokens are for, some of %s", list(MapScopes()))
	case len(p.Origins) == 0:
		return errors.New("origins are missing: Apple takes such tokens only with the domains of the pages that use them, example.com or *.example.com")
	}
	return cmp.Or(checkList("scopes", p.Scopes, ParseMapScope), checkOrigins(p.Origins, ParseDomain))
}

func (p MapKit) draft(f Facts, _ Ask) (draft, error) {
	return webToken{kid: f.KeyID, typ: typ, claims: mapClaims{
		Iss: f.Team, Scope: strings.Join(texts(p.Scopes), " "), Origin: strings.Join(texts(p.Origins), ","),
	}}, nil
}

func checkOrigins[T ~string](all []T, parse func(string) (T, error)) error {
	if len(all) > MaxOrigins {
		return fmt.Errorf("more than %d origins: make several profiles", MaxOrigins)
	}
	return checkList("origins", all, parse)
}

// Family returns FamilyMapsSnapshot.
func (MapsSnapshot) Family() Family { return FamilyMapsSnapshot }

// Fields returns the query.
func (MapsSnapshot) Fields() (fixed, asked []Field) { return nil, []Field{{"query", nil, true}} }

func (MapsSnapshot) check(Facts) error { return nil }

func (MapsSnapshot) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[SnapshotCall](ask, "a map snapshot")
	if err != nil {
		return nil, err
	}
	return snapshotURL{f.Team, f.KeyID, c}, nil
}

// snapshotURL is the draft of a signed URL. What is signed begins with snapshotPath, which no JWT does.
type snapshotURL struct {
	team TeamID
	kid  KeyID
	call SnapshotCall
}

const snapshotPath = "/api/v1/snapshot?"

func (d snapshotURL) key() any { return d }

func (d snapshotURL) sign(signer crypto.Signer, _ times) (Token, error) {
	path := d.path()
	sig, err := es256{}.Sign(path, signer)
	if err != nil {
		return Token{}, err
	}
	return Token{Text: "https://" + FamilyMapsSnapshot.Use().Hosts[0] + path + "&signature=" + base64.RawURLEncoding.EncodeToString(sig)}, nil
}

// path is what is signed.
func (d snapshotURL) path() string {
	return snapshotPath + d.call.query + "&teamId=" + string(d.team) + "&keyId=" + string(d.kid)
}

// Family returns FamilyWeatherKit.
func (WeatherKit) Family() Family { return FamilyWeatherKit }

// Fields returns the service.
func (p WeatherKit) Fields() (fixed, asked []Field) {
	return []Field{{Name: "service_id", Values: []string{string(p.Service)}}}, nil
}

func (p WeatherKit) check(f Facts) error { return checkClientID("service_id", p.Service, f) }

func (p WeatherKit) draft(f Facts, _ Ask) (draft, error) {
	return webToken{kid: f.KeyID, id: string(f.Team) + "." + string(p.Service), claims: weatherClaims{Iss: f.Team, Sub: p.Service}}, nil
}

// checkClientID checks an identifier that is told to Apple without the team's before it.
func checkClientID(name string, id BundleID, f Facts) error {
	if id == "" {
		return fmt.Errorf("the %s is missing: it is an identifier such as com.example.web, registered under Identifiers", name)
	}
	if f.Team != "" && strings.HasPrefix(string(id), string(f.Team)+".") {
		return fmt.Errorf("the %s begins with the team ID: leave that out", name)
	}
	return named(name, id, ParseBundleID)
}

// Family returns FamilyIWorkExport.
func (IWorkExport) Family() Family { return FamilyIWorkExport }

// Fields returns the name of the file.
func (IWorkExport) Fields() (fixed, asked []Field) { return nil, []Field{{"file_name", nil, true}} }

func (IWorkExport) check(Facts) error { return nil }

func (IWorkExport) draft(f Facts, ask Ask) (draft, error) {
	c, err := callOf[ExportCall](ask, "an export")
	if err != nil {
		return nil, err
	}
	return webToken{kid: f.KeyID, claims: exportClaims{
		Iss: f.Team, File: base64.RawURLEncoding.EncodeToString([]byte(c.file)), Format: "com.adobe.pdf",
	}}, nil
}
