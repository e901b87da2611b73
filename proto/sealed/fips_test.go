package sealed_test

import (
	"crypto/fips140"
	"strings"
	"testing"

	"github.com/p8signet/signet/proto/sealed"
)

// TestUsable: sealing works in every mode but one, and there it is said. make test-flavours has them all.
func TestUsable(t *testing.T) {
	err := sealed.Usable()
	if fips140.Enforced() && strings.HasPrefix(fips140.Version(), "v1.0.0") {
		if err == nil {
			t.Error("the module v1.0.0 has come to allow it: let the server's check go")
		}
		return
	}
	if err != nil {
		t.Errorf("FIPS 140 %v, enforced %v, module %s: %v", fips140.Enabled(), fips140.Enforced(), fips140.Version(), err)
	}
}
