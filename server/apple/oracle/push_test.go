package oracle

import (
	"crypto/ecdsa"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sideshow/apns2"
	apnstoken "github.com/sideshow/apns2/token"

	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/servertest/fakeapple"
)

const device = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

// pushKey is the portal key as a fake of Apple's knows it.
func pushKey(key *ecdsa.PrivateKey) fakeapple.Key {
	return fakeapple.Key{Kind: fakeapple.Portal, ID: string(keyID), Team: string(team), Services: []fakeapple.Service{fakeapple.APNs}, Public: &key.PublicKey}
}

// TestAPNsClient: somebody else's client of APNs pushes with our token, and makes one that says the same.
func TestAPNsClient(t *testing.T) {
	key := newKey(t)
	apns := fakeapple.New(time.Now)
	apns.Register(pushKey(key))
	server := apns.PushServer(t, false)
	push := func(hc *http.Client, token *apnstoken.Token) *apns2.Response {
		t.Helper()
		c := &apns2.Client{Host: server.URL, HTTPClient: hc, Token: token}
		resp, err := c.Push(&apns2.Notification{DeviceToken: device, Topic: string(bundle), Payload: []byte(`{"aps":{}}`)})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	clients, closeAll := fakeapple.Connections(server, 3)
	defer closeAll()

	ours := sign(t, portal, apple.APNs{}, nil, key, time.Now())
	token := &apnstoken.Token{Bearer: ours.Text, IssuedAt: ours.IssuedAt.Unix()}
	for range 3 {
		if resp := push(clients[0], token); !resp.Sent() {
			t.Fatalf("our token: %d %s, %v", resp.StatusCode, resp.Reason, apns.Refusals())
		}
	}
	theirs := &apnstoken.Token{AuthKey: key, KeyID: string(keyID), TeamID: string(team)}
	if resp := push(clients[1], theirs); !resp.Sent() {
		t.Fatalf("their token: %d %s, %v", resp.StatusCode, resp.Reason, apns.Refusals())
	}
	same(t, ours.Text, theirs.Bearer, "iat")

	// Ours is of the last half hour and theirs of now: a connection that has shown theirs does not go back.
	if resp := push(clients[1], token); resp.StatusCode != http.StatusTooManyRequests || resp.Reason != apns2.ReasonTooManyProviderTokenUpdates {
		t.Errorf("another token on one connection: %d %s", resp.StatusCode, resp.Reason)
	}
	token.Bearer = ours.Text[:strings.LastIndexByte(ours.Text, '.')] + theirs.Bearer[strings.LastIndexByte(theirs.Bearer, '.'):]
	if resp := push(clients[2], token); resp.Reason != apns2.ReasonInvalidProviderToken {
		t.Errorf("another token's signature: %d %s", resp.StatusCode, resp.Reason)
	}
}
