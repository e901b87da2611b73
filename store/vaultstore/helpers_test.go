package vaultstore_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
	"github.com/p8signet/signet/store/vaultstore"
)

func keks() []envelope.KEK { return []envelope.KEK{storetest.KEK()} }

// file writes a file and returns its name.
func file(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// openTransit returns the KEK that uri names, having looked at it.
func openTransit(ctx context.Context, cfg vaultstore.Config, uri string) (*vaultstore.Transit, error) {
	k, err := vaultstore.NewTransit(cfg, uri)
	if err != nil {
		return nil, err
	}
	return k, k.Look(ctx)
}
