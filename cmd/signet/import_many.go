package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/sealed"
)

// importMany imports what a folder or a config.json holds.
func (a *app) importMany(ctx context.Context, f importFlags, args []string) error {
	var items []*item
	var ignored []string
	if f.dir == "" {
		sources, problems, err := a.readSources(args[0])
		if err != nil {
			return err
		}
		items = itemsOf(sources, problems)
		if len(items) == 1 && items[0].source.handed.Name == "" {
			items[0].source.wipe()
			return cli.Malformedf("signet key import NAME "+cli.Quoted(args[0]), "the name is missing under which the key is to be imported")
		}
	} else {
		var err error
		if items, ignored, err = a.folder(f.dir); err != nil {
			return err
		}
	}
	defer func() {
		for _, i := range items {
			if i.source != nil {
				i.source.wipe()
			}
		}
	}()
	name(items, f.prefix)
	return a.importItems(ctx, f, items, ignored)
}

// importItems plans, prints the plan, and imports what there is to import, one after the other. It stops at the first
// that the server refuses; those before it stay imported, and are found to be there when it is run again.
func (a *app) importItems(ctx context.Context, f importFlags, items []*item, ignored []string) error {
	judge(items, f.keyFlags)
	work := func(ctx context.Context, cl *client.Client) error {
		if err := a.compare(ctx, cl, items, f); err != nil {
			return err
		}
		return a.carryOut(ctx, cl, f, items, ignored)
	}
	if _, ok, err := a.loadConfig(); f.dryRun && err == nil && !ok {
		a.warn("there is no client.yaml, so the plan does not say what the vault has already")
		compareWith(items, nil, f.allowDuplicate)
		return a.carryOut(ctx, nil, f, items, ignored)
	}
	return a.dial(ctx, work)
}

// carryOut prints the plan and imports. A nil client is for a dry run.
func (a *app) carryOut(ctx context.Context, cl *client.Client, f importFlags, items []*item, ignored []string) error {
	bad := 0
	var todo []*item
	for _, i := range items {
		switch i.Plan {
		case planBad:
			bad++
		case planHere:
		default:
			todo = append(todo, i)
		}
	}
	if *f.format != "json" {
		if err := a.printPlan(items, ignored); err != nil {
			return err
		}
	}
	var err error
	switch {
	case bad > 0 && !f.skipBad:
		todo := "put right what is said of them, or leave them out with --skip-bad"
		if f.dir == "" && len(items) == 1 {
			todo = ""
		}
		err = cli.Malformedf(todo, "%d of %s cannot be imported as they are; nothing was imported", bad, cli.Count(len(items), "key"))
	case f.dryRun:
	default:
		err = a.importAll(ctx, cl, f, todo)
	}
	switch *f.format {
	case "json":
		report := struct {
			Keys     []*item  `json:"keys"`
			Ignored  []string `json:"ignored"`
			DryRun   bool     `json:"dryRun"`
			Imported int      `json:"imported"`
			Bad      int      `json:"bad"`
		}{items, append([]string{}, ignored...), f.dryRun, 0, bad}
		for _, i := range items {
			if i.Version != 0 {
				report.Imported++
			}
		}
		return errors.Join(err, cli.JSON(a.Stdout, report))
	default:
		switch {
		case err != nil:
		case len(todo) == 0:
			cli.Printf(a.Stderr, "nothing to import\n")
		case f.dryRun:
			cli.Printf(a.Stderr, "%s to import; this was a dry run, and nothing was imported\n", cli.Count(len(todo), "key"))
		}
		return err
	}
}

func (a *app) printPlan(items []*item, ignored []string) error {
	rows := [][]string{{"FILE", "NAME", "KIND", "KEY ID", "PLAN"}}
	for _, i := range items {
		rows = append(rows, []string{i.File, i.Name, i.Kind, i.KeyID, i.Plan})
	}
	if err := cli.Table(a.Stdout, rows); err != nil {
		return err
	}
	for _, i := range items {
		if i.source != nil {
			for _, n := range i.source.notes {
				a.warn("%s: %s", i.File, n)
			}
		}
	}
	a.sayBad(items)
	if len(ignored) > 0 {
		cli.Printf(a.Stderr, "not looked at: %s\n", cli.Printable(strings.Join(ignored, ", ")))
	}
	return nil
}

// sayBad says of every bad key why it is.
func (a *app) sayBad(items []*item) {
	for _, i := range items {
		if i.Plan == planBad {
			cli.Printf(a.Stderr, "bad: %s\n", cli.Printable(i.File+": "+i.Problem))
		}
	}
}

// importAll imports the keys in turn, and says what became of them, and where their plaintext still lies. It stops at
// the first that the server refuses, unless that is because the vault has the key: then it goes on to the next.
func (a *app) importAll(ctx context.Context, cl *client.Client, f importFlags, todo []*item) error {
	var to sealed.Recipient
	if slices.ContainsFunc(todo, func(i *item) bool { return i.source.sealed == nil }) {
		r, _, err := cl.Recipient(ctx)
		if err != nil {
			return unproved(err)
		}
		to = r
	}
	var done []*item
	var known int
	var failed error
	for n, i := range todo {
		a.count(n, len(todo))
		err := a.importItem(ctx, cl, to, f, i)
		if refusal, ok := errors.AsType[*client.Error](err); ok && refusal.Reason() == "KEY_KNOWN" {
			i.bad(refusal)
			known++
			continue
		}
		if err != nil {
			failed = stopped(err, i, len(done), len(todo))
			break
		}
		done = append(done, i)
	}
	a.count(-1, len(todo))
	if known > 0 && failed == nil {
		failed = &cli.Failure{Code: cli.Conflict, Err: fmt.Errorf("%d of %s were in the vault already; the others are imported", known, cli.Count(len(todo), "key"))}
	}
	return errors.Join(failed, a.sayDone(f, todo, done))
}

func (a *app) importItem(ctx context.Context, cl *client.Client, to sealed.Recipient, f importFlags, i *item) error {
	resp, err := a.send(ctx, cl, to, f, i.Name, i.source)
	if err != nil {
		return err
	}
	k, v := resp.GetKey(), importedVersion(resp)
	i.Version, i.state, i.KeyID, i.Fingerprint = v.GetNumber(), word(v.GetState().String(), "VERSION_STATE_"), v.GetKeyId(), v.GetFingerprint()
	i.Kind, i.IssuerID = k.GetKind(), k.GetIssuerId()
	for _, w := range resp.GetWarnings() {
		if !slices.Contains(i.source.notes, w) { // the plan has said it
			a.warn("%s: %s", i.File, w)
		}
	}
	return nil
}

// stopped is why the import ended at a key, after so many.
func stopped(err error, at *item, done, of int) error {
	todo := "run it again once that is put right: those that were imported are found to be there"
	if cause, ok := errors.AsType[*cli.Failure](err); ok && cause.Todo != "" {
		todo = cause.Todo + "; then run it again"
	}
	return &cli.Failure{Err: fmt.Errorf("%s: %w; %d of %s were imported", at.File, err, done, cli.Count(of, "key")), Todo: todo}
}

// sayDone prints what was imported, what the vault had, and where the plaintext of what it has now still lies.
func (a *app) sayDone(f importFlags, todo, done []*item) error {
	var sources []*source
	rows := [][]string{{"IMPORTED", "VERSION", "STATE", "KEY ID", "FINGERPRINT"}}
	for _, i := range done {
		sources = append(sources, i.source)
		rows = append(rows, []string{i.Name, number(i.Version), i.state, i.KeyID, i.Fingerprint})
	}
	var err error
	if *f.format != "json" && len(done) > 0 {
		err = cli.Table(a.Stdout, rows)
	}
	a.sayBad(todo)
	a.sayLeft(sources, "The vault has it now, and Apple does not give it out again.")
	return err
}

// count shows on a terminal how far it is; elsewhere it is silent. n below 0 clears the line.
func (a *app) count(n, of int) {
	switch {
	case !cli.Terminal(a.Stderr):
	case n < 0:
		cli.Printf(a.Stderr, "\r\x1b[K")
	default:
		cli.Printf(a.Stderr, "\rimporting %d of %d\x1b[K", n+1, of)
	}
}
