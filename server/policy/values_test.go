package policy

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration // 0 for an error, unless the text is 0
	}{
		{"90s", 90 * time.Second},
		{"10m", 10 * time.Minute},
		{"1h30m", 90 * time.Minute},
		{"1.5h", 90 * time.Minute},
		{"2d", 48 * time.Hour},
		{"180d", 180 * 24 * time.Hour},
		{"1d12h", 36 * time.Hour},
		{"0d1s", time.Second},
		{"0", 0},
		{"0d", 0},
		{"", 0},
		{"d", 0},
		{"10", 0},
		{"-5m", 0},
		{"+5m", 0},
		{"1d-1h", 0},
		{"1d+1h", 0},
		{"-1d", 0},
		{"1.5d", 0},
		{"1h1d", 0},
		{"1d1d", 0},
		{"1d ", 0},
		{"10000d", 0},
		{"9999d2562047h", 0},
		{"99999999999999999999h", 0},
		{"1w", 0},
		{"5 m", 0},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := parseDuration(tt.text)
			if wantErr := tt.want == 0 && tt.text != "0" && tt.text != "0d"; got != tt.want || (err != nil) != wantErr {
				t.Errorf("parseDuration = %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestParseRate(t *testing.T) {
	tests := []struct {
		text string
		want Rate // the zero Rate for an error
	}{
		{"60/h", Rate{Events: 60, Per: time.Hour}},
		{"1/s", Rate{Events: 1, Per: time.Second}},
		{"10/m", Rate{Events: 10, Per: time.Minute}},
		{"1000000/d", Rate{Events: 1000000, Per: 24 * time.Hour}},
		{"none", Rate{Unlimited: true}},
		{"", Rate{}},
		{"60", Rate{}},
		{"/h", Rate{}},
		{"60/", Rate{}},
		{"60/hour", Rate{}},
		{"60/5m", Rate{}},
		{"0/h", Rate{}},
		{"-1/h", Rate{}},
		{"1.5/h", Rate{}},
		{"1000001/h", Rate{}},
		{"60/h/h", Rate{}},
		{"None", Rate{}},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := parseRate(tt.text)
			if got != tt.want || (err != nil) != (tt.want == Rate{}) {
				t.Errorf("parseRate = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}
