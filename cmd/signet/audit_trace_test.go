package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// TestPrintTrace prints what lives, what is dead and what has no end; the last is not to be taken for dead.
func TestPrintTrace(t *testing.T) {
	now := time.Unix(1767225600, 0)
	tests := []struct {
		name, family string
		expires      *timestamppb.Timestamp
		want, none   []string
	}{
		{"alive", "app-store-connect", timestamppb.New(now.Add(time.Minute)), []string{"ALIVE for another 1m0s", "whatever the key's role allows", "signet key revoke"}, nil},
		{"dead", "app-store-connect", timestamppb.New(now.Add(-time.Minute)), []string{"dead for 1m0s", "does not take it any more"}, []string{"ALIVE"}},
		{"without end", "maps-snapshot", nil, []string{"no end", "ALIVE", "signet key revoke"}, []string{"dead", "does not take it any more", "role"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			a := &app{Env: cli.Env{Stdout: &out}}
			err := a.printTrace(auditlog.Sum{}, &signetv1.TraceTokenResponse{
				Now:     timestamppb.New(now),
				Token:   &signetv1.TracedToken{Family: tt.family, ExpireTime: tt.expires, Key: "a", Version: 1, VersionState: "active"},
				Holders: []*signetv1.TokenHolder{{Id: "spiffe://signet.local/ci/1", Deliveries: 1}},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}
			for _, none := range tt.none {
				if strings.Contains(out.String(), none) {
					t.Errorf("it says %q:\n%s", none, &out)
				}
			}
		})
	}
}
