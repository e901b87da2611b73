package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/p8signet/signet/server/apple"
)

func (p *Policy) lintProfiles(r *reader) {
	minted := make(map[*profile]bool)
	for _, g := range p.grants {
		for _, pr := range g.mint {
			minted[pr] = true
		}
	}
	type use struct {
		key    KeyName
		family apple.Family
	}
	confusable := make(map[use]bool) // what was said of one profile is true of all with its key and family
	inOrder := slices.SortedFunc(maps.Values(p.profiles), func(a, b *profile) int { return a.at.compare(b.at) })
	for _, pr := range inOrder {
		pr.lintScope(r)
		pr.lintTokens(r)
		if u := (use{pr.key, pr.terms.Family()}); !confusable[u] {
			confusable[u] = pr.lintServices(r)
		}
		if !minted[pr] {
			r.add(pr.at, "profile %s is minted by no grant", pr.name)
		}
	}
}

// lintScope warns of what the profile's tokens may do at Apple, which is too much or nothing.
func (pr *profile) lintScope(r *reader) {
	if pr.terms.Family().Scoped() && len(pr.scope) == 0 {
		role, reach, instead := cmp.Or(pr.facts.RoleText(), "whole role"), "", ""
		if pr.facts.Kind == apple.KindAppStoreConnect {
			reach = ", and, as it is a team key, reach all apps"
			instead = ", or take the individual key of a user who has fewer apps"
		}
		r.add(pr.at, "profile %s has no scope: its tokens carry the %s of their key, writes included%s; name GET requests if it only reads%s", pr.name, role, reach, instead)
	}
	said := make(map[string]bool)
	for _, g := range slices.SortedStableFunc(slices.Values(pr.granted), func(a, b grantedRequest) int { return a.at.compare(b.at) }) {
		if err := pr.facts.CheckRequest(g.request); err != nil && !said[err.Error()] {
			said[err.Error()] = true
			r.add(g.at, "profile %s: %v", pr.name, err)
		}
	}
}

// lintTokens warns of tokens that last, or work, for longer or for more than need be.
func (pr *profile) lintTokens(r *reader) {
	if pr.terms.LongLived {
		r.add(pr.at, "profile %s is long-lived: a token of it, once given, lives for up to %s, and nothing here can call it back; only revoking its key at Apple ends it", pr.name, apple.TTLText(pr.ttl))
	}
	if pr.life() == apple.Unending {
		r.add(pr.at, "profile %s signs URLs that have no end: whoever has one can use it for ever, and nothing here can call it back; only revoking its key at Apple ends it", pr.name)
	}
	if p, ok := pr.terms.Params.(apple.AppleMusic); ok && len(p.Origins) == 0 {
		r.add(pr.at, "profile %s has no origins: its tokens, which a page shows to everybody, work from anywhere; name the pages' origins, such as https://example.com, unless no page uses them", pr.name)
	}
	if lists := unlisted(pr.terms.Params); len(lists) > 0 {
		r.add(pr.at, "profile %s names no %s: whoever mints it may fill in any; list those that are meant", pr.name, strings.Join(lists, " and no "))
	}
}

// unlisted are the lists that a profile could have of what a call fills in, and has not.
func unlisted(p apple.Params) []string {
	var lists []string
	want := func(name string, entries int) {
		if entries == 0 {
			lists = append(lists, name)
		}
	}
	switch p := p.(type) {
	case apple.PromotionalOffer:
		want("products", len(p.Products))
		want("offers", len(p.Offers))
	case apple.PromotionalOfferSignature:
		want("products", len(p.Products))
		want("offers", len(p.Offers))
	case apple.IntroductoryOffer:
		want("products", len(p.Products))
	case apple.AdvancedCommerceRequest:
		want("operations", len(p.Operations))
	case apple.Marketplace:
		want("developers", len(p.Developers))
	}
	return lists
}

// lintServices warns of tokens that name no audience, of a key that is enabled for other services whose tokens do neither.
func (pr *profile) lintServices(r *reader) bool {
	same, near := pr.terms.Alike(pr.facts)
	var like []string
	if len(same) > 0 {
		like = append(like, "have the very claims of those for "+either(same))
	}
	if len(near) > 0 {
		like = append(like, "differ from those for "+either(near)+" only in claims that may not be looked at")
	}
	if len(like) == 0 {
		return false
	}
	r.add(pr.at, "profile %s: its key has several services at Apple, and its tokens do not say which one they are for: they %s; give each service a key of its own", pr.name, strings.Join(like, ", and "))
	return true
}

// either writes services for a message.
func either(all []apple.Service) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " or " + names[last]
	}
	return names[0]
}
