package authority

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Exposure says until when, and in whose hands, tokens of a revoked key still live.
type Exposure struct {
	// UpperBound is when the last token dies at the latest, whatever the logs say; zero where there may be one that never does.
	UpperBound time.Time
	// Logs is what each log knows.
	Logs []LogExposure
	// RemainingStep is what remains to be done at Apple, in words.
	RemainingStep string
}

// LogExposure is what one log knows of living tokens.
type LogExposure struct {
	// Origin is the log's.
	Origin string
	// Unreachable says why it could not be asked; empty when it was.
	Unreachable string
	// Tokens is how many that live were given out, each counted once for each of its holders, in the newest log that
	// knows of it; LastExpires is when the last of them dies, zero where one never does.
	Tokens      int64
	LastExpires time.Time
	// Holders are by id.
	Holders []Holder
}

// Holder is a principal with living tokens. LastExpires is zero where one of them never dies.
type Holder struct {
	Kind, ID    string
	Tokens      int64
	LastExpires time.Time
}

// exposureTime is how long the logs are read for one receipt; the upper bound stands in any case.
const exposureTime = 10 * time.Second

// exposureOf is what is still out there of a key, or of one version of it, that has just been revoked. It comes after
// the revocation is in force, so nothing that it fails at undoes that.
func exposureOf(ctx context.Context, c *core, key Key, version int) Exposure {
	now := c.now().UTC()
	life := longestLife(ctx, c, key, now)
	e := Exposure{UpperBound: now.Add(life), RemainingStep: atApple(key, version, life == apple.Unending)}
	if life == apple.Unending {
		e.UpperBound = time.Time{}
	}
	ctx, cancel := context.WithTimeout(ctx, exposureTime)
	defer cancel()
	find := finder{key: key.Name, version: version, now: now, given: newDeliveries(), counted: make(map[holding]bool)}
	if life != apple.Unending {
		find.oldest = now.Add(-life - audit.TimeSlack)
	}
	for _, id := range slices.Backward(c.log.Logs()) {
		reader, err := c.log.Reader(id)
		if err != nil {
			e.Logs = append(e.Logs, LogExposure{Origin: id, Unreachable: "it cannot be opened"})
			continue
		}
		found, older := find.in(ctx, reader)
		e.Logs = append(e.Logs, found)
		if older {
			break
		}
	}
	e.Logs = append(e.Logs, otherLogs(c)...)
	return e
}

// otherLogs are those of the vault's other nodes, which only these can read.
func otherLogs(c *core) []LogExposure {
	var logs []LogExposure
	snap := c.state.Load().snap
	for _, node := range snap.Nodes() {
		if head, ok := snap.LogHead(node); ok && node != c.node {
			origin := auditlog.Origin{Vault: snap.Vault(), Node: node, Log: head.Log}
			logs = append(logs, LogExposure{Origin: origin.String(), Unreachable: "it is another node's, which has to be asked"})
		}
	}
	return logs
}

// finder finds the tokens of a key that are alive, log by log, newest first.
type finder struct {
	key     string
	version int // 0: all
	now     time.Time
	oldest  time.Time // what was minted before is dead; zero: it need not be
	given   deliveries
	counted map[holding]bool // what was given several times, and is counted already
}

// holding is a token in somebody's hands, however often they were given it.
type holding struct {
	principal string
	token     auditlog.Sum
}

// in finds those of one log, and says whether the log reaches back beyond the oldest that could be alive.
func (f *finder) in(ctx context.Context, reader *audit.Reader) (LogExposure, bool) {
	found := LogExposure{Origin: reader.Origin().String()}
	holders := make(map[string]*Holder)
	for given, err := range f.given.in(ctx, reader, audit.Match{Key: f.key, Since: f.oldest}) {
		if err != nil {
			found.Unreachable = unfinished(err)
			break
		}
		if e := given.Entry; !given.Withheld && (f.version == 0 || e.Version == f.version) && endOf(e.Token).After(f.now) {
			f.count(holders, e)
		}
	}
	found = found.with(holders)
	if found.Unreachable != "" {
		return found, false
	}
	begins, err := begin(ctx, reader)
	return found, err == nil && !begins.IsZero() && begins.Before(f.oldest)
}

// count counts a token that lives for its holder. One that was given several times counts when it is met the last time.
func (f *finder) count(holders map[string]*Holder, e *auditlog.Entry) {
	held := holding{e.Principal.ID, e.Token.SHA256}
	h, ok := holders[held.principal]
	if !ok {
		h = &Holder{Kind: e.Principal.Kind, ID: held.principal}
		holders[held.principal] = h
	}
	if !f.counted[held] {
		h.Tokens++
		if e.Token.Reused || apple.Family(e.Token.Family).Shared() { // there may be a delivery before this one
			f.counted[held] = true
		}
	}
	h.LastExpires = latest(h.LastExpires, endOf(e.Token))
}

// unfinished says why a log was not read to its end, and what to do instead.
func unfinished(err error) string {
	switch {
	case errors.Is(err, audit.ErrAbsent):
		return "its older entries were archived; look in the archive for those of the key"
	case errors.Is(err, audit.ErrDamaged):
		return "it is damaged; signet audit verify says where"
	default:
		return "it could not be read to its end in time; ask for the key's entries instead"
	}
}

// never stands for the end of what has none, while ends are compared.
var never = time.Unix(1<<40, 0).UTC()

// endOf is when Apple takes a token no longer.
func endOf(t *auditlog.Token) time.Time {
	if t.Expires == 0 {
		return never
	}
	return time.Unix(t.Expires, 0).UTC()
}

// dated is an end as it is answered: zero for never.
func dated(end time.Time) time.Time {
	if end.Equal(never) {
		return time.Time{}
	}
	return end
}

// with adds the holders, by id, and their sums.
func (l LogExposure) with(holders map[string]*Holder) LogExposure {
	for _, h := range slices.SortedFunc(maps.Values(holders), func(a, b *Holder) int { return cmp.Compare(a.ID, b.ID) }) {
		l.Tokens += h.Tokens
		l.LastExpires = latest(l.LastExpires, h.LastExpires)
		h.LastExpires = dated(h.LastExpires)
		l.Holders = append(l.Holders, *h)
	}
	l.LastExpires = dated(l.LastExpires)
	return l
}

// longestLife is the longest time for which Apple may take a token of the key that is alive now, apple.Unending for ever: that of
// the revisions of the policy that were in force when such a token could be minted. A revision that does not open, or does
// not compile any more, may have allowed whatever keys of the kind can sign.
func longestLife(ctx context.Context, c *core, key Key, now time.Time) time.Duration {
	most := longestOf(key.Facts.Kind)
	longest, until := time.Duration(0), now // until is when the revision was replaced
	for revision, err := range c.store.PolicyHistory(ctx) {
		if err != nil {
			return most
		}
		if dead := until.Before(now.Add(-min(most, policy.Ceiling(revision.Document)) - audit.TimeSlack)); !dead {
			compiled, err := policy.Compile(revision.Document, c.operators, nil)
			if err != nil {
				return most
			}
			longest = max(longest, compiled.MaxTTL(policy.KeyName(key.Name)))
		}
		until = revision.Created
		if longest == apple.Unending || until.Before(now.Add(-most-audit.TimeSlack)) {
			break // whatever those before it allowed is dead, or nothing more than this
		}
	}
	return longest
}

// longestOf is the longest time for which Apple may take a token that a key of a kind can sign. Of a damaged key no kind is known.
func longestOf(kind apple.Kind) time.Duration {
	longest := time.Duration(0)
	for _, f := range apple.Families() {
		if kind == "" || f.CheckKind(kind) == nil {
			longest = max(longest, f.LongestTTL())
		}
	}
	return longest
}

// placesAtApple is where a key is revoked at Apple, by its kind.
var placesAtApple = map[apple.Kind]string{
	apple.KindAppStoreConnect:           "App Store Connect, Users and Access, Integrations, App Store Connect API, Team Keys",
	apple.KindAppStoreConnectIndividual: "App Store Connect, the profile of the user whose key it is, Individual API Key",
	apple.KindEnterprise:                "developer.apple.com, Users and Access, Integrations",
	apple.KindInAppPurchase:             "App Store Connect, Users and Access, Integrations, In-App Purchase",
	apple.KindDeveloperPortal:           "developer.apple.com, Certificates, Identifiers & Profiles, Keys",
	apple.KindAppleAds:                  "Apple Ads, Account Settings, API",
	apple.KindSchoolBusiness:            "Apple School Manager or Apple Business, the API account of the key",
	apple.KindMarketplace:               "App Store Connect, where the marketplace's public key was given to Apple",
}

// atApple says what we cannot do: Apple takes a token until it dies or until its key is revoked there, by hand. unending says that
// there may be what does not die.
func atApple(key Key, version int, unending bool) string {
	var ids, fingerprints []string
	for _, v := range key.Versions {
		switch {
		case version != 0 && v.Number != version:
		case v.KeyID == "":
			fingerprints = append(fingerprints, v.Fingerprint)
		default:
			ids = append(ids, v.KeyID)
		}
	}
	var which string
	if len(ids) > 0 {
		which += ", key ID " + strings.Join(ids, ", ")
	}
	if len(fingerprints) > 0 {
		which += ", public key " + strings.Join(fingerprints, ", ")
	}
	kind := apple.Kind(key.Kind)
	step := fmt.Sprintf("Apple takes tokens that are alive until they end, unless the key is revoked there too: %s%s. Apple has no API for it.", placesAtApple[kind], which)
	if unending {
		step += " Signed URLs of map snapshots have no end: only that revocation ends them."
	}
	if kind == apple.KindInAppPurchase {
		step += " For how long it takes a signature for StoreKit Apple does not say; a day is assumed here."
	}
	if slices.Contains(key.Facts.Services, apple.ServiceAPNs) {
		step += " Then close the connections to APNs that are open: Apple may go on taking the old token on them."
	}
	return step
}
