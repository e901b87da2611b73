package authority

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/p8signet/signet/store/storetest"
)

// TestTold: a trouble is told when it begins and when it is over, whatever it is called meanwhile.
func TestTold(t *testing.T) {
	var said bytes.Buffer
	now := time.Unix(0, 0)
	told := Told{Logger: slog.New(slog.NewTextHandler(&said, nil)), Now: func() time.Time { return now }, Level: slog.LevelError, Begins: "it rains", Ends: "it is dry"}
	told.Look(t.Context(), nil)
	for round := range 2 {
		for i := range 5 {
			told.Look(t.Context(), &Error{Public: fmt.Sprint("drops: ", i), cause: errors.New("clouds")}, slog.Int("round", round))
			now = now.Add(300 * time.Millisecond)
		}
		told.Look(t.Context(), nil)
		told.Look(t.Context(), nil)
	}
	var lines []string
	for line := range strings.Lines(said.String()) {
		_, line, _ = strings.Cut(line, "level=")
		lines = append(lines, strings.TrimSpace(line))
	}
	want := []string{
		`ERROR msg="it rains" round=0 error="drops: 0: clouds"`, `INFO msg="it is dry" lasted=1.5s`,
		`ERROR msg="it rains" round=1 error="drops: 0: clouds"`, `INFO msg="it is dry" lasted=1.5s`,
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("it said:\n%s", said.String())
	}
}

// TestFlakyStoreLogged: a store that fails each time in another way, or is away for an hour, is told of once, and once that it is back.
func TestFlakyStoreLogged(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFleet(t, 2)
		b := f.replicas[1]
		must(t, b.Close())
		var said bytes.Buffer
		b.logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelInfo}))
		b.mustStart(false)
		time.Sleep(testBound)
		b.way.Plan(func(c storetest.Call) storetest.Fate {
			if c.Write > 0 && c.N%2 == 0 {
				return storetest.UnknownLost
			}
			return storetest.Refused
		})
		for range 60 {
			time.Sleep(time.Minute)
			b.wantMint(ReasonLeaseLapsed)
			b.Unauthenticated("192.0.2.1:1", "no certificate")
		}
		b.mend()
		time.Sleep(2 * time.Minute)
		b.wantMint("")
		synctest.Wait()
		must(t, b.Close())
		b.Authority = nil
		text := said.String()
		for _, once := range []string{
			"the store cannot be followed", "the store is followed again", "the lease cannot be renewed", "the lease is renewed again",
			"unfinished business is left", "nothing is left unfinished any more",
		} {
			if n := strings.Count(text, once); n != 1 {
				t.Errorf("%q was said %d times", once, n)
			}
		}
		if n := strings.Count(text, "\n"); n > 12 {
			t.Errorf("%d lines in an hour:\n%s", n, text)
		}
	})
}
