package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
)

// verifyDirs verifies segments without a server: those of several directories as if they lay in one.
func (a *app) verifyDirs(dirs []string, key string, files []string, o auditlog.VerifyOptions, format string) error {
	v, err := a.logKey(key)
	if err != nil {
		return err
	}
	for _, file := range files {
		msg, err := a.readInput(file, maxSealedFile)
		if err != nil {
			return err
		}
		cp, err := auditlog.OpenCheckpoint(msg, v)
		if err != nil {
			return cli.Malformedf("signet audit checkpoint prints one", "%s is no checkpoint signed by this log's key: %w", file, err)
		}
		o.Anchors = append(o.Anchors, cp)
	}
	var all union
	for _, dir := range dirs {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return cli.Malformedf("it is the directory log of the vault, or a copy of it", "%s is not a directory", dir)
		}
		all = append(all, os.DirFS(dir))
	}
	pinned, err := a.pinned(v)
	if err != nil {
		return err
	}
	o.Anchors = append(o.Anchors, pinned...)
	reports, err := auditlog.VerifyLogs(all, v, o)
	if err != nil {
		return fmt.Errorf("reading the segments: %w", err)
	}
	return a.printReports(reports, format)
}

// logKey is the verifier that --key gives, as text or as a file, or the only one that client.yaml pins.
func (a *app) logKey(key string) (note.Verifier, error) {
	if key == "" {
		conf, ok, err := a.loadConfig()
		if err != nil {
			return nil, err
		}
		if !ok || len(conf.Logs) != 1 {
			return nil, cli.Malformedf("it stands in logs of client.yaml, and in signet system status", "--key is needed: client.yaml does not pin exactly one log key")
		}
		key = conf.Logs[0].Key
	}
	if !strings.Contains(key, "+") || filepath.IsAbs(key) {
		data, err := a.readInput(key, 1<<10)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		key = string(data)
	}
	v, err := note.NewVerifier(strings.TrimSpace(key))
	if err != nil {
		return nil, cli.Malformedf("it looks like VAULT/NODE+HASH+BASE64, and stands in logs of client.yaml", "--key is no verifier key, nor a file with one")
	}
	return v, nil
}

// pinned are the checkpoints that were pinned of logs of this key.
func (a *app) pinned(v note.Verifier) ([]auditlog.Checkpoint, error) {
	ps, err := a.pins()
	if err != nil {
		return nil, nil //nolint:nilerr // no home, so nothing was pinned
	}
	origins, err := ps.origins()
	if err != nil {
		return nil, err
	}
	var all []auditlog.Checkpoint
	for _, s := range origins {
		if o, err := auditlog.ParseOrigin(s); err != nil || o.KeyName() != v.Name() {
			continue
		}
		msg, err := ps.get(s)
		if err != nil {
			return nil, err
		}
		cp, err := auditlog.OpenCheckpoint(msg, v)
		if err != nil {
			return nil, fmt.Errorf("the pinned checkpoint in %s: %w", ps.path(s), err)
		}
		all = append(all, cp)
	}
	return all, nil
}

func (a *app) printReports(reports []*auditlog.Report, format string) error {
	damages := 0
	all := make([]any, 0, len(reports))
	for _, r := range reports {
		damages += len(r.Damage)
		all = append(all, reportJSON(r))
		if format == "json" {
			continue
		}
		for _, d := range r.Damage {
			cli.Printf(a.Stdout, "damage: %s: %s\n", r.Origin, d)
		}
		for _, e := range r.Evidence {
			cli.Printf(a.Stdout, "set aside: %s: %d bytes of segment %d from byte %d on, which were never acknowledged\n", r.Origin, e.Length, e.Segment, e.Offset)
		}
		for _, u := range r.Unchecked {
			cli.Printf(a.Stdout, "not checked: %s: %s\n", r.Origin, u)
		}
		if r.First > 0 {
			cli.Printf(a.Stdout, "not here: %s: the entries before index %d, which only an archive has\n", r.Origin, r.First)
		}
		if len(r.Damage) == 0 {
			cli.Printf(a.Stdout, "verified: %s, %d entries, %d of them under a signature\n", r.Origin, r.Size-r.First, r.Signed-r.First)
		}
	}
	if format == "json" {
		if err := cli.JSON(a.Stdout, struct {
			Logs []any `json:"logs"`
		}{all}); err != nil {
			return err
		}
	}
	if damages > 0 {
		return &cli.Failure{Code: cli.Other, Err: fmt.Errorf("the log is damaged in %s", cli.Count(damages, "place")), Todo: "keep the directory as it is: what stands in it is evidence"}
	}
	return nil
}

func reportJSON(r *auditlog.Report) any {
	type damage struct {
		Segment int64  `json:"segment"`
		Line    int    `json:"line"`
		Index   int64  `json:"index"`
		What    string `json:"what"`
	}
	type aside struct {
		Segment  int64 `json:"segment"`
		Offset   int64 `json:"offset"`
		Length   int64 `json:"length"`
		Recorded int64 `json:"recorded"`
	}
	out := struct {
		Origin    string   `json:"origin"`
		First     int64    `json:"first"`
		Size      int64    `json:"size"`
		Hash      string   `json:"hash"`
		Signed    int64    `json:"signed"`
		Damage    []damage `json:"damage"`
		SetAside  []aside  `json:"setAside"`
		Unchecked []string `json:"unchecked"`
	}{Origin: r.Origin.String(), First: r.First, Size: r.Size, Hash: r.Hash.String(), Signed: r.Signed, Damage: []damage{}, SetAside: []aside{}, Unchecked: append([]string{}, r.Unchecked...)}
	for _, d := range r.Damage {
		out.Damage = append(out.Damage, damage(d))
	}
	for _, e := range r.Evidence {
		out.SetAside = append(out.SetAside, aside(e))
	}
	return out
}
