package policy

import (
	"cmp"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/p8signet/signet/server/apple"
)

// family is a family of tokens as a profile names it.
type family struct {
	of    apple.Family
	known []string // the keys of its parameters
	// read makes the parameters of the fields that are there, and adds what is wrong with them; e is the family's own entry.
	read func(c *compiler, pr *profile, e entry, f map[string]entry) apple.Params
}

// field is the key under which a profile gives its parameters.
func (f *family) field() string { return fieldOf(f.of) }

// families are what a profile can mint.
var families = []family{
	{apple.FamilyAppStoreConnect, []string{"scope", "app", "read"}, func(c *compiler, pr *profile, e entry, f map[string]entry) apple.Params {
		return apple.AppStoreConnect{Scope: c.requests(pr, e, f)}
	}},
	{apple.FamilyEnterprise, []string{"scope"}, func(c *compiler, pr *profile, e entry, f map[string]entry) apple.Params {
		return apple.Enterprise{Scope: c.requests(pr, e, f)}
	}},
	{apple.FamilyNotary, nil, plain(apple.Notary{})},
	{apple.FamilyAppStoreServer, []string{"bundle_id"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.AppStoreServer{Bundle: bundle(c, e, f)}
	}},
	{apple.FamilyPromotionalOffer, []string{"bundle_id", "products", "offers"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.PromotionalOffer{Bundle: bundle(c, e, f), Products: several(c, f, "products", apple.ParseProductID), Offers: several(c, f, "offers", apple.ParseOfferID)}
	}},
	{apple.FamilyIntroductoryOffer, []string{"bundle_id", "products"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.IntroductoryOffer{Bundle: bundle(c, e, f), Products: several(c, f, "products", apple.ParseProductID)}
	}},
	{apple.FamilyAdvancedCommerceRequest, []string{"bundle_id", "operations"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.AdvancedCommerceRequest{Bundle: bundle(c, e, f), Operations: several(c, f, "operations", apple.ParseOperation)}
	}},
	{apple.FamilyPromotionalOfferSignature, []string{"bundle_id", "products", "offers"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.PromotionalOfferSignature{Bundle: bundle(c, e, f), Products: several(c, f, "products", apple.ParseProductID), Offers: several(c, f, "offers", apple.ParseOfferID)}
	}},
	{apple.FamilyAPNs, []string{"environment", "topics"}, func(c *compiler, _ *profile, _ entry, f map[string]entry) apple.Params {
		return apple.APNs{Environment: one(c, f, "environment", "sandbox or production", apple.ParseEnvironmentName), Topics: several(c, f, "topics", apple.ParseBundleID)}
	}},
	{apple.FamilyDeviceCheck, nil, plain(apple.DeviceCheck{})},
	{apple.FamilyAppAttest, nil, plain(apple.AppAttest{})},
	{apple.FamilySignInWithApple, []string{"client_id"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.SignInWithApple{Client: must(c, e, f, "client_id", "the App ID or Services ID, such as com.example.web", apple.ParseBundleID)}
	}},
	{apple.FamilyAppleMusic, []string{"origins"}, func(c *compiler, _ *profile, _ entry, f map[string]entry) apple.Params {
		return apple.AppleMusic{Origins: several(c, f, "origins", apple.ParseOrigin)}
	}},
	{apple.FamilyMapsServer, nil, plain(apple.MapsServer{})},
	{apple.FamilyMapKit, []string{"scopes", "origins"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		c.wants(e, f, "scopes", "what its tokens are for, such as [mapkit_js]")
		c.wants(e, f, "origins", "the domains of the pages that use them, such as [example.com]")
		return apple.MapKit{Scopes: several(c, f, "scopes", apple.ParseMapScope), Origins: several(c, f, "origins", apple.ParseDomain)}
	}},
	{apple.FamilyMapsSnapshot, nil, plain(apple.MapsSnapshot{})},
	{apple.FamilyWeatherKit, []string{"service_id"}, func(c *compiler, _ *profile, e entry, f map[string]entry) apple.Params {
		return apple.WeatherKit{Service: must(c, e, f, "service_id", "the Services ID, such as com.example.weather", apple.ParseBundleID)}
	}},
	{apple.FamilyClassKit, nil, plain(apple.ClassKit{})},
	{apple.FamilyIWorkExport, nil, plain(apple.IWorkExport{})},
	{apple.FamilyAppleAds, nil, plain(apple.AppleAds{})},
	{apple.FamilySchoolBusiness, nil, plain(apple.SchoolBusiness{})},
	{apple.FamilyMarketplace, []string{"developers"}, func(c *compiler, _ *profile, _ entry, f map[string]entry) apple.Params {
		return apple.Marketplace{Developers: several(c, f, "developers", apple.ParseDeveloperID)}
	}},
}

// plain is the read of a family without parameters.
func plain(p apple.Params) func(*compiler, *profile, entry, map[string]entry) apple.Params {
	return func(*compiler, *profile, entry, map[string]entry) apple.Params { return p }
}

// parameters reads a family's parameters into the profile.
func (c *compiler) parameters(pr *profile, of family, e entry, longLived *entry) {
	before := len(c.problems)
	f, _ := c.fields(e.value, e.name, of.known...)
	pr.terms.Params = of.read(c, pr, e, f)
	if longLived != nil {
		c.longLived(pr, f, *longLived)
	}
	pr.faulty = len(c.problems) > before
}

// bundle is the app that a profile's tokens are for.
func bundle(c *compiler, e entry, f map[string]entry) apple.BundleID {
	return must(c, e, f, "bundle_id", "the app's bundle ID, such as com.example.app", apple.ParseBundleID)
}

// wants adds a problem when a parameter is not there.
func (c *compiler) wants(e entry, f map[string]entry, name, what string) {
	if _, ok := f[name]; !ok {
		c.add(e.key, "%s without %s: give it %s", e.name, name, what)
	}
}

// must reads a parameter that has to be there.
func must[T ~string](c *compiler, e entry, f map[string]entry, name, what string, parse func(string) (T, error)) T {
	c.wants(e, f, name, what)
	return one(c, f, name, what, parse)
}

// one reads a parameter that may be left out.
func one[T ~string](c *compiler, f map[string]entry, name, what string, parse func(string) (T, error)) T {
	e, ok := f[name]
	if !ok {
		return ""
	}
	text, ok := c.text(e.value, name, what)
	if !ok {
		return ""
	}
	value, err := parse(text)
	if err != nil {
		c.add(positionOf(e.value), "%s: %v", name, err)
	}
	return value
}

// several reads a list that may be left out, in its order.
func several[T ~string](c *compiler, f map[string]entry, name string, parse func(string) (T, error)) []T {
	e, ok := f[name]
	if !ok {
		return nil
	}
	var all []T
	c.names(e, func(at position, text string) {
		value, err := parse(text)
		switch {
		case err != nil:
			c.add(at, "%s: %v", name, err)
		case slices.Contains(all, value):
			c.add(at, "%s has this twice: take one out", name)
		default:
			all = append(all, value)
		}
	})
	return all
}

// requests reads the requests to which a profile's tokens are limited.
func (c *compiler) requests(pr *profile, e entry, f map[string]entry) []apple.Scope {
	at := e.key
	if s, ok := f["scope"]; ok {
		at = s.key
		c.scope(&pr.granted, s)
	}
	c.reads(pr, &pr.granted, f)
	if len(pr.granted) > apple.MaxScopeEntries {
		c.add(at, "scope has more than %d entries: make several profiles", apple.MaxScopeEntries)
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
func (c *compiler) scope(granted *grantedScope, e entry) {
	list, ok := c.list(e.value, "scope")
	if !ok {
		return
	}
	if len(list) == 0 {
		c.add(e.key, "scope is empty: name the GET requests to which tokens are limited, or leave scope out for all that the key's role allows")
	}
	for _, n := range list {
		text, ok := c.text(n, "an entry of scope", `a request such as "GET /v1/apps"`)
		if !ok {
			continue
		}
		request, err := apple.ParseScope(text)
		if err != nil {
			c.add(positionOf(n), "%v", err)
			continue
		}
		if !granted.add(positionOf(n), request) {
			c.add(positionOf(n), "this request is in the scope already: take one out")
		}
	}
}

// reads adds the requests of bundles for one app, read and app. Bundles overlap,
// so between them a request may come twice; one that scope names as well is a
// mistake of whoever thinks that the bundle lacks it.
func (c *compiler) reads(pr *profile, granted *grantedScope, f map[string]entry) {
	appField, hasApp := f["app"]
	read, hasRead := f["read"]
	switch {
	case !hasApp && !hasRead:
		return
	case !hasRead:
		c.add(appField.key, "app without read: say what is read of the app, such as read: [builds], or take app out")
	case !hasApp:
		c.add(read.key, `read without app: say of which app, app: "1234567890"`)
	}
	var app apple.AppID
	if hasApp {
		app = c.app(appField)
	}
	if !hasRead {
		return
	}
	pr.readAt = read.key
	written := slices.Clone(*granted)
	c.names(read, func(at position, text string) {
		requests, err := apple.ReadScope(text, app)
		switch {
		case err != nil:
			c.add(at, "%v", err)
			return
		case slices.Contains(pr.reads, text):
			c.add(at, "this bundle is in the list already: take one out")
			return
		}
		pr.reads = append(pr.reads, text)
		for _, r := range requests {
			if granted.add(at, r) {
				continue
			}
			if i, found := slices.BinarySearchFunc(written, r, func(w grantedRequest, s apple.Scope) int { return cmp.Compare(w.request, s) }); found {
				c.add(written[i].at, "this request is in a bundle that read names: take it out of scope")
				written = slices.Delete(written, i, i+1) // said once
			}
		}
	})
}

// app reads the id of an app.
func (c *compiler) app(e entry) apple.AppID {
	text, ok := c.text(e.value, "app", `Apple's ID of the app in quotes, such as "1234567890"`)
	if !ok {
		return ""
	}
	app, err := apple.ParseAppID(text)
	if err != nil {
		c.add(positionOf(e.value), "%v", err)
	}
	return app
}

// longLived reads whether a profile's tokens may live longer than others, and
// holds Apple's rule of which ones may.
func (c *compiler) longLived(pr *profile, f map[string]entry, e entry) {
	if n, ok := e.value.(*ast.BoolNode); !ok || !n.Value {
		c.add(positionOf(e.value), "long_lived is something other than true: write long_lived: true, or leave it out")
		return
	}
	family := pr.terms.Family()
	if family.Limits(true) == (apple.Limits{}) {
		c.add(e.key, "long_lived with a family of which Apple takes no long-lived tokens: take it out")
		return
	}
	pr.terms.LongLived = true
	if !family.Scoped() {
		return
	}
	_, hasScope := f["scope"]
	_, hasRead := f["read"]
	if !hasScope && !hasRead {
		c.add(e.key, "a long-lived profile without a scope: Apple takes long-lived tokens only for some GET requests, which the scope must name")
	}
	said := make(map[position]bool) // a bundle has many requests at one place
	for _, r := range pr.granted {
		if err := r.request.CheckLongLived(); err != nil && !said[r.at] {
			said[r.at] = true
			c.add(r.at, "%v", err)
		}
	}
}
