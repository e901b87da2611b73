package apple

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// environment is the set of variables by which a tool takes a key. The names come after the prefix; one that the tool
// does not have is empty.
type environment struct {
	shape                             Shape
	prefix                            string
	keyID, issuer                     string
	key, base64, path                 string // base64 is a variable with the key's base64
	isBase64, duration, inHouse, json string // json names a JSON file
}

var environments = []environment{
	{shape: ShapeFastlane, prefix: "APP_STORE_CONNECT_API_KEY_", keyID: "KEY_ID", issuer: "ISSUER_ID", key: "KEY", path: "KEY_FILEPATH",
		isBase64: "IS_KEY_CONTENT_BASE64", duration: "DURATION", inHouse: "IN_HOUSE", json: "PATH"},
	{shape: ShapeFastlane, prefix: "SPACESHIP_CONNECT_API_", keyID: "KEY_ID", issuer: "ISSUER_ID", key: "KEY", path: "KEY_FILEPATH",
		duration: "TOKEN_DURATION", inHouse: "IN_HOUSE"},
	{shape: ShapeASC, prefix: "ASC_", keyID: "KEY_ID", issuer: "ISSUER_ID", key: "PRIVATE_KEY", base64: "PRIVATE_KEY_B64", path: "PRIVATE_KEY_PATH"},
}

var errNoEnvironment = errors.New("no variable holds a key: looked for APP_STORE_CONNECT_API_KEY_KEY and _KEY_FILEPATH, " +
	"SPACESHIP_CONNECT_API_KEY and _KEY_FILEPATH, ASC_PRIVATE_KEY, ASC_PRIVATE_KEY_B64 and ASC_PRIVATE_KEY_PATH")

// ParseEnvironment reads the key that the variables of fastlane, of its Spaceship or of asc hand over. A variable that
// is empty is not set. Two tools' keys at once are refused, as are two ways of handing over one.
//
// Errors name variables and hold nothing of their values. The values themselves cannot be wiped: they lie in the
// process's environment.
func ParseEnvironment(getenv func(string) string) (Handed, error) {
	var from *environment
	for i, e := range environments {
		holds := e.holds(getenv)
		switch {
		case len(holds) > 1:
			return Handed{}, fmt.Errorf("%s and %s are both set: unset the one that does not count", holds[0], holds[1])
		case len(holds) == 1 && from != nil:
			return Handed{}, fmt.Errorf("%s and %s are both set, for two tools: unset the one that does not count", from.holds(getenv)[0], holds[0])
		case len(holds) == 1:
			from = &environments[i]
		}
	}
	if from != nil {
		h, err := from.read(getenv)
		if err != nil {
			h.Wipe()
			return Handed{}, err
		}
		return h, nil
	}
	for _, e := range environments {
		if e.json != "" && getenv(e.prefix+e.json) != "" {
			return Handed{}, fmt.Errorf("%s names a JSON file: give that file instead", e.prefix+e.json)
		}
		if getenv(e.prefix+e.keyID) != "" {
			return Handed{}, fmt.Errorf("%s is set, and neither %s nor %s holds its key", e.prefix+e.keyID, e.prefix+e.key, e.prefix+e.path)
		}
	}
	return Handed{}, errNoEnvironment
}

// holds are the variables that are set and hold a key or its path.
func (e *environment) holds(getenv func(string) string) []string {
	var set []string
	for _, name := range []string{e.key, e.base64, e.path} {
		if name != "" && getenv(e.prefix+name) != "" {
			set = append(set, e.prefix+name)
		}
	}
	return set
}

func (e *environment) read(getenv func(string) string) (Handed, error) {
	get := func(name string) (at, value string) {
		if name == "" {
			return "", ""
		}
		return e.prefix + name, strings.TrimSpace(getenv(e.prefix + name))
	}
	h := Handed{Shape: e.shape, At: e.holds(getenv)[0]}
	keyAt, keyID := get(e.keyID)
	issuerAt, issuer := get(e.issuer)
	if err := h.setIDs(keyAt, keyID, issuerAt, issuer); err != nil {
		return h, err
	}
	inHouse, err := parseFlag(get(e.inHouse))
	if err != nil {
		return h, err
	}
	isBase64, err := parseFlag(get(e.isBase64))
	if err != nil {
		return h, err
	}
	seconds, err := parseSeconds(get(e.duration))
	if err != nil {
		return h, err
	}
	h.Duration = time.Duration(seconds) * time.Second
	h.Kind = teamKind(h.Issuer)
	if e.shape == ShapeFastlane {
		h.Kind = fastlaneKind(inHouse, h.Issuer)
	}
	if h.At == e.prefix+e.path {
		return h, h.lies(strings.TrimSpace(getenv(h.At)))
	}
	text := []byte(getenv(h.At))
	defer clear(text)
	return h, h.take(text, isBase64 || h.At == e.prefix+e.base64)
}
