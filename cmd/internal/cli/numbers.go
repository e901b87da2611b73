package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// numbers makes numbers of the 64-bit integers in what protojson wrote of a message. protojson writes them as strings, for readers
// that take every number for a float; ours stay far below where that loses anything, and beside them stand numbers of other
// commands. The blanks that protojson puts in at random go, too: it does not want its bytes compared, but here somebody may.
func numbers(data []byte, md protoreflect.MessageDescriptor) ([]byte, error) {
	n := numberer{in: json.NewDecoder(bytes.NewReader(data))}
	n.in.UseNumber()
	if err := n.value(shape{message: md}); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	return n.out.Bytes(), nil
}

// shape is what the descriptor says of a JSON value or, of a list, its elements. The zero shape says nothing: it is copied as it is.
type shape struct {
	message protoreflect.MessageDescriptor
	entries protoreflect.FieldDescriptor // of a map: its values
	wide    bool                         // a 64-bit integer
}

func shapeOf(fd protoreflect.FieldDescriptor) shape {
	switch {
	case fd == nil:
		return shape{}
	case fd.IsMap():
		return shape{entries: fd.MapValue()}
	}
	switch fd.Kind() {
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return shape{wide: true}
	default:
		return shape{message: fd.Message()} // nil when it is none
	}
}

// field is the shape of what stands under a name.
func (s shape) field(name string) shape {
	switch {
	case s.entries != nil:
		return shapeOf(s.entries)
	case s.message != nil:
		return shapeOf(s.message.Fields().ByJSONName(name))
	}
	return shape{}
}

// numberer copies JSON from in to out, token by token, so that fields stay in their order.
type numberer struct {
	in  *json.Decoder
	out bytes.Buffer
}

func (n *numberer) value(s shape) error {
	t, err := n.in.Token()
	if err != nil {
		return err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		if text, ok := t.(string); ok && s.wide {
			t = json.Number(text)
		}
		return n.write(t)
	}
	n.out.WriteByte(byte(delim))
	for first := true; n.in.More(); first = false {
		if !first {
			n.out.WriteByte(',')
		}
		element := s
		if delim == '{' {
			name, err := n.in.Token()
			if err != nil {
				return err
			}
			if err := n.write(name); err != nil {
				return err
			}
			n.out.WriteByte(':')
			element = s.field(fmt.Sprint(name))
		}
		if err := n.value(element); err != nil {
			return err
		}
	}
	if _, err := n.in.Token(); err != nil {
		return err
	}
	n.out.WriteByte(byte(delim) + 2) // in ASCII, } and ] stand two after { and [
	return nil
}

func (n *numberer) write(t json.Token) error {
	text, err := marshal(t)
	n.out.Write(text)
	return err
}
