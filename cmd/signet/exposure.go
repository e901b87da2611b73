package main

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// askExposure is how long a server is waited for that is asked for its part of an exposure: the key is revoked by then.
const askExposure = 30 * time.Second

// exposure completes the exposure of a key that one server has revoked with what the others' logs know, each asked by repeating the
// revocation there, which finds it made. A log that could not be asked is named in the exposure, an address of which not even the log is
// known on standard error; neither changes until when tokens may live at most. several says that there are several logs.
func (a *app) exposure(ctx context.Context, cl *client.Client, req *signetv1.RevokeKeyRequest, resp *signetv1.RevokeKeyResponse) (several bool) {
	x := resp.GetExposure()
	rs, err := a.replicas(ctx, cl)
	if err != nil {
		a.warn("no other server was asked who holds tokens: %v", err)
		return true
	}
	for _, r := range rs.all {
		if !rs.several || told(x, r.origin) {
			continue
		}
		within, cancel := context.WithTimeout(ctx, askExposure)
		more, err := r.RevokeKey(within, req)
		cancel()
		if err != nil {
			rs.absent = append(rs.absent, absence{r.Address, r.origin.String(), err})
			continue
		}
		addExposure(x, more.GetExposure(), r.origin)
		for _, w := range more.GetWarnings() {
			if !slices.Contains(resp.GetWarnings(), w) {
				resp.Warnings = append(resp.Warnings, w)
			}
		}
	}
	for _, n := range rs.absent {
		if n.origin == "" {
			a.warn("who holds tokens by the log of this server is not known: %s", n)
			continue
		}
		addUnasked(x, &signetv1.LogExposure{Origin: n.origin, Unreachable: n.err.Error()})
	}
	return rs.several
}

// nodeOf is the node whose log an exposure names: "<vault id>/<node>", with or without a log's id behind it.
func nodeOf(l *signetv1.LogExposure) string {
	if o, err := auditlog.ParseOrigin(l.GetOrigin()); err == nil {
		return o.KeyName()
	}
	return l.GetOrigin()
}

// told says whether an exposure has what a node's logs know: one of them at least was asked.
func told(x *signetv1.Exposure, node auditlog.Origin) bool {
	return slices.ContainsFunc(x.GetLogs(), func(l *signetv1.LogExposure) bool { return nodeOf(l) == node.KeyName() && l.GetUnreachable() == "" })
}

// addExposure adds the answer of a node: what its own logs know, in the place of what others have said of them, the names of nodes that
// were not named yet, and the later of the two bounds.
func addExposure(x, more *signetv1.Exposure, node auditlog.Origin) {
	if more.GetUnending() && !x.GetUnending() {
		x.Unending, x.RemainingStep = true, more.GetRemainingStep()
	}
	if x.UpperBound = later(x.GetUpperBound(), more.GetUpperBound()); x.GetUnending() {
		x.UpperBound = nil
	}
	x.Logs = slices.DeleteFunc(x.GetLogs(), func(l *signetv1.LogExposure) bool { return nodeOf(l) == node.KeyName() })
	known := slices.Clone(x.GetLogs())
	for _, l := range more.GetLogs() {
		if !slices.ContainsFunc(known, func(k *signetv1.LogExposure) bool { return nodeOf(k) == nodeOf(l) }) {
			x.Logs = append(x.Logs, l)
		}
	}
}

// addUnasked names a log that could not be asked, if nothing of its node was.
func addUnasked(x *signetv1.Exposure, l *signetv1.LogExposure) {
	for _, known := range x.GetLogs() {
		if nodeOf(known) == nodeOf(l) {
			if known.GetUnreachable() != "" {
				known.Unreachable += "; " + l.GetUnreachable()
			}
			return
		}
	}
	x.Logs = append(x.Logs, l)
}

// holdersOf are the holders of all logs, each once, by kind and id.
func holdersOf(logs []*signetv1.LogExposure) []*signetv1.Holder {
	type person struct{ kind, id string }
	var all []*signetv1.Holder
	for _, l := range logs {
		all = joined(all, copied(l.GetHolders()), func(h *signetv1.Holder) person { return person{h.GetKind(), h.GetId()} }, func(to, h *signetv1.Holder) {
			to.Tokens += h.GetTokens()
			if to.GetLastExpireTime() != nil { // or else it has no end
				if to.LastExpireTime = later(to.GetLastExpireTime(), h.GetLastExpireTime()); h.GetLastExpireTime() == nil {
					to.LastExpireTime = nil
				}
			}
		})
	}
	return all
}

func copied(holders []*signetv1.Holder) []*signetv1.Holder {
	all := make([]*signetv1.Holder, len(holders))
	for i, h := range holders {
		all[i] = &signetv1.Holder{Kind: h.GetKind(), Id: h.GetId(), Tokens: h.GetTokens(), LastExpireTime: h.GetLastExpireTime()}
	}
	return all
}

// printExposure prints an exposure. Where there are several servers, the holders of all logs stand together, for one of them may have
// been given tokens by each.
func (a *app) printExposure(x *signetv1.Exposure, several bool) error {
	ends := "never, unless the key is revoked at Apple"
	if !x.GetUnending() {
		ends = clock(x.GetUpperBound()) + " at the latest"
	}
	if err := cli.Facts(a.Stdout, [2]string{"exposure ends", ends}); err != nil {
		return err
	}
	for _, l := range x.GetLogs() {
		switch {
		case l.GetUnreachable() != "":
			cli.Printf(a.Stdout, "log %s could not be asked: %s\n", l.GetOrigin(), cli.Printable(l.GetUnreachable()))
		case l.GetTokens() == 0:
			cli.Printf(a.Stdout, "log %s: no token is alive\n", l.GetOrigin())
		default:
			cli.Printf(a.Stdout, "log %s: %s alive, the last expires: %s\n", l.GetOrigin(), cli.Count(l.GetTokens(), "token"), until(l.GetLastExpireTime()))
		}
		if l.GetUnreachable() == "" && l.GetTokens() > 0 && !several {
			if err := a.printTokenHolders(l.GetHolders()); err != nil {
				return err
			}
		}
	}
	if all := holdersOf(x.GetLogs()); several && len(all) > 0 {
		if err := a.printTokenHolders(all); err != nil {
			return err
		}
	}
	if s := x.GetRemainingStep(); s != "" {
		return cli.Facts(a.Stdout, [2]string{"still to do", s})
	}
	return nil
}

func (a *app) printTokenHolders(holders []*signetv1.Holder) error {
	rows := [][]string{{"HOLDER", "TOKENS", "LAST EXPIRES"}}
	for _, h := range holders {
		rows = append(rows, []string{h.GetId(), strconv.FormatInt(h.GetTokens(), 10), until(h.GetLastExpireTime())})
	}
	return cli.Table(a.Stdout, rows)
}
