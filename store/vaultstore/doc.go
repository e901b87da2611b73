// Package vaultstore keeps a vault in HashiCorp Vault (or OpenBao): a store.Backend on a KV v2 mount, and a KEK that is a
// key of the transit engine.
//
// # Trust
//
// Vault is trusted for nothing but keeping bytes and for replacing the root by check-and-set; package store authenticates
// all of them. Whoever may write below our path at will can take the vault away, or bring an old one back. The server is
// verified by its certificate always: there is no switch for that, and no plain HTTP. No error says a token or a secret id.
//
// # Layout
//
// Below one path of the mount lie root, which is only ever replaced by check-and-set; created, which is written once, after
// the first root, and tells a root that is gone from one that never was; registers/NAME, replaced like the root, whose versions
// are those of KV v2; and blobs/REF, each written once. KV v2 keeps ten versions of a path and destroys the others, so that a blob has
// a path of its own and is never found by a version.
//
// # Concurrency
//
// A Backend is safe for concurrent use. Every call to Vault has a deadline of its own (Config.Timeout), and at most
// Config.Calls are under way; whoever waits for a place in them waits within that deadline.
//
// # Crash behaviour
//
// Blobs are put before the root is replaced, and nothing reaches them before that: a process killed between any two calls
// leaves the old state or the new one, and blobs that no root reaches, for store.Collect. The reply to a root's replacement
// may be lost, or be that of a request sent twice on its way; so each replacement carries an id of its own, and whenever Vault
// does not plainly say that it was done, the version that it would have become is read: there with our id, it has happened;
// there with another's, it has not and never can; not there, it is store.ErrUnknown. Killed between the first root and created,
// it is made up for by the next Open.
//
// A register is written by one request within one deadline, which is never repeated, and whose outcome nobody here looks up: its
// writer does, who knows what it wrote and when it began.
package vaultstore
