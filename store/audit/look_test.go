package audit_test

import (
	"errors"
	"os"
	"testing"

	"github.com/p8signet/signet/store/audit"
)

// Whoever looks keeps writers off, and is kept off by them; nothing is written for it.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	none, err := audit.Look(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := none.Close(); err != nil {
		t.Error(err)
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("looking has left %v, %v", list, err)
	}
	writer, err := audit.DirFS(dir).Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.Look(dir); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("Look beside a writer = %v, want ErrLocked", err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	one, err := audit.Look(dir)
	if err != nil {
		t.Fatal(err)
	}
	two, err := audit.Look(dir)
	if err != nil {
		t.Fatalf("Look beside another = %v", err)
	}
	if _, err := audit.DirFS(dir).Lock(); !errors.Is(err, audit.ErrLocked) {
		t.Errorf("Lock beside who looks = %v, want ErrLocked", err)
	}
	if err := errors.Join(one.Close(), two.Close()); err != nil {
		t.Error(err)
	}
	if writer, err = audit.DirFS(dir).Lock(); err != nil {
		t.Fatalf("Lock after that = %v", err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
}
