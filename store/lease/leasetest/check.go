package leasetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// ErrViolation says that no replicas that keep law 5 can have answered so.
var ErrViolation = errors.New("off does not mean off: no order explains the answers")

// Check says whether replicas that keep law 5 can have answered so; at the beginning all keys mint. Else the error is
// ErrViolation, or that it could not be found out in time; it names a directory, in which there are the history as JSON and a
// page that shows how far the checker came.
func Check(ops []Op, within time.Duration) error {
	model := model()
	result, info := porcupine.CheckOperationsVerbose(model, steps(ops), within)
	if result == porcupine.Ok {
		return nil
	}
	dir, err := os.MkdirTemp("", "signet-history-")
	if err == nil {
		err = errors.Join(save(filepath.Join(dir, "history.json"), ops), porcupine.VisualizePath(model, info, filepath.Join(dir, "history.html")))
	}
	if result == porcupine.Unknown {
		return errors.Join(fmt.Errorf("whether an order explains the answers was not found out within %s; they are in %s", within, dir), err)
	}
	return errors.Join(fmt.Errorf("%w; they are in %s\n%s", ErrViolation, dir, unexplained(model, ops, info)), err)
}

func save(path string, ops []Op) error {
	text, err := json.MarshalIndent(ops, "", " ")
	if err != nil {
		return fmt.Errorf("writing a history: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("writing a history: %w", err)
	}
	return nil
}

// unexplained are, for every key, the calls around the first that the longest explanation lacks.
func unexplained(model porcupine.Model, ops []Op, info porcupine.LinearizationInfo) string {
	var text string
	all := model.Partition(steps(ops))
	for i, partial := range info.PartialLinearizationsOperations() {
		var longest []porcupine.Operation
		for _, p := range partial {
			if len(p) > len(longest) {
				longest = p
			}
		}
		have := map[step]bool{}
		for _, o := range longest {
			have[o.Input.(step)] = true //nolint:errcheck,forcetypeassert // all inputs are steps
		}
		var first *porcupine.Operation
		for _, o := range all[i] {
			if !have[o.Input.(step)] && (first == nil || o.Return < first.Return) { //nolint:errcheck,forcetypeassert // as above
				first = &o
			}
		}
		if first != nil {
			text += fmt.Sprintf("  after %d of %d: %s\n", len(longest), len(all[i]), first.Input)
		}
	}
	return text
}

// phase is which part of a call a step is.
type phase int

const (
	answered phase = iota // a mint, or what was refused: some value of the window gives that answer
	comes                 // a change comes about
	mayCome               // a change comes about, or never does
	done                  // what came about before a change leaves the window
)

// step is what the model does for one call and one key. It is a porcupine.Operation's input; there is no output.
type step struct {
	phase  phase
	kind   Kind
	key    string // whose part of the history it is in
	of     string // that was called
	answer Answer
	grant  bool   // of apply
	id     uint16 // of a call
	call   int    // its place in the history, for who reads
	node   string
	client int
}

func (s step) String() string {
	text := string(s.kind) + " " + s.of
	if s.kind == Apply {
		text = fmt.Sprintf("apply, granting %s: %t", s.key, s.grant)
	}
	switch s.phase {
	case comes:
		text += " comes about"
	case mayCome:
		text += " may come about, answered " + string(s.answer)
	case done:
		text += " is done"
	case answered:
		if s.answer == Done {
			text += " → a token"
		} else {
			text += " → " + string(s.answer)
		}
	}
	return fmt.Sprintf("%s (call %d, by client %d on %s)", text, s.call, s.client, s.node)
}

// steps makes the calls that say something into steps.
func steps(ops []Op) []porcupine.Operation {
	keys, end := map[string]bool{}, int64(0)
	for _, op := range ops {
		if op.Key != "" {
			keys[op.Key] = true
		}
		end = max(end, op.Return+1)
	}
	var all []porcupine.Operation
	var ids uint16
	for i, op := range ops {
		add := func(p phase, key string, from, to int64) {
			s := step{phase: p, kind: op.Kind, key: key, of: op.Key, answer: op.Answer, grant: slices.Contains(op.Grants, key), id: ids, call: i, node: op.Node, client: op.Client}
			all = append(all, porcupine.Operation{ClientId: op.Client, Input: s, Call: from, Return: to})
		}
		of := []string{op.Key}
		if op.Kind == Apply || op.Kind != Mint && op.Answer == Done {
			of = slices.Sorted(maps.Keys(keys))
		}
		if op.Kind != Mint {
			ids++
		}
		for _, key := range of {
			switch {
			case op.Kind == Mint && says(op.Answer), op.Kind == Enable && op.Answer == KeyRevoked:
				add(answered, key, op.Call, op.Return)
			case op.Kind == Mint, op.Answer == Unreachable, op.Answer == Conflict:
			case op.Answer == Done:
				add(comes, key, op.Call, op.Return)
				add(done, key, op.Return, op.Return)
			default:
				add(mayCome, key, op.Call, min(end, superseded(ops, op)))
			}
		}
	}
	return all
}

// superseded is when a change that did not succeed can come about no more.
func superseded(ops []Op, failed Op) int64 {
	at := int64(math.MaxInt64)
	for _, op := range ops {
		if op.Kind != Mint && op.Answer == Done && op.Call > failed.Return {
			at = min(at, op.Return)
		}
	}
	return at
}

// says says whether the answer to a mint says anything.
func says(a Answer) bool {
	return a == Done || a == Denied || a == KeyDisabled || a == KeyRevoked
}

func model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, o := range all {
				s := o.Input.(step) //nolint:errcheck,forcetypeassert // all inputs are steps
				byKey[s.key] = append(byKey[s.key], o)
			}
			var parts [][]porcupine.Operation
			for _, key := range slices.Sorted(maps.Keys(byKey)) {
				parts = append(parts, byKey[key])
			}
			return parts
		},
		Init: func() []any { return []any{state{window: string([]byte{0, 0, 0})}} },
		Step: func(at, input, _ any) []any {
			var next []any
			for _, s := range at.(state).step(input.(step)) { //nolint:errcheck,forcetypeassert // all states are states, all inputs are steps
				next = append(next, s)
			}
			return next
		},
		DescribeOperation: func(input, _ any) string { return fmt.Sprint(input) },
		DescribeState:     func(s any) string { return fmt.Sprint(s) },
	}
	return m.ToModel()
}
