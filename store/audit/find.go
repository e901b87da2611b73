package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
)

// Match says which entries are wanted; what is empty does not limit.
type Match struct {
	Key, Principal, Profile, Action, Outcome string
	// Token is the SHA-256 of the compact token; nil: of any, or of none.
	Token *auditlog.Sum
	// Since is the oldest time, Until the first that is too young.
	Since, Until time.Time
}

// Entry reports whether an entry is wanted.
func (m Match) Entry(e *auditlog.Entry) bool {
	return (m.Key == "" || m.Key == e.Key) &&
		(m.Principal == "" || e.Principal != nil && m.Principal == e.Principal.ID) &&
		(m.Profile == "" || m.Profile == e.Profile) &&
		(m.Action == "" || m.Action == e.Action) &&
		(m.Outcome == "" || m.Outcome == string(e.Outcome)) &&
		(m.Token == nil || e.Token != nil && e.Token.SHA256 == *m.Token) &&
		!e.Time.Before(m.Since) && (m.Until.IsZero() || e.Time.Before(m.Until))
}

// Query asks for a page of a log's entries.
type Query struct {
	Match
	// From and To limit the indexes, From <= index < To; To is the head when it is 0 or beyond it.
	From, To int64
	// Reverse asks for the newest first.
	Reverse bool
	// Limit is the most entries of a page, Bytes the length of their lines that fills one; both must be above 0.
	Limit, Bytes int
}

// Page is the answer to a Query. It may be short, or empty, and not be the last: one call reads so many entries only.
type Page struct {
	Entries []Stored // their lines are the caller's
	// Next is the index at which the query goes on, which is the next page's From, or with Reverse its To - 1; -1 at
	// the end.
	Next int64
}

const (
	// readLimit is how many entries a query reads for one page.
	readLimit = 200_000
	// TimeSlack is how far entries may stand before ones that are a little older: callers stamp them while they queue.
	// Whoever appends keeps to it; a query that has no index yet ends where entries are older than what it looks for
	// by more than that.
	TimeSlack = time.Minute
)

// Find answers a page of the entries that match. It uses the index as far as that follows the log, and reads the rest,
// so what it answers does not depend on the index. Entries in segments that were archived end it with ErrAbsent, after
// a page of those that come before them, if there are any; where the index, or the time, says that none of the absent ones
// matches, it does not ask for them. ErrDamaged and others as of Entries.
func (r *Reader) Find(ctx context.Context, q Query) (Page, error) {
	head := r.Head()
	if q.To <= 0 || q.To > head.Size {
		q.To = head.Size
	}
	q.From = max(q.From, 0)
	f := finder{r: r, q: q, m: newMatcher(q.Match), page: Page{Next: -1}}
	err := f.run(ctx)
	if errors.Is(err, ErrAbsent) && len(f.page.Entries) > 0 {
		f.page.Next, err = f.at, nil
	}
	if err != nil && !errors.Is(err, errEnough) {
		return Page{}, err
	}
	return f.page, nil
}

// errEnough ends a query whose page is full, or which is at its end.
var errEnough = errors.New("enough")

// finder is one run of Find.
type finder struct {
	r    *Reader
	q    Query
	m    matcher
	page Page
	at   int64 // where the query is
	seen int   // entries read
	size int   // bytes of the lines found
}

func (f *finder) run(ctx context.Context) error {
	if !f.m.limits() {
		return f.read(ctx, f.q.From, f.q.To)
	}
	v := f.r.index.view(false)
	if f.q.From < v.first || v.end == 0 {
		if err := f.skipAbsent(); err != nil {
			return err
		}
	}
	begin, end := min(max(v.first, f.q.From), f.q.To), max(min(v.end, f.q.To), f.q.From)
	if begin >= end {
		return f.read(ctx, f.q.From, f.q.To)
	}
	steps := []func() error{
		func() error { return f.read(ctx, f.q.From, begin) },
		func() error { return f.lookUp(ctx, v, begin, end) },
		func() error { return f.read(ctx, end, f.q.To) },
	}
	for i := range steps {
		if f.q.Reverse {
			i = len(steps) - 1 - i
		}
		if err := steps[i](); err != nil {
			return err
		}
	}
	return nil
}

// skipAbsent begins a query behind what was archived, where the time says that nothing there matches.
func (f *finder) skipAbsent() error {
	if f.m.since == math.MinInt64 {
		return nil
	}
	first, before, err := f.r.oldest()
	if err != nil {
		return err
	}
	if f.q.From < first && !before.IsZero() && f.old(before.UnixMicro()) {
		f.q.From = min(first, f.q.To)
	}
	return nil
}

// old reports whether an entry of that time is so old that none before it can be wanted.
func (f *finder) old(micros int64) bool {
	return f.m.since != math.MinInt64 && micros < f.m.since-TimeSlack.Microseconds()
}

// young is the same the other way.
func (f *finder) young(micros int64) bool {
	return f.m.until != math.MaxInt64 && micros >= f.m.until+TimeSlack.Microseconds()
}

// read finds without the index.
func (f *finder) read(ctx context.Context, from, to int64) error {
	if from >= to {
		return nil
	}
	var err error
	if !f.q.Reverse && f.m.since != math.MinInt64 {
		from, err = f.skip(ctx, from, to, f.old)
	} else if f.q.Reverse && f.m.until != math.MaxInt64 {
		to, err = f.skipYoung(ctx, from, to)
	}
	if err != nil {
		return err
	}
	walk := f.r.Entries
	f.at = from
	if f.q.Reverse {
		walk, f.at = f.r.Reverse, to-1
	}
	for s, err := range walk(ctx, from, to) {
		if err != nil {
			return err
		}
		if err := f.take(s, false); err != nil {
			return err
		}
	}
	return nil
}

// take looks at one entry, which the index named or not.
func (f *finder) take(s Stored, named bool) error {
	if f.full() {
		f.page.Next = s.Index
		return errEnough
	}
	f.seen++
	var have facts
	if !have.read(s.Line) {
		return fmt.Errorf("%w: entry %d is not one that this version knows", ErrDamaged, s.Index)
	}
	f.at = s.Index + 1
	if f.q.Reverse {
		f.at = s.Index - 1
	}
	if !named && (f.q.Reverse && f.old(have.time) || !f.q.Reverse && f.young(have.time)) {
		return errEnough
	}
	if f.m.wants(&have) {
		f.size += len(s.Line)
		f.page.Entries = append(f.page.Entries, Stored{Index: s.Index, Line: bytes.Clone(s.Line)})
	}
	return nil
}

func (f *finder) full() bool {
	return len(f.page.Entries) == f.q.Limit || f.size >= f.q.Bytes || f.seen == readLimit
}

// worthSkipping is how many entries are rather read than searched for where the time begins.
const worthSkipping = 2000

// skip is where entries between from and to begin for which before does not hold: time does not run backwards. Absent
// ones are the oldest; where it cannot be known that before holds for all of them, the query must come upon them.
func (f *finder) skip(ctx context.Context, from, to int64, before func(int64) bool) (int64, error) {
	found, err := f.search(ctx, from, to, before)
	if err != nil || found == from {
		return from, err
	}
	first, _, err := f.r.oldest()
	if err != nil || from < first && found == first {
		return from, err
	}
	return found, nil
}

// skipYoung is where entries between from and to begin that are too young.
func (f *finder) skipYoung(ctx context.Context, from, to int64) (int64, error) {
	found, err := f.search(ctx, from, to, func(t int64) bool { return !f.young(t) })
	if err != nil || to-from < worthSkipping {
		return to, err
	}
	return found, nil
}

// search is the first index between from and to for which before does not hold; from, where it is not worth it.
func (f *finder) search(ctx context.Context, from, to int64, before func(int64) bool) (int64, error) {
	if to-from < worthSkipping {
		return from, nil
	}
	var failed error
	found := sort.Search(int(to-from), func(i int) bool {
		for s, err := range f.r.Entries(ctx, from+int64(i), from+int64(i)+1) {
			var have facts
			switch {
			case errors.Is(err, ErrAbsent):
				return false
			case err != nil:
				failed = errors.Join(failed, err)
			case have.read(s.Line):
				return !before(have.time)
			}
		}
		return true
	})
	return from + int64(found), failed
}

// matcher is a Match made ready.
type matcher struct {
	Match
	token        []byte // hexadecimal; nil: any
	since, until int64  // Unix microseconds: since <= time < until
	terms        []term
}

func newMatcher(m Match) matcher {
	r := matcher{Match: m, since: math.MinInt64, until: math.MaxInt64}
	if !m.Since.IsZero() {
		r.since = micros(m.Since)
	}
	if !m.Until.IsZero() {
		r.until = micros(m.Until)
	}
	if m.Token != nil {
		r.token = []byte(m.Token.String())
		r.terms = append(r.terms, termOf(dimToken, r.token))
	}
	for _, t := range []struct {
		d dim
		v string
	}{{dimKey, m.Key}, {dimPrincipal, m.Principal}, {dimProfile, m.Profile}, {dimOutcome, m.Outcome}, {dimAction, m.Action}} {
		if t.v != "" {
			r.terms = append(r.terms, termOf(t.d, []byte(t.v)))
		}
	}
	return r
}

// micros is the first whole microsecond not before t, as entries have them.
func micros(t time.Time) int64 {
	us := t.UnixMicro()
	if time.UnixMicro(us).Before(t) {
		us++
	}
	return us
}

// limits reports whether anything is limited.
func (m *matcher) limits() bool {
	return len(m.terms) > 0 || m.since != math.MinInt64 || m.until != math.MaxInt64
}

func (m *matcher) wants(f *facts) bool {
	return f.time >= m.since && f.time < m.until &&
		(m.Key == "" || string(f.key) == m.Key) &&
		(m.Principal == "" || string(f.principal) == m.Principal) &&
		(m.Profile == "" || string(f.profile) == m.Profile) &&
		(m.Action == "" || string(f.action) == m.Action) &&
		(m.Outcome == "" || string(f.outcome) == m.Outcome) &&
		(m.token == nil || bytes.Equal(f.token, m.token))
}
