package storetest_test

import (
	"testing"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Backend { return storetest.Memory() })
}

func TestFaultyWithoutFaults(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Backend { return storetest.NewFaulty(storetest.Memory(), nil) })
}

func TestMemoryRegisters(t *testing.T) {
	storetest.RunRegisters(t, func(*testing.T) storetest.SharedBackend { return storetest.Shared() })
}

func TestFaultyRegistersWithoutFaults(t *testing.T) {
	storetest.RunRegisters(t, func(*testing.T) storetest.SharedBackend { return storetest.NewSharedFaulty(storetest.Shared(), nil) })
}
