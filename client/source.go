package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

var (
	// ErrClosed: the TokenSource was closed.
	ErrClosed = errors.New("closed")
	// ErrNoNewer: no token other than the given one is to be had now: the server gave the same one again, as it does with those that are
	// shared, or a fresh one was asked for a moment ago.
	ErrNoNewer = errors.New("no newer token")

	errOlder = fmt.Errorf("%w: the server answered with an older token than the last one, and Apple minds clients that go back; its clock may be behind", ErrUnavailable)
)

const (
	flightTime = 30 * time.Second // the longest that one attempt may take
	freshEvery = 30 * time.Second // fresh tokens are asked for at most this often
	againAfter = 10 * time.Second // when the server gave the old token again
	lookEvery  = 15 * time.Second // Next looks at the clock: timers stand still while a machine sleeps, and tokens do not

	// Of shared tokens. Apple takes another one of the same caller at most once in 20 minutes.
	sharedStays = 20 * time.Minute
	sharedAgain = time.Second / 10 // when the server gave the old token again: its time has come, all but
	sharedWait  = 2 * time.Second  // how long the old token is not given out when the time of the next one has come
)

// TokenSourceOptions say what a TokenSource asks for. The zero value asks for all that the profile grants.
type TokenSourceOptions struct {
	// Mint is what is asked for with every token. Fresh in it makes every token of the source one of its own.
	Mint MintOptions
	// Keep is handed every new token before anybody gets it, for its verified receipt; Mint.Receipt is set by it. An error of it is
	// a failure to get that token. KeepReceipts makes one that writes files.
	Keep func(*Token) error
	// Failed is told of every attempt that failed, those in the background too. It must not call the source.
	Failed func(error)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// TokenSource always has a good token of one profile. It asks for one when the first is wanted, and from then on for the next one
// early, in the background, when somebody wants a token: one that nobody uses costs nothing.
//
// While a token lives it is given out, whatever becomes of the server, but for one thing: when the server refuses (the grant is gone,
// the key is off, the caller's certificate is not good any more) it is given out no longer, and the refusal is what callers get. They
// get every failure without a call for a while, which doubles from half a second to fifteen; the server may ask for more.
//
// A token that is shared, as those of APNs are, is changed for the next one when its Refresh is there by the server's clock, and not a
// moment later by chance: who wants a token then waits for the next one, or two seconds. As long as one can be used no older one is
// given out, and it stays for 20 minutes, however late it came, unless Fresh finds that there is another.
//
// What Apple takes once, such as the signature of an offer, is not to be had here: ErrSingleUse.
//
// Lifetimes do not depend on what this machine's clock shows: a token lives here for as long as it had left, by the server's clock, when
// it was asked for.
//
// All methods may be called from many goroutines at once. A source keeps nothing on disk.
type TokenSource struct {
	mint    func(ctx context.Context, fresh bool) (*Token, error)
	options TokenSourceOptions

	ctx     context.Context // of every flight; Close ends it
	cancel  context.CancelFunc
	flights sync.WaitGroup

	mu       sync.Mutex // guards what follows
	closed   bool
	token    *Token        // the newest one; nil when there is none or it was refused
	last     *Token        // the one that was given out last, whatever became of it; nil before the first
	changed  time.Time     // when it was first given out in place of another one; zero before that
	due      time.Time     // when the next one is asked for
	flight   *flight       // the attempt under way; nil when there is none
	landings int           // how many attempts have ended
	landed   chan struct{} // closed, and replaced, when one ends
	failure  failure       // since the last success
	fresh    time.Time     // before this no fresh one is asked for
}

// flight is one attempt, for all who wait. token and err are set before done is closed.
type flight struct {
	fresh  bool
	began  time.Time
	waited bool // somebody waits for it, or did; guarded by the source's mu
	done   chan struct{}
	token  *Token
	err    error
}

func (f *flight) wait(ctx context.Context) (*Token, error) {
	select {
	case <-f.done:
		return f.token, f.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// TokenSource is a source of a profile's tokens. It does nothing before its first use; Close ends what it does in the background.
func (c *Client) TokenSource(profile string, o TokenSourceOptions) *TokenSource {
	if o.Keep != nil {
		o.Mint.Receipt = true
	}
	return newTokenSource(o, func(ctx context.Context, fresh bool) (*Token, error) {
		if o.Mint.Call != nil && o.Mint.Call.once() {
			return nil, ErrSingleUse
		}
		want := o.Mint
		want.Fresh = want.Fresh || fresh
		return c.Mint(repeating(ctx), profile, want)
	})
}

func newTokenSource(o TokenSourceOptions, mint func(context.Context, bool) (*Token, error)) *TokenSource {
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &TokenSource{mint: mint, options: o, landed: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Token is the current token, or waits for one. ctx bounds this caller's wait alone. The errors are those of Client.Mint, and ErrClosed.
func (s *TokenSource) Token(ctx context.Context) (*Token, error) {
	s.mu.Lock()
	t, f, err := s.current()
	s.mu.Unlock()
	switch {
	case f == nil:
		return t, err
	case t == nil:
		return f.wait(ctx)
	}
	soon, cancel := context.WithTimeout(ctx, sharedWait)
	defer cancel()
	if next, err := f.wait(soon); err == nil || refuses(err) || errors.Is(err, ErrClosed) {
		return next, err
	}
	return t, nil
}

// current is the token that lives, or the attempt to wait for, or why there is neither. Both is a token that is shared and whose time
// has come: it is given out still when the next one is not there soon.
func (s *TokenSource) current() (*Token, *flight, error) {
	if s.closed {
		return nil, nil, ErrClosed
	}
	now := s.options.Now()
	if t := s.live(now); t != nil {
		due := !before(now, s.due)
		if due && s.flight == nil && s.failure.standing(now) == nil {
			s.launch(false)
		}
		if due && t.Shared && s.flight != nil && s.failure.err == nil && before(now, s.flight.began.Add(sharedWait)) {
			return t, s.awaited(), nil
		}
		return s.give(t, now), nil, nil
	}
	if s.flight == nil {
		if err := s.failure.standing(now); err != nil {
			return nil, nil, err
		}
		s.launch(false)
	}
	return nil, s.awaited(), nil
}

// awaited is the attempt under way, for who waits for it.
func (s *TokenSource) awaited() *flight {
	s.flight.waited = true
	return s.flight
}

// give is a token for a caller. Where it is a shared one in place of another, the next one is put off when it would come too soon.
func (s *TokenSource) give(t *Token, now time.Time) *Token {
	if s.last != nil && s.last.SHA256 != t.SHA256 {
		s.changed = now
	}
	s.last = t
	if t.Shared && !s.changed.IsZero() {
		stays := s.changed.Add(sharedStays)
		if t.use.until.Before(stays) {
			stays = t.use.until
		}
		if s.due.Before(stays) {
			s.due = stays
		}
	}
	return t
}

// Fresh is a token other than not, for one that was refused where it was used: one that the source has got meanwhile, or one that is
// signed anew. It is asked for once, however many callers wait, and at most once in half a minute: where the fresh one is refused,
// too, another one does not help. ErrNoNewer then; otherwise the errors are Token's. not goes on being given out while there is no other.
func (s *TokenSource) Fresh(ctx context.Context, not *Token) (*Token, error) {
	other := func(t *Token) bool { return t != nil && (not == nil || t.SHA256 != not.SHA256) }
	for {
		s.mu.Lock()
		t, f, err := s.other(other)
		s.mu.Unlock()
		if f == nil {
			return t, err
		}
		t, err = f.wait(ctx)
		switch {
		case err != nil:
			return nil, err
		case other(t):
			return t, nil
		case f.fresh:
			return nil, ErrNoNewer
		}
	}
}

func (s *TokenSource) other(than func(*Token) bool) (*Token, *flight, error) {
	if s.closed {
		return nil, nil, ErrClosed
	}
	now := s.options.Now()
	if t := s.live(now); than(t) {
		return s.give(t, now), nil, nil
	}
	if s.flight == nil {
		if err := s.failure.standing(now); err != nil {
			return nil, nil, err
		}
		soon := before(now, s.fresh)
		if soon && before(now, s.due) {
			return nil, nil, ErrNoNewer
		}
		s.launch(!soon)
	}
	return nil, s.awaited(), nil
}

// Next is for who hands tokens on, to a file, say: it waits until there is another one than after, and gets it early enough. With nil
// it is Token. An error means that there is no token now: a refusal, or a failure when none is left; calling again waits until it is
// time to try again, and tries.
func (s *TokenSource) Next(ctx context.Context, after *Token) (*Token, error) {
	began := -1
	for {
		s.mu.Lock()
		if began < 0 {
			began = s.landings
		}
		t, wait, err := s.next(after, s.landings > began)
		landed := s.landed
		s.mu.Unlock()
		if t != nil || err != nil {
			return t, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-landed:
		case <-timer.C:
		case <-s.ctx.Done():
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		timer.Stop()
		if err != nil {
			return nil, err
		}
	}
}

// next is another token than after, or how long to wait for the next look when nothing lands before. tried says that an attempt has
// ended since the caller came, so that its failure is news.
func (s *TokenSource) next(after *Token, tried bool) (*Token, time.Duration, error) {
	if s.closed {
		return nil, 0, ErrClosed
	}
	now := s.options.Now()
	t, err := s.live(now), s.failure.standing(now)
	switch {
	case t != nil && (after == nil || t.SHA256 != after.SHA256):
		return s.give(t, now), 0, nil
	case t == nil && err != nil && tried:
		return nil, 0, err
	case s.flight == nil && err == nil && (t == nil || !before(now, s.due)):
		s.launch(false)
	}
	until := now.Add(flightTime) // a flight that lands wakes who waits
	if s.flight == nil {
		until = s.failure.until
		if t != nil && s.due.After(until) {
			until = s.due
		}
	}
	if t != nil && t.use.until.Before(until) {
		until = t.use.until
	}
	return nil, min(until.Sub(now), lookEvery), nil
}

// Close ends what the source does in the background and waits for it. Who waits for a token gets ErrClosed.
func (s *TokenSource) Close() {
	s.mu.Lock()
	s.closed, s.token = true, nil
	s.mu.Unlock()
	s.cancel()
	s.flights.Wait()
}

// live is the token, if it may be used.
func (s *TokenSource) live(now time.Time) *Token {
	if s.token == nil || !before(now, s.token.use.until) {
		return nil
	}
	return s.token
}

// launch begins an attempt. There is none under way.
func (s *TokenSource) launch(fresh bool) {
	f := &flight{fresh: fresh, began: s.options.Now(), done: make(chan struct{})}
	s.flight = f
	s.flights.Go(func() { s.fly(f) })
}

func (s *TokenSource) fly(f *flight) {
	ctx, cancel := context.WithTimeout(s.ctx, flightTime)
	defer cancel()
	asked := s.options.Now()
	t, err := s.mint(ctx, f.fresh)
	if err == nil && s.options.Keep != nil {
		err = s.options.Keep(t)
	}
	if err = s.land(f, t, err, asked); err != nil && s.options.Failed != nil && !errors.Is(err, ErrClosed) {
		s.options.Failed(err)
	}
	close(f.done)
}

// land takes in what an attempt has brought, and answers why it failed.
func (s *TokenSource) land(f *flight, t *Token, err error, asked time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight = nil
	s.landings++
	defer close(s.landed)
	s.landed = make(chan struct{})
	now := s.options.Now()
	if err == nil {
		t.use = validityOf(t, asked, now)
		switch was := s.live(now); {
		case t.once():
			err = ErrSingleUse
		case !before(now, t.use.until):
			err = errDead
		case t.Shared && was == nil && s.last != nil && before(now, s.last.use.until) && t.Issued.Before(s.last.Issued):
			err = errOlder
		}
	}
	switch {
	case s.closed:
		f.err = ErrClosed
	case err != nil:
		if refuses(err) {
			s.token = nil
		}
		s.failure.add(err, now)
		f.err = err
	default:
		if f.fresh {
			s.fresh = now.Add(freshEvery)
		}
		f.token = s.take(t, now)
		if f.waited {
			s.give(f.token, now)
		}
	}
	return f.err
}

// take makes t the current token and plans the next one. Of two it keeps the one that was issued last: servers that give tokens to
// many at once do not all begin with the new one at the same moment, and Apple minds clients that go back.
func (s *TokenSource) take(t *Token, now time.Time) *Token {
	s.failure = failure{}
	was := s.live(now)
	if was != nil && t.Issued.Before(was.Issued) {
		t = was
	}
	s.token = t
	again := againAfter
	if s.due = t.use.refresh; t.Shared {
		again = sharedAgain
	} else {
		s.due = s.due.Add(share(t.use.until.Sub(t.use.refresh) / 4))
	}
	if again := now.Add(again); was != nil && was.SHA256 == t.SHA256 && s.due.Before(again) {
		s.due = again
	}
	return t
}
