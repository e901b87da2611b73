package server_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/p8signet/signet/proto/sealed"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/store/envelope"
)

// sealElsewhere, in the environment, makes the test program seal a canary instead of running tests.
const sealElsewhere = "SIGNET_TEST_SEAL"

// masked is a key that this process never sees but through the vault, and what to look for in memory: every form XORed with
// a mask, so that the list itself is not found.
type masked struct {
	Sealed []byte
	Mask   []byte
	Forms  map[string][]byte
}

// TestMemoryAfterClose imports a key that another process made and sealed, mints with it, ends the server, and then reads its
// own memory. In a build that erases (GOEXPERIMENT=runtimesecret) no form of the private number is left; in the others it
// says how many are. A copy that is kept on purpose is found in both.
func TestMemoryAfterClose(t *testing.T) {
	if os.Getenv(sealElsewhere) != "" {
		if err := makeCanary(os.Stdin, os.Stdout); err != nil {
			t.Fatal(err)
		}
		os.Exit(0)
	}
	c := mintWithCanary(t)
	for range 10 {
		runtime.GC()
		time.Sleep(20 * time.Millisecond) // what clears caches of weak pointers runs beside
	}
	found := c.scan(t)
	switch {
	case envelope.Erases && len(found) > 0:
		t.Errorf("after the server has ended its memory still has: %s", strings.Join(found, ", "))
	case !envelope.Erases:
		t.Logf("in this build its memory still has %d copies: %s", len(found), strings.Join(found, ", "))
	}

	kept := c.unmask("scalar")
	if found := c.scan(t); len(found) == 0 {
		t.Error("a copy that is there was not found: this test proves nothing")
	}
	clear(kept)
}

// mintWithCanary runs a server for the life of a key.
func mintWithCanary(t *testing.T) masked {
	t.Helper()
	s := servertest.New(t)
	operator := s.Client(servertest.OperatorID)
	_, note, err := operator.Recipient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := sealCanary(t, note)
	if _, err := operator.ImportKey(t.Context(), &signetv1.ImportKeyRequest{Name: "asc", Sealed: c.Sealed}); err != nil {
		t.Fatal(err)
	}
	s.ApplyPolicy(policyDoc)
	s.Restart() // the key is opened once more, as from a disk
	caller := s.Conn(ci)
	for range 200 {
		if _, err := mint(t.Context(), caller, "release"); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.scan(t)) == 0 {
		t.Error("a server that mints has the key in no form that is looked for: this test proves nothing")
	}
	s.Stop()
	return c
}

func sealCanary(t *testing.T, note []byte) (c masked) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryAfterClose$")
	cmd.Env = append(os.Environ(), sealElsewhere+"=1")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(note), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sealing elsewhere: %v", err)
	}
	if err := json.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// makeCanary is the other process.
func makeCanary(in io.Reader, out io.Writer) error {
	note, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	recipient, err := sealed.ParseRecipient(note, nil)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	c := masked{Mask: make([]byte, 128), Forms: forms(key.D, der)} //nolint:staticcheck // the number itself is what is looked for
	rand.Read(c.Mask)
	for _, form := range c.Forms {
		for i := range form {
			form[i] ^= c.Mask[i]
		}
	}
	if c.Sealed, err = sealed.Seal(recipient, der, sealed.Facts{Kind: "app-store-connect", KeyID: "2X9R4HXF34", Issuer: "57246542-96fe-1a63-e053-0824d011072a"}); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(c)
}

// forms are the shapes in which a private number lies in memory: as bytes, as the words of math/big and of P-256's own
// arithmetic (plain, and in Montgomery's form), and as text.
func forms(d *big.Int, der []byte) map[string][]byte {
	scalar := d.FillBytes(make([]byte, 32))
	words := slices.Clone(scalar)
	slices.Reverse(words)
	montgomery := new(big.Int).Lsh(d, 256)
	montgomery.Mod(montgomery, elliptic.P256().Params().N)
	montgomeryWords := montgomery.FillBytes(make([]byte, 32))
	slices.Reverse(montgomeryWords)
	all := map[string][]byte{
		"scalar":           scalar,
		"words":            words,
		"montgomery words": montgomeryWords,
		"hex":              []byte(hex.EncodeToString(scalar)),
	}
	// Base64 of the number wherever it stands among three bytes; the first of them is how it lies in a PEM file.
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString(scalar[shift:])
		all[fmt.Sprintf("base64 at %d", shift)] = []byte(text[:36])
	}
	if body := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}); !bytes.Contains(bytes.ReplaceAll(body, []byte("\n"), nil), all["base64 at 0"]) {
		panic("a PEM file has the number in another way than it is looked for")
	}
	return all
}

// unmask makes a copy of a form that is there to be found.
func (c masked) unmask(form string) []byte {
	plain := slices.Clone(c.Forms[form])
	for i := range plain {
		plain[i] ^= c.Mask[i]
	}
	return plain
}

// scan reads all memory of this process that may be written, and answers the forms that it found, once for every place.
func (c masked) scan(t *testing.T) (found []string) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	const step, overlap = 1 << 20, 128
	buf := make([]byte, step+overlap)
	defer clear(buf)
	total := 0
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		if !strings.Contains(lines.Text(), " rw") {
			continue
		}
		var from, to int64
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		for at := from; at < to; at += step {
			n, err := mem.ReadAt(buf[:min(step+overlap, to-at)], at)
			if n == 0 && err != nil {
				break // a guard page, or one that the kernel keeps
			}
			total += n
			found = c.search(found, buf[:n], min(n, step))
		}
	}
	if total < 4<<20 {
		t.Fatalf("only %d bytes of memory were read", total)
	}
	return found
}

// search looks for every form that begins before end.
func (c masked) search(found []string, data []byte, end int) []string {
	for name, form := range c.Forms {
		first := form[0] ^ c.Mask[0]
		for at := 0; at < end; at++ {
			next := bytes.IndexByte(data[at:end], first)
			if next < 0 {
				break
			}
			if at += next; c.at(data[at:], form) {
				found = append(found, name)
			}
		}
	}
	return found
}

func (c masked) at(data, form []byte) bool {
	if len(data) < len(form) {
		return false
	}
	for i := range form {
		if data[i]^c.Mask[i] != form[i] {
			return false
		}
	}
	return true
}
