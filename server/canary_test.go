package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// canary is a private key in every form in which it could get out.
type canary struct{ forms map[string][]byte }

func newCanary(t *testing.T, key *servertest.Key) *canary {
	t.Helper()
	scalar, err := key.Private.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	c := &canary{forms: map[string][]byte{
		"number":          scalar,
		"number, decimal": []byte(new(big.Int).SetBytes(scalar).String()),
		"DER":             key.PKCS8,
	}}
	for name, secret := range map[string][]byte{"number": scalar, "DER": key.PKCS8} {
		c.forms[name+", hex"] = []byte(hex.EncodeToString(secret))
		c.forms[name+", HEX"] = bytes.ToUpper(c.forms[name+", hex"])
		c.forms[name+", as Go prints bytes"] = bytes.Trim(fmt.Append(nil, secret), "[]")
		for shift := range 3 {
			// Where the secret begins in a stream decides its base64; only whole digits of its own count.
			padded := append(make([]byte, shift), secret...)
			skip := (shift*8 + 5) / 6
			for alphabet, encoding := range map[string]*base64.Encoding{"std": base64.RawStdEncoding, "url": base64.RawURLEncoding} {
				text := encoding.EncodeToString(padded)
				c.forms[fmt.Sprintf("%s, base64 %s shifted by %d", name, alphabet, shift)] = []byte(text[skip : len(text)-1])
			}
		}
	}
	for i, line := range bytes.Split(bytes.TrimSpace(key.P8), []byte("\n")) {
		if !bytes.HasPrefix(line, []byte("--")) {
			c.forms[fmt.Sprintf("line %d of the file", i)] = line
		}
	}
	return c
}

// in names the forms that are in data.
func (c *canary) in(data []byte) []string {
	var found []string
	for name, form := range c.forms {
		if bytes.Contains(data, form) {
			found = append(found, name)
		}
	}
	return found
}

// log is a slog output that a test may read while the server writes.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) Bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}

// goodRequests is one request of every method that succeeds for somebody, in an order in which they can.
func goodRequests(t *testing.T, s *servertest.Server, sealed []byte) []proto.Message {
	t.Helper()
	checkpoint, err := signetv1.NewAuditServiceClient(s.Operator()).GetCheckpoint(t.Context(), &signetv1.GetCheckpointRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first := int64(0)
	page, err := signetv1.NewAuditServiceClient(s.Operator()).ListEntries(t.Context(), &signetv1.ListEntriesRequest{Filter: &signetv1.EntryFilter{Index: &first}})
	if err != nil {
		t.Fatal(err)
	}
	leaf := auditlog.LeafHash(page.GetEntries()[0].GetLine())
	return []proto.Message{
		&signetv1.GetRecipientRequest{},
		&signetv1.ImportKeyRequest{Name: "second", Sealed: sealed, Facts: &signetv1.KeyFacts{Kind: "enterprise", KeyId: "", IssuerId: servertest.IssuerID}},
		&signetv1.ListKeysRequest{PageSize: 1, PageToken: base64.RawURLEncoding.EncodeToString([]byte("a"))},
		&signetv1.GetKeyRequest{Name: "second"},
		&signetv1.ActivateVersionRequest{Name: "second", Version: 1},
		&signetv1.UpdateKeyRequest{Name: "second", Facts: &signetv1.KeyFacts{Roles: []string{"ADMIN"}}, Reason: "because",
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"roles"}}},
		&signetv1.GenerateKeyRequest{Name: "made", Facts: &signetv1.KeyFacts{Kind: "apple-ads", TeamId: servertest.AdsID}},
		&signetv1.GetPublicKeyRequest{Name: "made", Version: 1},
		&signetv1.ApplyPolicyRequest{Document: []byte(policyDoc), DryRun: true},
		&signetv1.GetPolicyRequest{Revision: 1},
		&signetv1.ListRevisionsRequest{PageSize: 1, PageToken: "2"},
		&signetv1.MintTokenRequest{Profile: "read", Ttl: durationpb.New(300e9), Receipt: true, Parameters: &signetv1.MintTokenRequest_Scope{
			Scope: &signetv1.ScopeParameters{Entries: []string{"GET /v1/apps/1"}}}},
		&signetv1.ListProfilesRequest{PageSize: 1, PageToken: base64.RawURLEncoding.EncodeToString([]byte("a"))},
		&signetv1.DisableKeyRequest{Name: "second", Reason: "because"},
		&signetv1.EnableKeyRequest{Name: "second", Reason: "because"},
		&signetv1.RevokeKeyRequest{Name: "second", Reason: "because"},
		&signetv1.ListEntriesRequest{PageSize: 5000, Filter: &signetv1.EntryFilter{Since: timestamppb.New(s.Clock.Now().AddDate(0, 0, -1))}},
		&signetv1.WatchEntriesRequest{Filter: &signetv1.EntryFilter{Action: "token.mint"}, From: &signetv1.EntryPlace{Log: s.LogOrigin()}},
		&signetv1.TraceTokenRequest{Sha256: leaf[:]},
		&signetv1.GetUsageRequest{Since: timestamppb.New(s.Clock.Now().AddDate(0, 0, -1)), UnusedFor: durationpb.New(3600e9)},
		&signetv1.GetCheckpointRequest{Log: s.LogOrigin()},
		&signetv1.ProveInclusionRequest{Log: s.LogOrigin(), Index: first, LeafHash: leaf[:]},
		&signetv1.ProveConsistencyRequest{Checkpoint: checkpoint.GetNote()},
		&signetv1.GetStatusRequest{},
		&signetv1.IssueCertificateRequest{Csr: request(t), Uri: ci, Ttl: durationpb.New(3600e9)},
		&signetv1.AcknowledgeRequest{Id: "nothing", Reason: "because"},
		&signetv1.ListMembersRequest{},
		&signetv1.ForgetMemberRequest{Node: "nothing", Reason: "because"},
		&signetv1.RewrapRequest{},
	}
}

// withText are copies of a request, in each of which one text or bytes field holds what is given instead.
func withText(m proto.Message, text []byte) []proto.Message {
	var all []proto.Message
	var walk func(at func(protoreflect.Message) protoreflect.Message, d protoreflect.MessageDescriptor)
	walk = func(at func(protoreflect.Message) protoreflect.Message, d protoreflect.MessageDescriptor) {
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			var value protoreflect.Value
			switch f.Kind() {
			case protoreflect.StringKind:
				value = protoreflect.ValueOfString(strings.ToValidUTF8(string(text), "?"))
			case protoreflect.BytesKind:
				value = protoreflect.ValueOfBytes(text)
			case protoreflect.MessageKind:
				if f.Message().ParentFile().Package() == "signet.v1" || f.Message().FullName() == "google.protobuf.FieldMask" {
					walk(func(m protoreflect.Message) protoreflect.Message { return at(m).Mutable(f).Message() }, f.Message())
				}
				continue
			default:
				continue
			}
			changed := proto.Clone(m)
			holder := at(changed.ProtoReflect())
			if f.IsList() {
				holder.Mutable(f).List().Append(value)
			} else {
				holder.Set(f, value)
			}
			all = append(all, changed)
		}
	}
	walk(func(m protoreflect.Message) protoreflect.Message { return m }, m.ProtoReflect().Descriptor())
	return all
}

// TestCanary is law 1: a key that was imported is in nothing that comes out, and one that is pasted anywhere is
// refused and in nothing either.
func TestCanary(t *testing.T) {
	logged := &log{}
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(was) })
	dir := t.TempDir()
	backend := openBolt(t, filepath.Join(dir, "store.db"), true)
	s, key := minting(t, servertest.Options{Backend: backend, Configure: func(c *server.Config) { c.Logger = slog.Default() }})
	bird := newCanary(t, key)
	if n := len(bird.in(append(slices.Concat(key.P8, key.PKCS8), bird.forms["number, decimal"]...))); n < 5 {
		t.Fatalf("the canary is found in only %d forms where it is", n)
	}

	conns := map[string]*grpc.ClientConn{"operator": s.Operator(), "caller": s.Conn(ci), "stranger": s.Conn(stranger), "nobody": s.Dial(nil)}
	byInput := map[protoreflect.FullName]protoreflect.MethodDescriptor{}
	for _, m := range ours() {
		byInput[m.Input().FullName()] = m
	}
	try := func(who, what string, in proto.Message) error {
		var header, trailer metadata.MD
		m := byInput[in.ProtoReflect().Descriptor().FullName()]
		out, err := call(t.Context(), conns[who], m, in, grpc.Header(&header), grpc.Trailer(&trailer))
		wire, marshalErr := proto.Marshal(out)
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		st, marshalErr := proto.Marshal(status.Convert(err).Proto())
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		for where, data := range map[string][]byte{"answer": wire, "status": st, "metadata": fmt.Append(nil, header, trailer)} {
			if found := bird.in(data); found != nil {
				t.Errorf("%s %s as %s: the %s has the key: %q", m.FullName(), what, who, where, found)
			}
		}
		return err
	}

	second := s.NewKey("enterprise")
	good := goodRequests(t, s, s.Seal(second))
	if len(good) != len(byInput) {
		t.Fatalf("%d good requests for %d methods", len(good), len(byInput))
	}
	for _, in := range good {
		succeeded := false
		for _, who := range []string{"nobody", "stranger", "caller", "operator"} {
			succeeded = try(who, "with good input", in) == nil || succeeded
		}
		_, none := in.(*signetv1.AcknowledgeRequest)
		if _, nobody := in.(*signetv1.ForgetMemberRequest); !succeeded && !none && !nobody {
			t.Errorf("%T succeeded for nobody", in)
		}
	}

	block, _ := pem.Decode(key.P8)
	body := base64.StdEncoding.EncodeToString(block.Bytes)
	pasted := map[string][]byte{
		"the file":             key.P8,
		"the file in one line": bytes.ReplaceAll(key.P8, []byte("\n"), []byte(`\n`)),
		"the DER":              key.PKCS8,
		"the base64":           []byte(body),
		"the base64, url":      []byte(base64.RawURLEncoding.EncodeToString(block.Bytes)),
		"the hex":              []byte(hex.EncodeToString(block.Bytes)),
		"the base64 in text":   []byte("as asked for: " + body + " regards"),
	}
	for _, in := range good {
		for what, text := range pasted {
			for _, changed := range withText(in, text) {
				for _, who := range []string{"nobody", "stranger", "caller", "operator"} {
					err := try(who, "with "+what, changed)
					want := codes.InvalidArgument
					if who == "nobody" {
						want = codes.Unauthenticated
					}
					if what == "the DER" && !bytes.Contains(marshal(t, changed), key.PKCS8) {
						continue // a text field cannot hold it
					}
					if status.Code(err) != want {
						t.Errorf("%T with %s as %s answered %v, want %v", changed, what, who, err, want)
					}
				}
			}
		}
	}

	s.Stop()
	if err := backend.Close(); err != nil {
		t.Fatal(err)
	}
	if found := bird.in(logged.Bytes()); found != nil {
		t.Errorf("the log of the program has the key: %q", found)
	}
	if len(logged.Bytes()) == 0 {
		t.Error("nothing was logged, so nothing was looked at")
	}
	files := 0
	for _, root := range []string{dir, s.LogDir(), filepath.Dir(s.Config().TLS.CertFile)} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			if found := bird.in(data); found != nil {
				t.Errorf("%s has the key: %q", path, found)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Errorf("only %d files were looked at", files)
	}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
