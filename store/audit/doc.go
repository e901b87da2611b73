// Package audit writes and reads a node's audit log: what package auditlog describes, on a disk.
//
// # Layout
//
// The directory of an FS belongs to one process. It holds one directory per log id, and two files of its own:
//
//	<log id>/0000000000000001.log …   segments
//	<log id>/checkpoint               the newest signed checkpoint; replaced at most once a second
//	<log id>/0000000000000001.checkpoint …  a signed checkpoint over the end of each closed segment, which goes where it goes
//	<log id>/archived                 the oldest segment that Archive has left; absent: it has moved none
//	<log id>/hashes                   the tree's hashes, tlog.StoredHashIndex order, 32 bytes each; derived, never trusted
//	<log id>/index                    where entries are that have a term, and how many are alike; derived, see below
//	lock                              held while the log is open
//	ballast                           bytes given up for privileged entries when the disk is full
//
// # Trust
//
// The disk is not trusted. Open takes the log to end where its last complete batch ends, and compares that with the
// checkpoint file, with the head that the store's root names and with anchors; what is lacking or contradicts them is
// a GapError, never repaired in silence. Proofs are verified before they are handed out, so the derived file cannot
// make a false one.
//
// # Index
//
// A goroutine reads new entries five times a second into a chunk of the index that is in memory; once that is about 32,768
// entries it is written, synced, and never changed again. At start the newest made chunk is read whole, and the tree's hash
// at its end is proved against the log: an index that is half written, of another log or history, or ahead of the log is
// cut back to what is right. Every part of the file has a MAC under a key derived from the log's signing key, and
// is checked when it is read: the file cannot be changed, by a disk or a hand, so that a query misses something. What the index
// does not follow, queries read from the log itself. What it names, they read, and compare with the leaf hash.
//
// The file is about a thirtieth of the log. In memory are the chunk that is being made, some megabytes, and 200 bytes a made chunk.
//
// # Archive
//
// Closed segments may be moved away, oldest first, by Archive, also while the log is open. What lay in them can still be
// proved as long as the file of hashes is there, is counted and known as long as the index is, and is otherwise ErrAbsent.
// An index that has to be made anew begins with what is here.
//
// # Concurrency
//
// Callers of Append marshal and hash their entries themselves and add them to the batch that gathers while the last
// one is being written. One goroutine writes a batch with one write and one sync, then lets its callers go. Another,
// once a second, replaces the checkpoint file, writes derived hashes down, keeps the ballast, and while the log
// fails tries to begin a new segment. Receipts are made by the callers' goroutines.
//
// # Crash behaviour
//
// Nothing is ever truncated or overwritten with something else. A batch whose write or sync fails, and start-up, take
// the same path: the segment is over at its last durable batch, and the next append begins a new segment whose header
// says so; what lies beyond is evidence. A batch that was not acknowledged may be in the log after a crash or not;
// one that was acknowledged is. At start the last batch is written once more where it stands, the same bytes, and
// synced before anything is signed or served: after a failed sync the page cache may show what the disk does not have.
package audit
