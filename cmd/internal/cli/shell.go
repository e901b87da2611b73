package cli

import "strings"

// Quoted is any text as one word of a POSIX shell: as it is where a shell takes it so. What could move a terminal's cursor
// is replaced.
func Quoted(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("/._-+@:,", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(clean(s, true), "'", `'\''`) + "'"
}

// Printable is text of one line of which nothing can move a terminal's cursor.
func Printable(s string) string { return clean(s, false) }
