package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/envelope"
)

// TestWhereSecretsAreOpened keeps the list of the files that seal and open:
// another one is another place to review.
func TestWhereSecretsAreOpened(t *testing.T) {
	tests := []struct {
		what, text string
		want       []string
	}{
		{"AEAD", `"crypto/cipher"`, []string{"store/envelope/envelope.go"}},
		{"AES", `"crypto/aes"`, []string{"store/envelope/envelope.go"}},
		{"HPKE", `"crypto/hpke"`, []string{"proto/sealed/recipient.go", "proto/sealed/sealed.go"}},
		{"opening a blob", "key.Open(envelope.Place{", []string{"store/load.go"}},
		{"opening a record", "s.lend(ctx, ", []string{"store/signer.go", "store/system.go"}},
		{"opening a sealed file", "sealed.Open(", []string{"server/internal/authority/import.go"}},
	}
	files := productionFiles(t)
	for _, tc := range tests {
		var got []string
		for name, src := range files {
			if strings.Contains(src, tc.text) {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.what, diff)
		}
	}
}

// productionFiles reads all Go files of the module but tests.
func productionFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir(), !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		src, err := fs.ReadFile(root, path)
		files[path] = string(src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestSecretTypesHaveNoText: what holds key bytes does not print itself.
func TestSecretTypesHaveNoText(t *testing.T) {
	for _, v := range []any{&store.Signer{}, &store.Store{}, &store.Tx{}, &envelope.RootKey{}, &sealed.Private{}} {
		typ := reflect.TypeOf(v)
		for _, m := range []string{"String", "GoString", "Format", "MarshalText", "MarshalJSON", "LogValue"} {
			if _, ok := typ.MethodByName(m); ok {
				t.Errorf("%v has the method %s", typ, m)
			}
		}
	}
}

// TestFilesAreShort keeps every file of these rooms within reach of one reading.
func TestFilesAreShort(t *testing.T) {
	for _, pattern := range []string{"*.go", "envelope/*.go", "kek/*.go", "boltstore/*.go", "../proto/sealed/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(src), "\n"); n > 520 {
				t.Errorf("%s has %d lines", name, n)
			}
		}
	}
}
