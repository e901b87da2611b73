package store_test

import (
	"go/parser"
	"go/token"
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

// TestWhereSecretsAreOpened keeps the lists of files that seal and open: another
// one is another place to review.
func TestWhereSecretsAreOpened(t *testing.T) {
	got := map[string][]string{}
	root := os.DirFS("..")
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != ".") {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range file.Imports {
			switch p := strings.Trim(imp.Path.Value, `"`); p {
			case "crypto/cipher", "crypto/aes", "crypto/hpke":
				got[p] = append(got[p], filepath.ToSlash(path))
			}
		}
		for name, call := range map[string]string{
			"envelope.Open": ".keys[id]", "reader.open": "}.open(ctx, ", "Store.lend": "s.lend(ctx, ", "sealed.Open": "sealed.Open(",
		} {
			if strings.Contains(string(src), call) {
				got[name] = append(got[name], filepath.ToSlash(path))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		// The only AEAD code.
		"crypto/aes":    {"store/envelope/envelope.go"},
		"crypto/cipher": {"store/envelope/envelope.go"},
		// The only HPKE code.
		"crypto/hpke": {"proto/sealed/recipient.go", "proto/sealed/sealed.go"},
		// The only place where records are opened, and who asks for it.
		"envelope.Open": {"store/load.go"},
		"reader.open":   {"store/store.go"},
		"Store.lend":    {"store/signer.go", "store/system.go"},
	}
	delete(got, "sealed.Open") // the core's; its own test counts it
	for _, files := range got {
		slices.Sort(files)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
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
