package policy

import (
	"cmp"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"github.com/p8signet/signet/server/apple"
)

// family is a family of tokens as a profile names it.
type family struct {
	field     string   // the key under which a profile gives its parameters
	known     []string // the keys of those
	longLived bool     // a profile of it may say long_lived
	with      func(scope []apple.Scope, longLived bool) apple.Params
}

// families are what a profile can mint.
var families = []family{
	{
		fieldOf(apple.FamilyAppStoreConnect), []string{"scope", "app", "read"}, true,
		func(s []apple.Scope, longLived bool) apple.Params {
			return apple.AppStoreConnect{Scope: s, LongLived: longLived}
		},
	},
	{
		fieldOf(apple.FamilyEnterprise), []string{"scope"}, false,
		func(s []apple.Scope, _ bool) apple.Params { return apple.Enterprise{Scope: s} },
	},
}

// parameters reads a family's parameters into the profile.
func (c *compiler) parameters(pr *profile, of family, e entry, longLived *entry) {
	f, _ := c.fields(e.value, e.name, of.known...)
	var granted grantedScope
	at := e.key
	if s, ok := f["scope"]; ok {
		at = s.key
		c.scope(&granted, s)
	}
	c.reads(pr, &granted, f)
	if len(granted) > apple.MaxScopeEntries {
		c.add(at, "scope has more than %d entries: make several profiles", apple.MaxScopeEntries)
	}
	pr.scope = granted.scope()
	if longLived != nil {
		c.longLived(pr, of, granted, f, *longLived)
	}
	pr.params = of.with(pr.scope, pr.longLived)
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
func (c *compiler) longLived(pr *profile, of family, granted grantedScope, f map[string]entry, e entry) {
	if n, ok := e.value.(*ast.BoolNode); !ok || !n.Value {
		c.add(positionOf(e.value), "long_lived is something other than true: write long_lived: true, or leave it out")
		return
	}
	if !of.longLived {
		c.add(e.key, "long_lived with a family of which Apple takes no long-lived tokens: take it out")
		return
	}
	pr.longLived = true
	_, hasScope := f["scope"]
	_, hasRead := f["read"]
	if !hasScope && !hasRead {
		c.add(e.key, "a long-lived profile without a scope: Apple takes long-lived tokens only for some GET requests, which the scope must name")
	}
	said := make(map[position]bool) // a bundle has many requests at one place
	for _, r := range granted {
		if err := r.request.CheckLongLived(); err != nil && !said[r.at] {
			said[r.at] = true
			pr.badScope = true
			c.add(r.at, "%v", err)
		}
	}
}
