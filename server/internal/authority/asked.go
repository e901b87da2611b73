package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// AskedLog is a log that was asked something, and how far it could answer.
type AskedLog struct {
	// Origin is the log's; of one that does not open, its id.
	Origin string
	// Size is how many entries it has.
	Size int64
	// Begins is the time of the oldest entry that is here; zero when none is.
	Begins time.Time
	// Unreachable says what of it could not be asked; empty when all of it was.
	Unreachable string
}

// askTime is how long the logs are read for one answer. What could not be read until then is said to be unreachable.
const askTime = 20 * time.Second

// askAll asks every log of the node, newest first, and answers how far each could answer. A log that fails does not
// keep the others from being asked; the error is the caller's context's alone.
func (l *Log) askAll(ctx context.Context, ask func(context.Context, *audit.Reader) error) ([]AskedLog, error) {
	within, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var all []AskedLog
	for _, id := range slices.Backward(l.log.Logs()) {
		reader, err := l.log.Reader(id)
		if err != nil {
			l.logger.WarnContext(ctx, "a log cannot be opened", slog.String("log", id), slog.Any("error", err))
			all = append(all, AskedLog{Origin: id, Unreachable: "it cannot be opened"})
			continue
		}
		asked := AskedLog{Origin: reader.Origin().String(), Size: reader.Head().Size}
		begins, beginErr := begin(within, reader)
		asked.Begins = begins
		if err = errors.Join(ask(within, reader), beginErr); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			asked.Unreachable = l.unreachable(ctx, reader, err)
		}
		all = append(all, asked)
	}
	return all, nil
}

// begin is the time of the oldest entry that is here; zero when none is.
func begin(ctx context.Context, r *audit.Reader) (time.Time, error) {
	first, err := r.First()
	if err != nil {
		return time.Time{}, err
	}
	for stored, err := range r.Entries(ctx, first, min(first+1, r.Head().Size)) {
		if err != nil {
			return time.Time{}, err
		}
		e, err := auditlog.ParseEntry(stored.Line)
		if err != nil {
			return time.Time{}, err
		}
		return e.Time, nil
	}
	return time.Time{}, nil
}

// unreachable says of a log, in words for readers, what an error has kept from being asked.
func (l *Log) unreachable(ctx context.Context, r *audit.Reader, err error) string {
	switch {
	case errors.Is(err, audit.ErrAbsent):
		if first, err := r.First(); err == nil && first < r.Head().Size {
			return fmt.Sprintf("the segments with its entries before index %d were archived", first)
		}
		return "its segments were archived"
	case errors.Is(err, context.DeadlineExceeded):
		return "it could not be read to its end in time"
	}
	l.logger.WarnContext(ctx, "a log cannot be read", slog.String("log", r.Origin().Log), slog.Any("error", err))
	if errors.Is(err, audit.ErrDamaged) {
		return "it is damaged; signet audit verify says where"
	}
	return "it cannot be read"
}
