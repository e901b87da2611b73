package client

import (
	"context"
	"errors"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/p8signet/signet/proto/auditlog"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// canned answers every call with the same messages, by type.
type canned []proto.Message

func (c canned) Invoke(_ context.Context, _ string, _, reply any, _ ...grpc.CallOption) error {
	for _, m := range c {
		if r, ok := reply.(proto.Message); ok && r.ProtoReflect().Descriptor() == m.ProtoReflect().Descriptor() {
			proto.Merge(r, m)
		}
	}
	return nil
}

func (canned) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.ErrUnsupported
}

// A node signs all its logs with one key, so the signature alone does not say which log a checkpoint is of.
func TestCheckpointOfAnotherLogOfTheNode(t *testing.T) {
	skey, vkey, err := auditlog.GenerateKey("vault/node-1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	var tr tree
	tr.add(auditlog.LeafHash([]byte("the only entry")))
	sign := func(log string) []byte {
		cp := auditlog.Checkpoint{Origin: auditlog.Origin{Vault: "vault", Node: "node-1", Log: log}, Size: 1, Hash: tr.hash()}
		msg, err := auditlog.SignCheckpoint(cp, signer)
		if err != nil {
			t.Fatal(err)
		}
		return msg
	}
	c, err := New(canned{
		&signetv1.Checkpoint{Note: sign("b")},
		&signetv1.ProveConsistencyResponse{Checkpoint: sign("b")}, // of the same size and hash, so that the proof is the empty one
	}, LogKey{Origin: "vault/node-1/a", Key: vkey})
	if err != nil {
		t.Fatal(err)
	}

	for _, log := range []string{"", "b", "vault/node-1/b"} {
		if _, err := c.Checkpoint(t.Context(), log); err != nil {
			t.Errorf("the checkpoint of %q: %v", log, err)
		}
	}
	for _, log := range []string{"a", "vault/node-1/a", "vault/node-2/b"} {
		if _, err := c.Checkpoint(t.Context(), log); !errors.Is(err, ErrUnverified) {
			t.Errorf("another log's checkpoint for %q: %v", log, err)
		}
	}

	a, err := c.OpenCheckpoint(sign("a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Since(t.Context(), a); !errors.Is(err, ErrUnverified) {
		t.Errorf("another log's growth: %v", err)
	}
	b, err := c.OpenCheckpoint(sign("b"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Since(t.Context(), b); err != nil {
		t.Errorf("its own growth: %v", err)
	}
}
