package oracle

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
)

// decoded is the header and the claims of a token, of which nothing is verified.
func decoded(t *testing.T, compact string) (header, claims object) {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	for i, into := range []*object{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber() // 1 is not 1.0
		if err := d.Decode(into); err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// same compares a token of ours with one of theirs: the same header, and the same claims. Those that differ for a good reason, times and
// nonces, are of the same type.
func same(t *testing.T, ours, theirs string, differ ...string) {
	t.Helper()
	ourHeader, ourClaims := decoded(t, ours)
	theirHeader, theirClaims := decoded(t, theirs)
	if !reflect.DeepEqual(ourHeader, theirHeader) {
		t.Errorf("our header is %v, theirs %v", ourHeader, theirHeader)
	}
	a, b := maps.Clone(ourClaims), maps.Clone(theirClaims)
	for _, name := range differ {
		if x, y := reflect.TypeOf(a[name]), reflect.TypeOf(b[name]); x != y || x == nil {
			t.Errorf("our %s is a %v, theirs a %v", name, x, y)
		}
		delete(a, name)
		delete(b, name)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("our claims are %v, theirs %v", ourClaims, theirClaims)
	}
}
