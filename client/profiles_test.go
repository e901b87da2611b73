package client_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/server/servertest"
)

// TestAllProfiles lists more profiles than a page has, stops when told to, and ends with an error where there is one.
func TestAllProfiles(t *testing.T) {
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	const caller = "spiffe://signet.test/ci/1"
	var doc strings.Builder
	doc.WriteString("version: 1\nprofiles:\n")
	names := make([]string, 1100)
	for i := range names {
		names[i] = fmt.Sprintf("p%04d", i)
		fmt.Fprintf(&doc, "  %s: {key: asc, app_store_connect: {}}\n", names[i])
	}
	fmt.Fprintf(&doc, "grants: [{id: g, to: [{mtls: %q}], mint: [%s]}]\n", caller, strings.Join(names, ", "))
	s.ApplyPolicy(doc.String())
	c := s.Client(caller)

	var got []string
	for p, err := range c.AllProfiles(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.GetName())
	}
	if !slices.Equal(got, names) {
		t.Errorf("%d profiles, want %d", len(got), len(names))
	}
	for p, err := range c.AllProfiles(t.Context()) {
		if err != nil || p.GetName() != names[0] {
			t.Errorf("%v, %v", p, err)
		}
		break
	}
	s.Stop()
	failed := 0
	for _, err := range c.AllProfiles(t.Context()) {
		if !errors.Is(err, client.ErrUnavailable) {
			t.Errorf("from a server that is gone: %v", err)
		}
		failed++
	}
	if failed != 1 {
		t.Errorf("%d errors", failed)
	}
}
