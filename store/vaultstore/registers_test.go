package vaultstore_test

import (
	"testing"

	"github.com/p8signet/signet/store/storetest"
	"github.com/p8signet/signet/store/vaultstore"
)

func TestRegistersConformance(t *testing.T) {
	storetest.RunRegisters(t, func(t *testing.T) storetest.SharedBackend {
		b, err := vaultstore.Open(t.Context(), config(t), fresh())
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
