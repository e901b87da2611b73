package auditlog

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash of the log's tree. It is base64 in text and JSON.
type Hash = tlog.Hash

// LeafHash is the RFC 6962 leaf hash of an entry: of its line without the newline.
func LeafHash(line []byte) Hash { return tlog.RecordHash(line) }

// Origin names a log: the vault, the node that writes it, and the log's id, which changes after a gap.
type Origin struct {
	Vault, Node, Log string
}

// MaxNameLen bounds each part of an [Origin], in bytes.
const MaxNameLen = 64

// ParseOrigin parses "<vault id>/<node>/<log id>".
func ParseOrigin(s string) (Origin, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Origin{}, errors.New("an origin is <vault id>/<node>/<log id>")
	}
	o := Origin{Vault: parts[0], Node: parts[1], Log: parts[2]}
	return o, o.Validate()
}

// Validate reports why o cannot name a log. Each part is 1 to 64 of the letters A-Z a-z 0-9 . _ - and begins with
// a letter or a digit, so that it may also name a directory and stand in a note's key name.
func (o Origin) Validate() error {
	for _, p := range []struct{ what, s string }{{"vault id", o.Vault}, {"node", o.Node}, {"log id", o.Log}} {
		if !validName(p.s) {
			return fmt.Errorf("origin: the %s must be 1 to %d of A-Z a-z 0-9 . _ - and begin with a letter or digit", p.what, MaxNameLen)
		}
	}
	return nil
}

// String is "<vault id>/<node>/<log id>", the first line of the log's checkpoints.
func (o Origin) String() string { return o.Vault + "/" + o.Node + "/" + o.Log }

// KeyName is "<vault id>/<node>", the name of the note key that signs the log's checkpoints.
func (o Origin) KeyName() string { return o.Vault + "/" + o.Node }

func validName(s string) bool {
	if s == "" || len(s) > MaxNameLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alnum && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return true
}
