package policy

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

var errDuration = errors.New("not a duration: want a number and a unit, such as 90s, 10m, 1h30m or 2d")

// parseDuration reads Go's durations, with days before the rest: 10m, 1h30m,
// 2d, 1d12h. Neither sign nor fraction of a day.
func parseDuration(s string) (time.Duration, error) {
	var days time.Duration
	if number, rest, ok := strings.Cut(s, "d"); ok {
		n, err := parseCount(number, 9999)
		if err != nil {
			return 0, errDuration
		}
		days = time.Duration(n) * day
		if rest == "" {
			return days, nil
		}
		s = rest
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		return 0, errDuration
	}
	d, err := time.ParseDuration(s)
	if err != nil || days+d < days {
		return 0, errDuration // time's own error repeats the input
	}
	return days + d, nil
}

// Rate is how often a principal may be given a token on one grant. The zero
// Rate lets nothing through.
type Rate struct {
	Events    int
	Per       time.Duration
	Unlimited bool
}

// defaultRate is that of a grant that names none.
var defaultRate = Rate{Events: 600, Per: time.Hour}

var (
	errRate = errors.New("not a rate: want a count from 1 to 1000000, a slash and one of s, m, h, d, such as 60/h; or none")

	rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day}
)

// parseRate reads a rate such as 60/h, or none.
func parseRate(s string) (Rate, error) {
	if s == "none" {
		return Rate{Unlimited: true}, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	n, err := parseCount(number, 1_000_000)
	per, ok := rateUnits[unit]
	if err != nil || n == 0 || !ok {
		return Rate{}, errRate
	}
	return Rate{Events: n, Per: per}, nil
}

// parseCount reads decimal digits and nothing else, up to a ceiling.
func parseCount(s string, most int) (int, error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.Atoi(s)
	if err != nil || n > most {
		return 0, strconv.ErrRange
	}
	return n, nil
}

var errCertificate = errors.New("not a certificate's hash: want sha256: and 64 lower-case hexadecimal digits, the SHA-256 of its DER")

// checkCertificate checks the hash by which a certificate is named.
func checkCertificate(s string) error {
	digits, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(digits) != 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return errCertificate
	}
	return nil
}
