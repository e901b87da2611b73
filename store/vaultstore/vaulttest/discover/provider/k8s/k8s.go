// Package k8s stands in for a package of go-discover's.
package k8s

import (
	"errors"
	"log"
)

// Provider finds nothing.
type Provider struct{}

// Addrs finds nothing.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("the Vault of the tests discovers nothing")
}

// Help says nothing.
func (*Provider) Help() string { return "" }
