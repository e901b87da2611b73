package cli

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// ParseSpan takes a duration in Go's words or in whole days: 90m, 12h, 30d. A negative one is none.
func ParseSpan(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err == nil
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

// SpanVar is a flag for what ParseSpan takes, and for negative durations, which its command refuses in words of its own.
func SpanVar(flags *pflag.FlagSet, d *time.Duration, name, usage string) {
	flags.Var((*span)(d), name, usage)
}

type span time.Duration

func (s *span) String() string {
	if *s == 0 {
		return "" // for --help: no default
	}
	return time.Duration(*s).String()
}

func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, ok := ParseSpan(text); ok {
		d, err = days, nil
	}
	if err != nil {
		return errors.New("want a duration such as 5m, 12h or 90d")
	}
	*s = span(d)
	return nil
}

func (*span) Type() string { return "duration" }
