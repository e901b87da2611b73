// Package server is Signet's gRPC surface.
package server

import (
	"context"
	"net"
)

// Server serves one vault.
type Server struct{}

// New opens the vault that cfg names and makes it ready to serve.
func New(ctx context.Context, cfg Config) (*Server, error) { panic("being written") }

// Serve answers calls on l until Shutdown; it closes l.
func (s *Server) Serve(l net.Listener) error { panic("being written") }

// Ready says why the server cannot mint now, or nil.
func (s *Server) Ready() error { panic("being written") }

// Shutdown stops accepting, waits for calls under way until ctx ends, then closes the log and the store.
func (s *Server) Shutdown(ctx context.Context) error { panic("being written") }

// Check says everything that is wrong with cfg, without writing anything. It closes cfg.Backend.
func Check(ctx context.Context, cfg Config) error { panic("being written") }

// Report is what Fsck found.
type Report struct {
	// VaultID is the vault's id.
	VaultID string
	// Keys and Entries are how many there are.
	Keys    int
	Entries int64
	// Damages names everything that is wrong, one sentence each; empty when nothing is.
	Damages []string
}

// Fsck reads the whole vault and writes nothing.
func Fsck(ctx context.Context, cfg Config) (Report, error) { panic("being written") }
