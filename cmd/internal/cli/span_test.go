package cli

import (
	"testing"
	"time"
)

func TestParseSpan(t *testing.T) {
	for _, tt := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"90m", 90 * time.Minute, true},
		{"0", 0, true},
		{"7d", 7 * 24 * time.Hour, true},
		{"180d", 180 * 24 * time.Hour, true},
		{"-7d", 0, false},
		{"-5m", 0, false},
		{"1.5d", 0, false},
		{"70000d", 0, false},
		{"d", 0, false},
		{"", 0, false},
		{"soon", 0, false},
	} {
		got, ok := ParseSpan(tt.text)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %v, %v; want %v, %v", tt.text, got, ok, tt.want, tt.ok)
		}
	}
}
