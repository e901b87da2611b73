package boltstore_test

import (
	"path/filepath"
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/boltstore"
	"github.com/p8signet/signet/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Backend {
		b, err := boltstore.Create(filepath.Join(t.TempDir(), "store.db"), boltstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}
