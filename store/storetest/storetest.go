package storetest

import (
	"testing"

	"github.com/p8signet/signet/store"
)

// Memory returns an empty Backend in memory. It survives Store.Close, so that a
// restart is another store.Open on it.
func Memory() store.Backend { panic("not yet") }

// Run runs the conformance suite; open returns a fresh, empty Backend each time.
func Run(t *testing.T, open func(t *testing.T) store.Backend) { panic("not yet") }
