package apple

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// wantField checks that an error names the field and the rule, and repeats nothing of the input.
func wantField(t *testing.T, err error, field, rule, input string) {
	t.Helper()
	var f *FieldError
	switch {
	case field == "" && err != nil:
		t.Errorf("error %v", err)
	case field == "":
	case !errors.As(err, &f) || f.Field != field || !strings.Contains(err.Error(), rule):
		t.Errorf("error %v, want one of %s that says %q", err, field, rule)
	case len(input) > 3 && strings.Contains(err.Error(), input):
		t.Errorf("the error repeats the input: %v", err)
	}
}

func TestNewOfferCall(t *testing.T) {
	for _, tt := range []struct {
		name, product, offer, transaction, account, field, rule string
	}{
		{"usual", "com.example.pro", "winback1", "1000011859217", "", "", ""},
		{"no transaction", "com.example.pro", "winback1", "", "", "", ""},
		{"a UUID", "com.example.pro", "winback1", "", "6F9619FF-8B86-D011-B42D-00CF4FC964FF", "", ""},
		{"a name", "com.example.pro", "winback1", "", "jörg@example.com", "", ""},
		{"no product", "", "winback1", "", "", "product_id", "it is missing"},
		{"a space in the product", "com.example pro", "winback1", "", "", "product_id", "not a product ID"},
		{"a separator in the product", "com\u2063example", "winback1", "", "", "product_id", "not a product ID"},
		{"a long product", strings.Repeat("a", 256), "winback1", "", "", "product_id", "not a product ID"},
		{"a line after the product", "com.example.pro\n", "winback1", "", "", "product_id", "not a product ID"},
		{"no offer", "com.example.pro", "", "", "", "offer_id", "it is missing"},
		{"not ASCII in the offer", "com.example.pro", "wïnback1", "", "", "offer_id", "not the identifier of an offer"},
		{"a transaction that is none", "com.example.pro", "winback1", "10000 11859", "", "transaction_id", "not the ID of a transaction"},
		{"a long transaction", "com.example.pro", "winback1", strings.Repeat("1", 65), "", "transaction_id", "not the ID of a transaction"},
		{"a separator in the account", "com.example.pro", "winback1", "", "a\u2063bcd", "account", "cannot be printed"},
		{"a line in the account", "com.example.pro", "winback1", "", "a\nbcd", "account", "cannot be printed"},
		{"a capital sigma in the account", "com.example.pro", "winback1", "", "ΝΙΚΟΣ", "account", "give it in lower case"},
		{"a dotted capital I in the account", "com.example.pro", "winback1", "", "İpek", "account", "give it in lower case"},
		{"a long account", "com.example.pro", "winback1", "", strings.Repeat("a", 513), "account", "longer than 512 bytes"},
		{"not UTF-8 in the account", "com.example.pro", "winback1", "", "abc\xff", "account", "cannot be printed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewOfferCall(tt.product, tt.offer, tt.transaction, tt.account)
			wantField(t, err, tt.field, tt.rule, map[string]string{"product_id": tt.product, "offer_id": tt.offer, "transaction_id": tt.transaction, "account": tt.account}[tt.field])
			if want := []FormField{{"product_id", tt.product}, {"offer_id", tt.offer}}; err == nil && !slices.Equal(c.Values(), want) {
				t.Errorf("Values = %v", c.Values())
			}
			if err != nil && c != (OfferCall{}) {
				t.Error("a call beside an error")
			}
		})
	}
}

func TestNewIntroductoryOfferCall(t *testing.T) {
	for _, tt := range []struct{ name, product, transaction, field, rule string }{
		{"usual", "com.example.pro", "1000011859217", "", ""},
		{"no product", "", "1000011859217", "product_id", "it is missing"},
		{"no transaction", "com.example.pro", "", "transaction_id", "it is missing"},
		{"a transaction that is none", "com.example.pro", "1/2/3/4/5", "transaction_id", "not the ID of a transaction"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewIntroductoryOfferCall(tt.product, tt.transaction, true)
			wantField(t, err, tt.field, tt.rule, tt.transaction)
		})
	}
}

func TestNewCommerceCall(t *testing.T) {
	for _, tt := range []struct{ name, request, rule string }{
		{"usual", `{"operation":"CREATE_ONE_TIME_CHARGE","version":"1","requestInfo":{"requestReferenceId":"f55df048-4cd8-4261-b404-b6f813ff70e5"}}`, ""},
		{"in another order", `{"version":"1","operation":"MODIFY"}`, ""},
		{"empty", ``, "it is missing"},
		{"too long", `{"operation":"A","version":"1","x":"` + strings.Repeat("a", MaxCommerceRequest) + `"}`, "longer than 16384 bytes"},
		{"not UTF-8", "{\"operation\":\"A\",\"version\":\"\xff\"}", "not JSON in UTF-8"},
		{"not JSON", `{"operation":`, "not JSON in UTF-8"},
		{"two values", `{"operation":"A","version":"1"}{}`, "not JSON in UTF-8"},
		{"a list", `[{"operation":"A","version":"1"}]`, "not an object"},
		{"text", `"operation"`, "not an object"},
		{"no operation", `{"version":"1"}`, `it wants the members "operation" and "version"`},
		{"no version", `{"operation":"A"}`, `it wants the members "operation" and "version"`},
		{"an empty version", `{"operation":"A","version":""}`, `it wants the members "operation" and "version"`},
		{"an operation that is a number", `{"operation":1,"version":"1"}`, `it wants the members "operation" and "version"`},
		{"an operation in lower case", `{"operation":"modify","version":"1"}`, "not an operation"},
		{"another spelling of the member", `{"Operation":"A","version":"1"}`, `it wants the members "operation" and "version"`},
		{"twice", `{"operation":"A","version":"1","operation":"B"}`, "stands in the object twice"},
		{"twice, one escaped", `{"operation":"A","version":"1","\u006fperation":"B"}`, "stands in the object twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			field := "request"
			if tt.rule == "" {
				field = ""
			}
			c, err := NewCommerceCall([]byte(tt.request))
			wantField(t, err, field, tt.rule, tt.request)
			if err == nil && c.request != tt.request {
				t.Error("the request was changed")
			}
		})
	}
}

// TestTopMembers: what is cut short is no object, whatever of it was read.
func TestTopMembers(t *testing.T) {
	for _, text := range []string{"", "{", `{"a"`, `{"a":`, `{"a":1,`, `{"a":}`, "null", "[]"} {
		if members, err := topMembers([]byte(text)); text != "{" && err == nil || len(members) != 0 {
			t.Errorf("%q: %v, %v", text, members, err)
		}
	}
}

func TestNewSnapshotCall(t *testing.T) {
	const added = "teamId, keyId and signature are added here"
	for _, tt := range []struct{ name, query, rule string }{
		{"usual", "center=37.33,-122.0&z=12", ""},
		{"encoded", "center=Apple%20Park&annotations=%5B%5D", ""},
		{"empty", "", "it is missing"},
		{"a space", "center=a b", "encode it"},
		{"a fragment", "center=a#b", "encode it"},
		{"a line", "center=a\n", "encode it"},
		{"not ASCII", "center=é", "encode it"},
		{"a quote", `center="a"`, "encode it"},
		{"no value", "center", "not name=value"},
		{"no name", "=a&z=12", "not name=value"},
		{"an empty pair", "center=a&", "not name=value"},
		{"with its question mark", "?center=a", "leave that out"},
		{"a broken escape", "cen%zzter=a", "not name=value"},
		{"a broken escape in a value", "center=%zz", "not name=value"},
		{"an escape that is cut short", "center=a%2", "not name=value"},
		{"a single quote, which browsers encode", "center='a'", "encode it"},
		{"a bar, which some clients encode", "center=a|b", "encode it"},
		{"brackets", "center=[a]", "encode it"},
		{"a team", "center=a&teamId=DEF123GHIJ", added},
		{"a key", "keyId=X&center=a", added},
		{"a signature", "center=a&signature=x", added},
		{"a team in another case", "center=a&TEAMID=x", added},
		{"a team that is encoded", "center=a&team%49d=x", added},
		{"too long", "center=" + strings.Repeat("a", maxSnapshot), "longer than 4096 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			field := "query"
			if tt.rule == "" {
				field = ""
			}
			_, err := NewSnapshotCall(tt.query)
			wantField(t, err, field, tt.rule, tt.query)
		})
	}
}

func TestNewExportAndMarketplaceCall(t *testing.T) {
	for _, tt := range []struct{ name, file, rule string }{
		{"usual", "a.pages", ""}, {"not ASCII", "Übersicht.key", ""},
		{"empty", "", "it is missing"}, {"a path", "a/bcd.key", "not the name of a file"}, {"a line", "a\nbcd", "not the name of a file"},
		{"too long", strings.Repeat("a", 256), "not the name of a file"}, {"not UTF-8", "abc\xff", "not the name of a file"},
	} {
		field := "file_name"
		if tt.rule == "" {
			field = ""
		}
		_, err := NewExportCall(tt.file)
		wantField(t, err, field, tt.rule, tt.file)
	}
	for _, tt := range []struct{ name, id, rule string }{
		{"a UUID", "69a6de70-03db-47e3-e053-5b8c7c11a4d1", ""}, {"empty", "", "it is missing"},
		{"a space", "69a6 de70", "not a Developer ID"}, {"too long", strings.Repeat("a", 65), "not a Developer ID"},
	} {
		field := "developer_id"
		if tt.rule == "" {
			field = ""
		}
		_, err := NewMarketplaceCall(tt.id)
		wantField(t, err, field, tt.rule, tt.id)
	}
}

// TestUnfitCalls: a call of every type with every family, and none, is refused but where it fits; so is a zero one.
func TestUnfitCalls(t *testing.T) {
	calls := []Call{nil, OfferCall{}, IntroductoryOfferCall{}, CommerceCall{}, SnapshotCall{}, ExportCall{}, MarketplaceCall{}}
	for _, s := range samples() {
		if s.call != nil {
			calls = append(calls, s.call)
		}
	}
	for family, s := range samples() {
		fits := 0
		for _, c := range calls {
			ask := s.ask()
			ask.Call = c
			_, err := s.terms.Spec(s.facts, ask)
			if err == nil {
				fits++
				if c != s.call {
					t.Errorf("%s takes %T %v", family, c, c)
				}
			} else if !errors.Is(err, ErrUnfitAsk) {
				t.Errorf("%s: %v", family, err)
			}
		}
		if fits == 0 {
			t.Errorf("%s takes no call", family)
		}
	}
}

func FuzzNewCommerceCall(f *testing.F) {
	f.Add([]byte(`{"operation":"MODIFY","version":"1"}`))
	f.Add([]byte(`{"operation":"MODIFY","version":"1","\u006fperation":"A"}`))
	f.Fuzz(func(t *testing.T, request []byte) {
		c, err := NewCommerceCall(request)
		if err != nil {
			return
		}
		if c.request != string(request) || !operationShape.MatchString(c.operation) || !strings.Contains(c.request, "version") && !strings.Contains(c.request, `\u`) {
			t.Errorf("operation %q of %q", c.operation, request)
		}
	})
}

func FuzzNewSnapshotCall(f *testing.F) {
	f.Add("center=37.33,-122.0&z=12")
	f.Add("center=a&team%49d=x")
	f.Fuzz(func(t *testing.T, query string) {
		if _, err := NewSnapshotCall(query); err == nil && (strings.ContainsAny(query, " #\n\"<>\\") || len(query) > maxSnapshot) {
			t.Errorf("accepted %q", query)
		}
	})
}

func FuzzNewOfferCall(f *testing.F) {
	f.Add("com.example.pro", "winback1", "1000011859217", "")
	f.Add("com.example.pro", "winback1", "", "6F9619FF-8B86-D011-B42D-00CF4FC964FF")
	f.Fuzz(func(t *testing.T, product, offer, transaction, account string) {
		if _, err := NewOfferCall(product, offer, transaction, account); err == nil && strings.Contains(product+offer+transaction+account, separator) {
			t.Error("accepted a separator")
		}
	})
}
