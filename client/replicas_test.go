package client_test

import (
	"errors"
	"testing"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/servertest"
)

// TestOrigin: which log a server writes is known by the pinned key, and without one by what it says.
func TestOrigin(t *testing.T) {
	s := servertest.New(t)
	config := s.ClientConfig(servertest.OperatorID)
	origin, err := auditlog.ParseOrigin(s.LogOrigin())
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := auditlog.GenerateKey(origin.KeyName())
	if err != nil {
		t.Fatal(err)
	}
	_, another, err := auditlog.GenerateKey("vault/node-2")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		logs []client.LogKey
		want error
	}{
		{"pinned", config.Logs, nil},
		{"an earlier log of the node", []client.LogKey{{Origin: origin.KeyName() + "/earlier", Key: s.LogKey()}}, nil},
		{"nothing is pinned", nil, client.ErrNoLogKey},
		{"another node is pinned", []client.LogKey{{Origin: "vault/node-2/a", Key: another}}, client.ErrNoLogKey},
		{"another key is pinned", []client.LogKey{{Origin: s.LogOrigin(), Key: other}}, client.ErrUnverified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config.Logs = tt.logs
			c, err := client.Dial(config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for _, r := range append(c.Replicas(), client.Replica{Client: c, Address: s.Addr()}) {
				got, err := r.Origin(t.Context())
				if !errors.Is(err, tt.want) || (got == origin) == errors.Is(err, client.ErrUnverified) || r.Address != s.Addr() {
					t.Errorf("%s at %s, %v", got, r.Address, err)
				}
			}
		})
	}
}
