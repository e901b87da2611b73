package vaultstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/p8signet/signet/store/envelope"
	"github.com/p8signet/signet/store/storetest"
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
