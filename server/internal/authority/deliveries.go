package authority

import (
	"context"
	"fmt"
	"iter"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/store/audit"
)

// Delivery is an entry of a token that was given to somebody.
type Delivery struct {
	Origin string
	Index  int64
	// Withheld says that it was recorded and then not released, as another entry of the same request tells.
	Withheld bool
	Entry    *auditlog.Entry
}

// deliveries finds who was given tokens. Its logs are read newest first, each once: that a token was withheld stands behind the
// delivery that it is of, and in the next log when a gap has ended the one in between.
type deliveries struct {
	withheld map[delivery]int
}

// delivery is a token that one call was given. The token alone need not name it: some families of token are shared.
type delivery struct {
	id, principal string
	token         auditlog.Sum
}

func deliveryOf(e *auditlog.Entry) delivery {
	return delivery{e.ID, e.Principal.ID, e.Token.SHA256}
}

func newDeliveries() deliveries { return deliveries{withheld: make(map[delivery]int)} }

// in yields the deliveries of one log that match, newest first.
func (d deliveries) in(ctx context.Context, r *audit.Reader, m audit.Match) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		q := audit.Query{Match: m, Reverse: true, Limit: 1000, Bytes: pageBytes, To: r.Head().Size}
		for q.To > 0 {
			page, err := r.Find(ctx, q)
			if err != nil {
				yield(Delivery{}, err)
				return
			}
			for _, stored := range page.Entries {
				given, ok, err := d.see(r, stored)
				if err != nil {
					yield(Delivery{}, err)
					return
				}
				if ok && !yield(given, nil) {
					return
				}
			}
			q.To = page.Next + 1
		}
	}
}

// see takes an entry in, and answers the delivery that it is, if it is one.
func (d deliveries) see(r *audit.Reader, stored audit.Stored) (Delivery, bool, error) {
	e, err := auditlog.ParseEntry(stored.Line)
	if err != nil {
		return Delivery{}, false, fmt.Errorf("%w: entry %d: %w", audit.ErrDamaged, stored.Index, err)
	}
	if e.Token == nil || e.Principal == nil {
		return Delivery{}, false, nil
	}
	of := deliveryOf(e)
	switch e.Outcome {
	case auditlog.Withheld:
		d.withheld[of]++
		return Delivery{}, false, nil
	case auditlog.Allowed:
		given := Delivery{Origin: r.Origin().String(), Index: stored.Index, Withheld: d.withheld[of] > 0, Entry: e}
		if given.Withheld {
			d.withheld[of]--
		}
		return given, true, nil
	default: // no entry of a token has another
		return Delivery{}, false, nil
	}
}
