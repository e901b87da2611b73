package server

import "encoding/base64"

// errPageToken is a page token that is not ours.
var errPageToken = malformed("page_token", "not a token of a page before")

// pageSize is what is answered at most when a caller does not say.
func pageSize(asked int32) int {
	if asked == 0 {
		return 100
	}
	return int(asked)
}

// pageTokenOf leads to the page after a name: the name, encoded so that nobody takes the token for one.
func pageTokenOf[N ~string](last N) string { return base64.RawURLEncoding.EncodeToString([]byte(last)) }

// nameAfter is the name that pageTokenOf made a token of; empty without a token.
func nameAfter[N ~string](token string, parse func(string) (N, error)) (N, error) {
	if token == "" {
		return "", nil
	}
	last, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", errPageToken
	}
	name, err := parse(string(last))
	if err != nil {
		return "", errPageToken
	}
	return name, nil
}
