package server_test

import (
	"crypto/tls"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/p8signet/signet/server/servertest"
)

// TestPings: a client may ping as often as grpc lets it, by a clock that is not quite the server's and over a network that now and then
// holds something up; who pings much more often is sent away.
func TestPings(t *testing.T) {
	t.Parallel() // it takes half a minute
	for _, tt := range []struct {
		name  string
		every time.Duration
		away  bool
	}{
		{"every seven seconds", 7 * time.Second, false},
		{"ten a second", 100 * time.Millisecond, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := servertest.New(t)
			conn, err := tls.Dial("tcp", s.Addr(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
				t.Fatal(err)
			}
			f := http2.NewFramer(conn, conn)
			if err := f.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			away := make(chan bool, 1)
			go func() {
				for {
					switch frame, err := f.ReadFrame(); {
					case err != nil:
						away <- false
						return
					case frame.Header().Type == http2.FrameGoAway:
						away <- true
						return
					}
				}
			}()
			for range 4 {
				if err := f.WritePing(false, [8]byte{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.every)
			}
			select {
			case got := <-away:
				if got != tt.away {
					t.Errorf("the connection ended, sent away: %v", got)
				}
			default:
				if tt.away {
					t.Error("it was not sent away")
				}
			}
		})
	}
}
