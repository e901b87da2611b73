package server

import (
	"bytes"
	"errors"
	"fmt"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	protobuf "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/p8signet/signet/proto/auditlog"
)

// undecodable is what a request is turned into that is not of its type on the wire: an unknown field, of the highest
// number there is, which is refused like every other. gRPC would answer such a request by itself, with Internal.
var undecodable = protoreflect.RawFields("\xf8\xff\xff\xff\x0f\x00")

// codec is gRPC's for protobuf, but leaves it to checkRequest to refuse what does not decode.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(proto.Name)} }

// Unmarshal never fails on a protobuf message.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	err := c.CodecV2.Unmarshal(data, v)
	if err == nil {
		return nil
	}
	m, ok := v.(protobuf.Message)
	if !ok {
		return err
	}
	protobuf.Reset(m)
	m.ProtoReflect().SetUnknown(undecodable)
	return nil
}

// newValidator compiles the rules of every request that the services take, so that no call pays for it.
func newValidator(services map[string]grpc.ServiceInfo) (protovalidate.Validator, error) {
	var requests []protoreflect.MessageDescriptor
	for name := range services {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			return nil, fmt.Errorf("finding the service %s: %w", name, err)
		}
		service, ok := d.(protoreflect.ServiceDescriptor)
		if !ok {
			return nil, fmt.Errorf("%s is not a service", name)
		}
		for i := range service.Methods().Len() {
			requests = append(requests, service.Methods().Get(i).Input())
		}
	}
	v, err := protovalidate.New(protovalidate.WithMessageDescriptors(requests...), protovalidate.WithDisableLazy(),
		// One violation is enough: a request may have a million.
		protovalidate.WithFailFast())
	if err != nil {
		return nil, fmt.Errorf("compiling the rules for requests: %w", err)
	}
	return v, nil
}

// checkRequest refuses a request that is not what the protocol says: the error is a *badRequest.
func (s *Server) checkRequest(request any) error {
	m, ok := request.(protobuf.Message)
	if !ok {
		return fmt.Errorf("request of type %T is not a protobuf message", request)
	}
	r := m.ProtoReflect()
	if bytes.Equal(r.GetUnknown(), undecodable) {
		return malformed("", "the request is not a %s on the wire", r.Descriptor().FullName())
	}
	if err := checkFields(r); err != nil {
		return err
	}
	err := s.validator.Validate(m)
	if err == nil {
		return nil
	}
	var invalid *protovalidate.ValidationError
	if !errors.As(err, &invalid) {
		return fmt.Errorf("validating a %s: %w", r.Descriptor().FullName(), err)
	}
	first := invalid.Violations[0].Proto
	// The message says the rule, never the value.
	return malformed(protovalidate.FieldPathString(first.GetField()), "%s", first.GetMessage())
}

// checkFields refuses unknown fields, which would be asked for and not done, and text that looks like a private key,
// which must not get as far as the log; at any depth.
func checkFields(m protoreflect.Message) error {
	if len(m.GetUnknown()) > 0 {
		return malformed("", "%s has a field that this server does not know; is the client newer than the server?", m.Descriptor().FullName())
	}
	var bad error
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if field.IsList() {
			list := v.List()
			for i := 0; i < list.Len() && bad == nil; i++ {
				bad = checkField(field, list.Get(i))
			}
		} else {
			bad = checkField(field, v)
		}
		return bad == nil
	})
	return bad
}

func checkField(field protoreflect.FieldDescriptor, v protoreflect.Value) error {
	var text string
	switch field.Kind() { //nolint:exhaustive // the other kinds hold no text
	case protoreflect.MessageKind:
		return checkFields(v.Message())
	case protoreflect.StringKind:
		text = v.String()
	case protoreflect.BytesKind:
		text = string(v.Bytes())
	}
	if auditlog.LooksLikeKey(text) {
		return malformed(string(field.Name()), "looks like a private key; keys are imported sealed (signet key import) and go nowhere else")
	}
	return nil
}
