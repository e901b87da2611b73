package authority

import (
	"time"
)

// Exposure says until when, and in whose hands, tokens of a revoked key still live.
type Exposure struct {
	// UpperBound is when the last token dies at the latest, whatever the logs say.
	UpperBound time.Time
	// Logs is what each log knows.
	Logs []LogExposure
	// RemainingStep is what remains to be done at Apple, in words.
	RemainingStep string
}

// LogExposure is what one log knows of living tokens.
type LogExposure struct {
	// Origin is the log's.
	Origin string
	// Unreachable says why it could not be asked; empty when it was.
	Unreachable string
	// Tokens is how many live, LastExpires when the last of them dies.
	Tokens      int64
	LastExpires time.Time
	// Holders are by id.
	Holders []Holder
}

// Holder is a principal with living tokens.
type Holder struct {
	Kind, ID    string
	Tokens      int64
	LastExpires time.Time
}
