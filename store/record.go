package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/p8signet/signet/proto/sealed"
)

// recordKind is what a record holds; with '/' it begins the record's name.
type recordKind string

const (
	recordKey       recordKind = "key"       // key/<name>: a Key, as JSON
	recordSecret    recordKind = "secret"    // secret/<name>/<n>: PKCS#8 of a version
	recordPolicy    recordKind = "policy"    // policy/<n>: a PolicyRevision, as JSON
	recordSystem    recordKind = "system"    // system/<name>: PKCS#8 of the vault's own
	recordRecipient recordKind = "recipient" // recipient/<id>: an import recipient with its private half
	recordDocument  recordKind = "document"  // document/<name>: bytes of the vault's own
)

// record is a record's name, taken apart.
type record struct {
	kind   recordKind
	name   string // of the key, secret, recipient, document; "" for a policy
	number int    // version or policy revision, 0 for others
}

func (r record) String() string {
	switch r.kind {
	case recordSecret:
		return fmt.Sprintf("%s/%s/%d", r.kind, r.name, r.number)
	case recordPolicy:
		return fmt.Sprintf("%s/%d", r.kind, r.number)
	case recordKey, recordSystem, recordRecipient, recordDocument:
	}
	return string(r.kind) + "/" + r.name
}

// subject is what records are spread over shards by: a key and its secrets have
// one subject.
func (r record) subject() string {
	if r.kind == recordSecret {
		return string(recordKey) + "/" + r.name
	}
	return r.String()
}

func parseRecord(s string) (record, bool) {
	kind, name, _ := strings.Cut(s, "/")
	r := record{kind: recordKind(kind), name: name}
	switch r.kind {
	case recordKey, recordSystem, recordRecipient, recordDocument:
		return r, validName(name)
	case recordSecret:
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return record{}, false
		}
		r.name = name[:i]
		var ok bool
		r.number, ok = parseNumber(name[i+1:])
		return r, ok && validName(r.name)
	case recordPolicy:
		var ok bool
		r.name = ""
		r.number, ok = parseNumber(name)
		return r, ok
	}
	return record{}, false
}

func parseNumber(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n > 0 && strconv.Itoa(n) == s
}

// recordShard says in which shard the record of that name lies.
func recordShard(name string) int {
	r, _ := parseRecord(name)
	return shardOf(r.subject())
}

// unmarshalKey reads the metadata of the key of that name.
func unmarshalKey(name string, plain []byte) (*Key, error) {
	k := new(Key)
	if err := strictJSON(plain, k); err != nil {
		return nil, err
	}
	if k.Name != name {
		return nil, errors.New("it is the metadata of another key")
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	// What very many keys have in common is kept once, and what encoding/json makes too large is cut to size.
	k.Name, k.Kind = name, unique.Make(k.Kind).Value()
	k.Versions = slices.Clone(k.Versions)
	for i := range k.Versions {
		k.Versions[i].State = unique.Make(k.Versions[i].State).Value()
	}
	return k, nil
}

func unmarshalPolicy(n int, plain []byte) (*PolicyRevision, error) {
	p := new(PolicyRevision)
	if err := strictJSON(plain, p); err != nil {
		return nil, err
	}
	if p.Number != n {
		return nil, errors.New("it is another revision of the policy")
	}
	return p, nil
}

// strictJSON reads one value and nothing else. Only what we sealed gets here.
func strictJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("reading its JSON: %w", err)
	}
	if d.InputOffset() != int64(len(data)) {
		return errors.New("something follows its JSON")
	}
	return nil
}

// recipientFacts is the public part of a recipient's record.
type recipientFacts struct {
	Vault   string    `json:"vault"`
	ID      string    `json:"id"`
	Expires time.Time `json:"expires"`
	Public  []byte    `json:"public"`
}

// marshalRecipient writes the length of the public part, that part as JSON, and
// the private key: so that it is never in a string. The caller wipes it.
func marshalRecipient(p *sealed.Private) ([]byte, error) {
	r := p.Recipient()
	facts, err := json.Marshal(recipientFacts{r.Vault, r.ID, r.Expires, r.Public})
	if err != nil {
		return nil, fmt.Errorf("encoding recipient %s: %w", r.ID, err)
	}
	key, err := p.Bytes()
	defer clear(key)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, 4+len(facts)+len(key))
	b = binary.BigEndian.AppendUint32(b, uint32(len(facts))) //nolint:gosec // about 2 KiB
	b = append(b, facts...)
	return append(b, key...), nil
}

// unmarshalRecipient returns the public part, and the private key as a part of
// plain.
func unmarshalRecipient(id string, plain []byte) (sealed.Recipient, []byte, error) {
	if len(plain) < 4 {
		return sealed.Recipient{}, nil, errors.New("it is too short")
	}
	n := binary.BigEndian.Uint32(plain)
	if uint64(len(plain)) < 4+uint64(n) {
		return sealed.Recipient{}, nil, errors.New("it is too short")
	}
	var f recipientFacts
	if err := strictJSON(plain[4:4+n], &f); err != nil {
		return sealed.Recipient{}, nil, err
	}
	if f.ID != id {
		return sealed.Recipient{}, nil, errors.New("it is another recipient")
	}
	return sealed.Recipient{Vault: f.Vault, ID: f.ID, Expires: f.Expires, Public: f.Public}, plain[4+n:], nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
