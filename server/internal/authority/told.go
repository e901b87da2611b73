package authority

import (
	"context"
	"log/slog"
	"time"
)

// Told tells the server's own log of a trouble when it begins and when it is over, with how long it lasted, in place of at every look.
// It is one goroutine's.
type Told struct {
	// Logger and Now are the server's.
	Logger *slog.Logger
	Now    func() time.Time
	// Level is that of Begins. Ends is news, and no trouble.
	Level slog.Level
	// Begins and Ends are what is said. With Begins goes the error, with Ends how long it lasted.
	Begins, Ends string

	since time.Time // zero: there is no trouble
}

// Look is called at every look: with what is the matter, or with nil.
func (t *Told) Look(ctx context.Context, err error, more ...slog.Attr) {
	switch lasts := !t.since.IsZero(); {
	case err != nil && !lasts:
		t.since = t.Now()
		t.Logger.LogAttrs(ctx, t.Level, t.Begins, append(more, slog.Any("error", inFull(err)))...)
	case err == nil && lasts:
		t.Logger.LogAttrs(ctx, slog.LevelInfo, t.Ends, slog.Duration("lasted", t.Now().Sub(t.since).Round(time.Millisecond)))
		t.since = time.Time{}
	}
}

// told is a trouble of the core's.
func (l *ledger) told(begins, ends string) *Told {
	return &Told{Logger: l.logger, Now: l.now, Level: slog.LevelWarn, Begins: begins, Ends: ends}
}
