package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// replica is a server that answers, and the log that it writes.
type replica struct {
	client.Replica
	origin auditlog.Origin // zero where it is the only one, which is not asked
}

// absence is what could not be read: of an address, of a log, or of a log at an address.
type absence struct {
	address, origin string // one of them may be empty
	err             error
}

func (n absence) String() string {
	switch {
	case n.address == "":
		return fmt.Sprintf("log %s: %v", n.origin, n.err)
	case n.origin == "":
		return fmt.Sprintf("%s: %v", n.address, n.err)
	default:
		return fmt.Sprintf("log %s at %s: %v", n.origin, n.address, n.err)
	}
}

// replicas are the servers of the client's config, each for its own log. What of them cannot be read is absent, which is said at the
// end, after everything else was printed: nothing is passed over in silence.
type replicas struct {
	all    []replica
	absent []absence
	// several says that there is more than one log to read, so that each one must be named.
	several bool
}

// askOrigin is how long an address is waited for.
const askOrigin = 10 * time.Second

// errNoAddress is why a log of the config is absent.
var errNoAddress = errors.New("no address has answered for it")

// replicas finds out who writes which log. A config of one address and one node's logs is not asked: whatever answers there is what
// was meant. Two addresses of one log are one replica. A log for which no key is pinned is read as that of one server is; a checkpoint
// that does not verify with the pinned key is not.
func (a *app) replicas(ctx context.Context, cl *client.Client) (*replicas, error) {
	addresses := cl.Replicas()
	pinned := make(map[string]auditlog.Origin)
	for _, o := range cl.Origins() {
		if _, ok := pinned[o.KeyName()]; !ok {
			pinned[o.KeyName()] = o
		}
	}
	if len(addresses) == 1 && len(pinned) < 2 {
		return &replicas{all: []replica{{Replica: client.Replica{Client: cl, Address: addresses[0].Address}}}}, nil
	}
	origins, errs := make([]auditlog.Origin, len(addresses)), make([]error, len(addresses))
	var wg sync.WaitGroup
	for i, r := range addresses {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askOrigin)
			defer cancel()
			if origins[i], errs[i] = r.Origin(ctx); errors.Is(errs[i], context.DeadlineExceeded) {
				errs[i] = fmt.Errorf("%w: no answer in %s", client.ErrUnavailable, askOrigin)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	rs := &replicas{}
	for i, r := range addresses {
		switch err := errs[i]; {
		case err != nil && !errors.Is(err, client.ErrNoLogKey):
			rs.absent = append(rs.absent, absence{address: r.Address, err: unproved(err)})
		case !slices.ContainsFunc(rs.all, func(o replica) bool { return o.origin.KeyName() == origins[i].KeyName() }):
			rs.all = append(rs.all, replica{r, origins[i]})
		}
	}
	for _, o := range cl.Origins() {
		if pinned[o.KeyName()] == o && !slices.ContainsFunc(rs.all, func(r replica) bool { return r.origin.KeyName() == o.KeyName() }) {
			rs.absent = append(rs.absent, absence{origin: o.String(), err: errNoAddress})
		}
	}
	rs.several = len(rs.all)+len(rs.absent) > 1
	if len(rs.all) == 0 {
		return nil, rs.missing()
	}
	return rs, nil
}

// missing is the failure that names everything that is absent; nil when nothing is. Unless somebody answered what is worse, its exit
// code is that of what is unavailable.
func (rs *replicas) missing() error {
	if len(rs.absent) == 0 {
		return nil
	}
	code := cli.Unavailable
	what := make([]string, len(rs.absent))
	for i, n := range rs.absent {
		what[i] = "  " + n.String()
		if c := cli.Code(n.err); c != cli.Unavailable && !errors.Is(n.err, errNoAddress) && !errors.Is(n.err, client.ErrUntrusted) && code == cli.Unavailable {
			code = c
		}
	}
	return &cli.Failure{
		Code: code, Err: fmt.Errorf("not all logs were read; missing is:\n%s", strings.Join(what, "\n")),
		Todo: "addresses in client.yaml are to be those of all servers, and logs is to name the log of each and no other; signet doctor looks at every address",
	}
}

// each calls f for every replica, at once, with its number. A replica that is away becomes absent; any other error is the answer, the
// first replica's first, and so is every error where there is only one log.
func (rs *replicas) each(f func(i int, r replica) error) error {
	errs := make([]error, len(rs.all))
	var wg sync.WaitGroup
	for i, r := range rs.all {
		wg.Go(func() { errs[i] = f(i, r) })
	}
	wg.Wait()
	var failed error
	for i, err := range errs {
		switch r := rs.all[i]; {
		case err == nil:
		case rs.several && errors.Is(err, client.ErrUnavailable):
			rs.absent = append(rs.absent, absence{r.Address, r.origin.String(), err})
		case failed == nil:
			failed = err
		}
	}
	return failed
}

// having is the replica that has a log, which is named by its origin or its id; all of them when it is not named. Where the log is
// found, nothing else is missing.
func (rs *replicas) having(ctx context.Context, log string) (*replicas, error) {
	if log == "" || !rs.several {
		return rs, nil
	}
	named, err := auditlog.ParseOrigin(log)
	for _, r := range rs.all {
		found := r.origin.Log == log || err == nil && r.origin.KeyName() == named.KeyName()
		if !found && err != nil {
			var has error
			if _, has = r.GetCheckpoint(ctx, &signetv1.GetCheckpointRequest{Log: log}); has != nil && !errors.Is(has, client.ErrNotFound) && !errors.Is(has, client.ErrLogEnded) {
				return nil, has
			}
			found = !errors.Is(has, client.ErrNotFound)
		}
		if found {
			return &replicas{all: []replica{r}, several: true}, nil
		}
	}
	if missing := rs.missing(); missing != nil {
		return nil, missing
	}
	return nil, &cli.Failure{Code: cli.NotFound, Err: errors.New("no server has a log of that name"), Todo: "signet audit list prints the logs' ids before the entries' indexes"}
}

// entries are the newest entries of all logs, oldest first; all when limit is 0. What is had comes with the error.
func (rs *replicas) entries(ctx context.Context, f *signetv1.EntryFilter, limit int) ([]*signetv1.StoredEntry, error) {
	logs, archived := make([][]*signetv1.StoredEntry, len(rs.all)), make([]error, len(rs.all))
	err := rs.each(func(i int, r replica) error {
		filter, _ := proto.Clone(f).(*signetv1.EntryFilter) // a message of the same type
		found, err := newest(ctx, r.Client, filter, limit)
		logs[i] = found
		if errors.Is(err, client.ErrArchived) {
			archived[i], err = err, nil
		}
		return err
	})
	all := slices.Concat(logs...)
	if rs.several {
		all = byTime(logs)
		if limit > 0 && len(all) > limit {
			all = all[len(all)-limit:]
		}
	}
	for _, gone := range archived {
		if err == nil {
			err = gone
		}
	}
	return all, err
}

// byTime are the entries of several logs by time, and those of one moment by origin and index. One that does not parse stays behind
// the one before it in its log.
func byTime(logs [][]*signetv1.StoredEntry) []*signetv1.StoredEntry {
	type dated struct {
		*signetv1.StoredEntry
		time time.Time
	}
	var all []dated
	for _, entries := range logs {
		var last time.Time
		for _, e := range entries {
			if parsed, err := auditlog.ParseEntry(e.GetLine()); err == nil {
				last = parsed.Time
			}
			all = append(all, dated{e, last})
		}
	}
	slices.SortStableFunc(all, func(a, b dated) int {
		return cmp.Or(a.time.Compare(b.time), cmp.Compare(a.GetOrigin(), b.GetOrigin()), cmp.Compare(a.GetIndex(), b.GetIndex()))
	})
	merged := make([]*signetv1.StoredEntry, len(all))
	for i, e := range all {
		merged[i] = e.StoredEntry
	}
	return merged
}
