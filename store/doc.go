// Package store keeps what must last: keys and their versions, policy revisions
// and the vault's own secrets, as sealed records under one authenticated root.
//
// # Trust
//
// The medium (a [Backend]) is not trusted for anything but keeping bytes. The
// root carries a MAC and names, by SHA-256, 256 shards; a shard names, by
// SHA-256, every record; a record is sealed under associated data that says
// which vault, which name and which revision it belongs to. A record swapped,
// renamed, edited, spliced or taken from yesterday therefore does not open, and
// says so by name. That the whole store is yesterday's is not visible from
// inside: the audit log knows the last root it named, and the core compares.
//
// Private key bytes are opened in this package only, and leave it only as
// signatures ([Store.Signer], [Store.SystemSigner]) or, for the half that opens
// an import, lent to a callback ([Store.OpenImport]).
//
// # Concurrency
//
// Everything is safe for concurrent use except a [Tx], which belongs to one
// goroutine. Readers take [Store.Snapshot], one atomic load of an immutable
// value; one commit runs at a time. One process owns a store.
//
// # Crash behaviour
//
// A commit is one call of the Backend and either happened or did not. A crash
// in the middle leaves the old root or the new one; which of them is found out
// by the commit id that the root keeps for every node. Creation is one such
// commit too: it leaves nothing, or a whole vault.
package store
