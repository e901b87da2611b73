package cli

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

func TestNumbers(t *testing.T) {
	tests := []struct {
		name string
		msg  proto.Message
		want string
	}{
		{"64 bits in a list, and what only looks like it", &signetv1.Exposure{RemainingStep: "7", Logs: []*signetv1.LogExposure{
			{Origin: "1", Tokens: math.MaxInt64, Holders: []*signetv1.Holder{{Id: "<2>", Tokens: -3}}},
		}}, `{
  "logs": [
    {
      "origin": "1",
      "unreachable": "",
      "tokens": 9223372036854775807,
      "holders": [
        {
          "kind": "",
          "id": "<2>",
          "tokens": -3
        }
      ]
    }
  ],
  "remainingStep": "7",
  "unending": false
}
`},
		{"without a sign", &descriptorpb.UninterpretedOption{PositiveIntValue: proto.Uint64(math.MaxUint64), IdentifierValue: proto.String("5")},
			"{\n  \"name\": [],\n  \"identifierValue\": \"5\",\n  \"positiveIntValue\": 18446744073709551615\n}\n"},
		{"no object", durationpb.New(1e9), "\"1s\"\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := JSON(&b, tt.msg); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Every message of the API: each field of 64 bits is a number wherever it stands.
func TestEveryMessageHasNumbers(t *testing.T) {
	n := 0
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() != "signet.v1" || mt.Descriptor().IsMapEntry() {
			return true
		}
		m := mt.New()
		var want []string
		for i := range mt.Descriptor().Fields().Len() {
			fd := mt.Descriptor().Fields().Get(i)
			if fd.Kind() == protoreflect.Int64Kind && !fd.IsList() && !fd.IsMap() {
				m.Set(fd, protoreflect.ValueOfInt64(1<<53))
				want = append(want, `"`+fd.JSONName()+`": 9007199254740992`)
			}
		}
		n += len(want)
		var b bytes.Buffer
		if err := JSON(&b, m.Interface()); err != nil {
			t.Errorf("%s: %v", mt.Descriptor().FullName(), err)
		}
		for _, w := range want {
			if !bytes.Contains(b.Bytes(), []byte(w)) {
				t.Errorf("%s: no %s in %s", mt.Descriptor().FullName(), w, &b)
			}
		}
		return true
	})
	if n < 10 {
		t.Errorf("only %d fields of 64 bits were seen", n)
	}
}
