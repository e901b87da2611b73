package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/p8signet/signet/server/apple"
)

var familyRow = regexp.MustCompile("(?m)^\\| `([a-z_]+): \\{[^|]*\\| [^|]* \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\|$")

// TestFamilies compares the README's table with the rules that the program has, both ways.
func TestFamilies(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []apple.Family
	for _, row := range familyRow.FindAllStringSubmatch(string(text), -1) {
		family := apple.Family(strings.ReplaceAll(row[1], "_", "-"))
		listed = append(listed, family)
		for _, kind := range apple.Kinds() {
			if says := strings.Contains(row[2], "`"+string(kind)+"`"); says != (family.CheckKind(kind) == nil) {
				t.Errorf("%s: that a key of kind %s serves it: %v", family, kind, says)
			}
		}
		if want := lives(family); want != row[3] {
			t.Errorf("%s lives %q, the README says %q", family, want, row[3])
		}
		again := map[apple.Reuse]string{apple.ReuseNever: "never", apple.ReusePerPrincipal: "to the same caller", apple.ReuseShared: "one for all"}
		if want := again[family.Reuses()[0]]; want != row[4] {
			t.Errorf("%s is given again %q, the README says %q", family, want, row[4])
		}
	}
	if !slices.Equal(listed, apple.Families()) {
		t.Errorf("the README has\n%v\nand the program\n%v", listed, apple.Families())
	}
}

// lives is what the table says of a family's lifetimes.
func lives(f apple.Family) string {
	l := f.Limits(false)
	switch {
	case f.Shared():
		return "to the next half hour"
	case l.Life == apple.Unending:
		return "no end"
	case f == apple.FamilyPromotionalOfferSignature:
		return "24h"
	case l.Life != 0:
		return "no `exp`"
	}
	text := apple.TTLText(l.Default) + "; " + apple.TTLText(l.Max)
	if long := f.Limits(true); long.Max != 0 {
		text += ", `long_lived` " + apple.TTLText(long.Max)
	}
	return text
}
