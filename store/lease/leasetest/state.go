package leasetest

import (
	"encoding/binary"
	"slices"
	"strings"
)

// value is what a key may be.
type value byte

const (
	disabled value = 1 << iota
	revoked
	ungranted
)

// answer is that to a mint.
func (v value) answer() Answer {
	switch {
	case v&ungranted != 0:
		return Denied
	case v&revoked != 0:
		return KeyRevoked
	case v&disabled != 0:
		return KeyDisabled
	}
	return Done
}

// after is what a change makes of a value.
func (v value) after(s step) value {
	switch {
	case s.kind != Apply && s.of != s.key:
	case s.kind == Disable:
		return v | disabled
	case s.kind == Enable && v&revoked == 0:
		return v &^ disabled
	case s.kind == Revoke:
		return v | revoked
	case s.kind == Apply && s.grant:
		return v &^ ungranted
	case s.kind == Apply:
		return v | ungranted
	}
	return v
}

// entry is a value of the window, and the change that made it, as long as somebody waits for that one; else 0.
type entry struct {
	value value
	id    uint16
}

// state is that of the model. It is comparable, as the checker wants it.
type state struct {
	window string // of entries, three bytes each
	over   string // ids of changes that others have taken out of the window, and that are not done themselves
	denied bool   // whether the profile was ever denied
}

func (s state) entries() []entry {
	var all []entry
	for i := 0; i < len(s.window); i += 3 {
		all = append(all, entry{value(s.window[i]), binary.BigEndian.Uint16([]byte(s.window[i+1 : i+3]))})
	}
	return all
}

// with is the state with another window. A value that nobody waits for and that comes again later is left out: it makes no
// difference, and states that are the same should look so.
func (s state) with(all []entry) state {
	var window []byte
	for i, e := range all {
		again := slices.ContainsFunc(all[i+1:], func(l entry) bool { return l.value == e.value })
		if e.id == 0 && again {
			continue
		}
		s.denied = s.denied || e.value&ungranted != 0
		window = binary.BigEndian.AppendUint16(append(window, byte(e.value)), e.id)
	}
	s.window = string(window)
	return s
}

// step are the states after a step; none: it is impossible.
func (s state) step(p step) []state {
	switch p.phase {
	case comes:
		return []state{s.come(p, p.id)}
	case mayCome:
		return []state{s, s.come(p, 0)}
	case done:
		return s.done(p.id)
	default:
		return s.answer(p)
	}
}

func (s state) come(p step, id uint16) state {
	all := s.entries()
	return s.with(append(all, entry{all[len(all)-1].value.after(p), id}))
}

func (s state) done(id uint16) []state {
	own := mark(id)
	for i := 0; i < len(s.over); i += 2 {
		if s.over[i:i+2] == own {
			s.over = s.over[:i] + s.over[i+2:]
			return []state{s}
		}
	}
	all := s.entries()
	at := slices.IndexFunc(all, func(e entry) bool { return e.id == id })
	if at < 0 {
		return nil // it has not come about
	}
	for _, e := range all[:at] {
		if e.id != 0 {
			s.over += mark(e.id)
		}
	}
	all[at].id = 0
	return []state{s.with(all[at:])}
}

// mark is an id in state.over.
func mark(id uint16) string { return string(binary.BigEndian.AppendUint16(nil, id)) }

func (s state) answer(p step) []state {
	possible := slices.ContainsFunc(s.entries(), func(e entry) bool {
		if p.kind == Enable {
			return e.value&revoked != 0
		}
		return e.value.answer() == p.answer
	})
	if possible || p.kind == Mint && p.answer == Denied && s.denied {
		return []state{s}
	}
	return nil
}

// String is the window, the oldest value first.
func (s state) String() string {
	var all []string
	for _, e := range s.entries() {
		text := string(e.value.answer())
		if text == "" {
			text = "mints"
		}
		if e.value == disabled|revoked || e.value&ungranted != 0 && e.value != ungranted {
			text += "…"
		}
		all = append(all, text)
	}
	return strings.Join(all, " | ")
}
