package policy

import (
	"cmp"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/p8signet/signet/server/apple"
)

// family is a family of tokens as a profile names it.
type family struct {
	field string // the key under which a profile gives its parameters
	of    apple.Family
	known []string                     // the keys of its parameters
	read  func(p *params) apple.Params // it adds what is wrong with them
}

// families are what a profile can mint.
var families = []*family{
	{"app_store_connect", apple.FamilyAppStoreConnect, []string{"scope", "app", "read"}, func(p *params) apple.Params {
		return apple.AppStoreConnect{Scope: p.requests()}
	}},
	{"enterprise", apple.FamilyEnterprise, []string{"scope"}, func(p *params) apple.Params {
		return apple.Enterprise{Scope: p.requests()}
	}},
	{"notary", apple.FamilyNotary, nil, plain(apple.Notary{})},
	{"app_store_server", apple.FamilyAppStoreServer, []string{"bundle_id"}, func(p *params) apple.Params {
		return apple.AppStoreServer{Bundle: p.bundle()}
	}},
	{"promotional_offer", apple.FamilyPromotionalOffer, []string{"bundle_id", "products", "offers"}, func(p *params) apple.Params {
		return apple.PromotionalOffer{Bundle: p.bundle(), Products: p.products(), Offers: p.offers()}
	}},
	{"introductory_offer", apple.FamilyIntroductoryOffer, []string{"bundle_id", "products"}, func(p *params) apple.Params {
		return apple.IntroductoryOffer{Bundle: p.bundle(), Products: p.products()}
	}},
	{"advanced_commerce_request", apple.FamilyAdvancedCommerceRequest, []string{"bundle_id", "operations"}, func(p *params) apple.Params {
		return apple.AdvancedCommerceRequest{Bundle: p.bundle(), Operations: several(p, "operations", apple.ParseOperation)}
	}},
	{"promotional_offer_signature", apple.FamilyPromotionalOfferSignature, []string{"bundle_id", "products", "offers"}, func(p *params) apple.Params {
		return apple.PromotionalOfferSignature{Bundle: p.bundle(), Products: p.products(), Offers: p.offers()}
	}},
	{"apns", apple.FamilyAPNs, []string{"environment", "topics"}, func(p *params) apple.Params {
		return apple.APNs{
			Environment: one(p, "environment", "sandbox or production", apple.ParseEnvironmentName),
			Topics:      several(p, "topics", apple.ParseBundleID),
		}
	}},
	{"device_check", apple.FamilyDeviceCheck, nil, plain(apple.DeviceCheck{})},
	{"app_attest", apple.FamilyAppAttest, nil, plain(apple.AppAttest{})},
	{"sign_in_with_apple", apple.FamilySignInWithApple, []string{"client_id"}, func(p *params) apple.Params {
		return apple.SignInWithApple{Client: must(p, "client_id", "the App ID or Services ID, such as com.example.web", apple.ParseBundleID)}
	}},
	{"apple_music", apple.FamilyAppleMusic, []string{"origins"}, func(p *params) apple.Params {
		return apple.AppleMusic{Origins: origins(p, apple.ParseOrigin)}
	}},
	{"maps_server", apple.FamilyMapsServer, nil, plain(apple.MapsServer{})},
	{"mapkit", apple.FamilyMapKit, []string{"scopes", "origins"}, func(p *params) apple.Params {
		p.wants("scopes", "what its tokens are for, such as [mapkit_js]")
		p.wants("origins", "the domains of the pages that use them, such as [example.com]")
		return apple.MapKit{Scopes: several(p, "scopes", apple.ParseMapScope), Origins: origins(p, apple.ParseDomain)}
	}},
	{"maps_snapshot", apple.FamilyMapsSnapshot, nil, plain(apple.MapsSnapshot{})},
	{"weatherkit", apple.FamilyWeatherKit, []string{"service_id"}, func(p *params) apple.Params {
		return apple.WeatherKit{Service: must(p, "service_id", "the Services ID, such as com.example.weather", apple.ParseBundleID)}
	}},
	{"classkit", apple.FamilyClassKit, nil, plain(apple.ClassKit{})},
	{"iwork_export", apple.FamilyIWorkExport, nil, plain(apple.IWorkExport{})},
	{"apple_ads", apple.FamilyAppleAds, nil, plain(apple.AppleAds{})},
	{"school_business", apple.FamilySchoolBusiness, nil, plain(apple.SchoolBusiness{})},
	{"marketplace", apple.FamilyMarketplace, []string{"developers"}, func(p *params) apple.Params {
		return apple.Marketplace{Developers: several(p, "developers", apple.ParseDeveloperID)}
	}},
}

// byField finds a family by the key under which a profile gives its parameters.
var byField = func() map[string]*family {
	m := make(map[string]*family, len(families))
	for _, f := range families {
		m[f.field] = f
	}
	return m
}()

// plain is the read of a family without parameters.
func plain(none apple.Params) func(*params) apple.Params {
	return func(*params) apple.Params { return none }
}

// params are the parameters of one profile's family while they are read.
type params struct {
	*compiler
	profile *profile
	family  entry            // the key of the family, and what the profile gives under it
	fields  map[string]entry // what is given; nil when it is no mapping, which has been said
}

// parameters reads a family's parameters into the profile.
func (c *compiler) parameters(pr *profile, of *family, e entry) {
	before := len(c.problems)
	p := &params{compiler: c, profile: pr, family: e}
	p.fields, _ = c.fields(e.value, e.name, of.known...)
	pr.familyAt, pr.terms.Params = e.key, of.read(p)
	pr.faulty = len(c.problems) > before
}

// wants adds a problem when a parameter is not there.
func (p *params) wants(name, what string) {
	if _, ok := p.fields[name]; !ok && p.fields != nil {
		p.add(p.family.key, "%s without %s: give it %s", p.family.name, name, what)
	}
}

// must reads a parameter that has to be there.
func must[T ~string](p *params, name, what string, parse func(string) (T, error)) T {
	p.wants(name, what)
	return one(p, name, what, parse)
}

// one reads a parameter that may be left out.
func one[T ~string](p *params, name, what string, parse func(string) (T, error)) T {
	e, ok := p.fields[name]
	if !ok {
		return ""
	}
	text, ok := p.text(e.value, name, what)
	if !ok {
		return ""
	}
	value, err := parse(text)
	if err != nil {
		p.add(positionOf(e.value), "%s: %v", name, err)
	}
	return value
}

// several reads a list that may be left out, in its order.
func several[T ~string](p *params, name string, parse func(string) (T, error)) []T {
	e, ok := p.fields[name]
	if !ok {
		return nil
	}
	var all []T
	p.names(e, func(at position, text string) {
		value, err := parse(text)
		switch {
		case err != nil:
			p.add(at, "%s: %v", name, err)
		case slices.Contains(all, value):
			p.add(at, "%s has this twice: take one out", name)
		default:
			all = append(all, value)
		}
	})
	return all
}

// bundle is the app that a profile's tokens are for.
func (p *params) bundle() apple.BundleID {
	return must(p, "bundle_id", "the app's bundle ID, such as com.example.app", apple.ParseBundleID)
}

func (p *params) products() []apple.ProductID { return several(p, "products", apple.ParseProductID) }

func (p *params) offers() []apple.OfferID { return several(p, "offers", apple.ParseOfferID) }

// origins reads the pages that may use a token, which all stand in it.
func origins[T ~string](p *params, parse func(string) (T, error)) []T {
	all := several(p, "origins", parse)
	if len(all) > apple.MaxOrigins {
		p.add(p.fields["origins"].key, "origins has more than %d entries: make several profiles", apple.MaxOrigins)
	}
	return all
}

// requests reads the requests to which a profile's tokens are limited.
func (p *params) requests() []apple.Scope {
	pr, at := p.profile, p.family.key
	if s, ok := p.fields["scope"]; ok {
		at = s.key
		p.scope(&pr.granted, s)
	}
	p.reads(pr)
	if len(pr.granted) > apple.MaxScopeEntries {
		p.add(at, "scope has more than %d entries: make several profiles", apple.MaxScopeEntries)
	}
	pr.scope = pr.granted.scope()
	return pr.scope
}

// grantedScope is the scope of a profile while it is read: strictly ascending,
// each request with its place in the document.
type grantedScope []grantedRequest

type grantedRequest struct {
	at      position
	request apple.Scope
}

// add puts a request in its place; false when it is there already.
func (g *grantedScope) add(at position, request apple.Scope) bool {
	i, found := slices.BinarySearchFunc(*g, request, func(r grantedRequest, s apple.Scope) int { return cmp.Compare(r.request, s) })
	if !found {
		*g = slices.Insert(*g, i, grantedRequest{at, request})
	}
	return !found
}

// scope is the requests alone; nil for none.
func (g grantedScope) scope() []apple.Scope {
	var scope []apple.Scope
	for _, r := range g {
		scope = append(scope, r.request)
	}
	return scope
}

// scope reads requests that are written out.
func (p *params) scope(granted *grantedScope, e entry) {
	list, ok := p.list(e.value, "scope")
	if !ok {
		return
	}
	if len(list) == 0 {
		p.add(e.key, "scope is empty: name the GET requests to which tokens are limited, or leave scope out for all that the key's role allows")
	}
	for _, n := range list {
		text, ok := p.text(n, "an entry of scope", `a request such as "GET /v1/apps"`)
		if !ok {
			continue
		}
		request, err := apple.ParseScope(text)
		if err != nil {
			p.add(positionOf(n), "%v", err)
			continue
		}
		if !granted.add(positionOf(n), request) {
			p.add(positionOf(n), "this request is in the scope already: take one out")
		}
	}
}

// reads adds the requests of bundles for one app, read and app. Bundles overlap,
// so between them a request may come twice; one that scope names as well is a
// mistake of whoever thinks that the bundle lacks it.
func (p *params) reads(pr *profile) {
	appField, hasApp := p.fields["app"]
	read, hasRead := p.fields["read"]
	switch {
	case !hasApp && !hasRead:
		return
	case !hasRead:
		p.add(appField.key, "app without read: say what is read of the app, such as read: [builds], or take app out")
	case !hasApp:
		p.add(read.key, `read without app: say of which app, app: "1234567890"`)
	}
	var app apple.AppID
	if hasApp {
		app = p.app(appField)
	}
	if !hasRead {
		return
	}
	pr.readAt = read.key
	written := slices.Clone(pr.granted)
	p.names(read, func(at position, text string) {
		requests, err := apple.ReadScope(text, app)
		switch {
		case err != nil:
			p.add(at, "%v", err)
			return
		case slices.Contains(pr.reads, text):
			p.add(at, "this bundle is in the list already: take one out")
			return
		}
		pr.reads = append(pr.reads, text)
		for _, r := range requests {
			if pr.granted.add(at, r) {
				continue
			}
			if i, found := slices.BinarySearchFunc(written, r, func(w grantedRequest, s apple.Scope) int { return cmp.Compare(w.request, s) }); found {
				p.add(written[i].at, "this request is in a bundle that read names: take it out of scope")
				written = slices.Delete(written, i, i+1) // said once
			}
		}
	})
}

// app reads the id of an app.
func (p *params) app(e entry) apple.AppID {
	text, ok := p.text(e.value, "app", `Apple's ID of the app in quotes, such as "1234567890"`)
	if !ok {
		return ""
	}
	app, err := apple.ParseAppID(text)
	if err != nil {
		p.add(positionOf(e.value), "%v", err)
	}
	return app
}

// longLived reads whether a profile's tokens may live longer than others, and
// holds Apple's rule of which ones may.
func (c *compiler) longLived(pr *profile, e entry) {
	if n, ok := e.value.(*ast.BoolNode); !ok || !n.Value {
		c.add(positionOf(e.value), "long_lived is something other than true: write long_lived: true, or leave it out")
		return
	}
	family := pr.terms.Family()
	if err := family.CheckLongLived(); err != nil {
		c.add(e.key, "%v", err)
		return
	}
	pr.terms.LongLived = true
	if !family.Scoped() {
		return
	}
	if len(pr.granted) == 0 && !pr.faulty {
		pr.faulty = true
		c.add(e.key, "a long-lived profile without a scope: Apple takes long-lived tokens only for some GET requests, which the scope must name")
	}
	said := make(map[position]bool) // a bundle has many requests at one place
	for _, r := range pr.granted {
		if err := r.request.CheckLongLived(); err != nil && !said[r.at] {
			pr.faulty, said[r.at] = true, true
			c.add(r.at, "%v", err)
		}
	}
}
