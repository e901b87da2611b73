package server_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
)

// raw sends bytes as they are, and looks at no answer.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	data, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("not bytes: %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(data)}, nil
}

func (raw) Unmarshal(mem.BufferSlice, any) error { return nil }

// attacked is a server that is sent whatever there is.
type attacked struct {
	*servertest.Server
	log     *log
	conns   []*grpc.ClientConn
	methods []protoreflect.MethodDescriptor
}

func newAttacked(t testing.TB) *attacked {
	a := &attacked{log: &log{}, methods: ours()}
	a.Server, _ = minting(t, servertest.Options{Configure: func(c *server.Config) {
		c.Logger = slog.New(slog.NewTextHandler(a.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}})
	a.conns = []*grpc.ClientConn{a.Operator(), a.Conn(ci), a.Conn(stranger)}
	return a
}

// send sends a request on the wire and looks at what it makes of the server.
func (a *attacked) send(t *testing.T, m protoreflect.MethodDescriptor, who int, wire []byte) {
	t.Helper()
	var nothing []byte
	send := func(conn *grpc.ClientConn) error {
		if m.IsStreamingServer() {
			return first(t.Context(), conn, m, wire, &nothing, grpc.ForceCodecV2(raw{}))
		}
		return conn.Invoke(t.Context(), path(m), wire, &nothing, grpc.ForceCodecV2(raw{}))
	}
	err := send(a.conns[who%len(a.conns)])
	code := status.Code(err)
	if slices.Contains([]codes.Code{codes.Internal, codes.Unknown, codes.Unimplemented, codes.DataLoss}, code) {
		t.Errorf("%s answered %v to %x", m.FullName(), err, wire)
	}
	if err != nil && reason(err) == "" && code != codes.ResourceExhausted {
		t.Errorf("%s answered %v, without a reason, to %x", m.FullName(), err, wire)
	}
	if bytes.Contains(a.log.Bytes(), []byte("panicked")) {
		t.Fatalf("%s panicked on %x:\n%s", m.FullName(), wire, a.log.Bytes())
	}
}

// texts are worth trying where text is expected.
var texts = []string{
	"", "a", "asc", "release", "read", "*", "..", "a/b", "a//b", "A", "\x00", "\xff\xfe", "é", "\u202e", "1", "-1", "2", "99999999999999999999",
	"GET /v1/apps/1", "GET /v1/apps/1?limit=1&limit=2", "GET /v1/%2e%2e", "spiffe://signet.test/ci/1", "spiffe://signet.test/operator", "spiffe://",
	"app-store-connect", "enterprise", servertest.IssuerID, "token.mint", "denied", "version: 1\n", "version: 1\nprofiles: &a {x: *a}\n",
	strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("[", 5000), "-----BEGIN PRIVATE KEY-----",
}

// message is a request of its type, more or less: fields that it has with values that they could have, and some that
// it has not, and some of other types.
func message(r *rand.Rand, d protoreflect.MessageDescriptor, depth int) []byte {
	var wire []byte
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		for range []int{0, 1, 1, 1, 1, 2}[r.IntN(6)] {
			wire = field(r, wire, f, depth)
		}
	}
	switch r.IntN(12) {
	case 0:
		wire = protowire.AppendVarint(protowire.AppendTag(wire, protowire.Number(1+r.IntN(1000)), protowire.VarintType), r.Uint64())
	case 1:
		wire = append(wire, byte(r.Uint32()), byte(r.Uint32()))
	case 2:
		wire = wire[:r.IntN(len(wire)+1)]
	}
	return wire
}

func field(r *rand.Rand, wire []byte, f protoreflect.FieldDescriptor, depth int) []byte {
	kind := f.Kind()
	if r.IntN(40) == 0 {
		kind = []protoreflect.Kind{protoreflect.StringKind, protoreflect.Int64Kind, protoreflect.Fixed32Kind}[r.IntN(3)]
	}
	switch kind {
	case protoreflect.StringKind, protoreflect.BytesKind:
		text := []byte(texts[r.IntN(len(texts))])
		if r.IntN(4) == 0 {
			text = make([]byte, []int{1, 31, 32, 33, 300, 5000}[r.IntN(6)])
			for i := range text {
				text[i] = byte(r.Uint32())
			}
		}
		return protowire.AppendBytes(protowire.AppendTag(wire, f.Number(), protowire.BytesType), text)
	case protoreflect.MessageKind:
		if depth > 4 || f.Kind() != protoreflect.MessageKind {
			return wire
		}
		return protowire.AppendBytes(protowire.AppendTag(wire, f.Number(), protowire.BytesType), message(r, f.Message(), depth+1))
	case protoreflect.Fixed32Kind:
		return protowire.AppendFixed32(protowire.AppendTag(wire, f.Number(), protowire.Fixed32Type), r.Uint32())
	default:
		numbers := []uint64{0, 1, 2, 60, 300, 1000, 5000, 1 << 31, 1 << 32, math.MaxInt64, math.MaxUint64, r.Uint64()}
		return protowire.AppendVarint(protowire.AppendTag(wire, f.Number(), protowire.VarintType), numbers[r.IntN(len(numbers))])
	}
}

// TestRandomRequests sends messages made from the descriptors to every method.
func TestRandomRequests(t *testing.T) {
	a := newAttacked(t)
	r := rand.New(rand.NewPCG(1, 2)) // the same ones every time
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	for range rounds {
		for _, m := range a.methods {
			a.send(t, m, r.IntN(len(a.conns)), message(r, m.Input(), 0))
		}
	}
	if err := a.Ready(); err != nil {
		t.Errorf("not ready after it: %v", err)
	}
}

// FuzzRequest takes the input as a request, and as the seed of one.
func FuzzRequest(f *testing.F) {
	a := newAttacked(f)
	for i := range a.methods {
		f.Add(uint8(i), uint8(i), []byte{})
		f.Add(uint8(i), uint8(i+1), []byte("\x0a\x07release"))
	}
	f.Fuzz(func(t *testing.T, method, who uint8, data []byte) {
		m := a.methods[int(method)%len(a.methods)]
		a.send(t, m, int(who), data)
		a.send(t, m, int(who), message(rand.New(rand.NewChaCha8(sha256.Sum256(data))), m.Input(), 0))
	})
}
