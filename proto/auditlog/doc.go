// Package auditlog says what an audit entry, a segment, a checkpoint, a receipt and a proof of Signet's log are, and
// verifies them without a server.
//
// # The log
//
// A log is a sequence of entries. Each entry is one line of JSON; its bytes without the newline are a leaf of an
// RFC 6962 Merkle tree (SHA-256), and its index is the number of entries before it. A log has an [Origin],
// "<vault id>/<node>/<log id>". Its head is signed with an Ed25519 note key named "<vault id>/<node>".
//
// On disk a log is a directory of segments, files of lines named "%016d.log". Lines are of three kinds, told apart by
// how they begin:
//
//	{"header":{   the first line of a segment: where it goes on from (see [Header])
//	{"v":1,       an entry (see [Entry])
//	{"batch":{    after the entries of a batch: how many, their SHA-256, the tree's head (see [Marker])
//
// so that `tail -f … | jq 'select(.v)'` shows the entries. A batch counts once its marker is there and agrees. What
// lies beyond the last such batch, or beyond the length that the next segment's header names, was never acknowledged:
// it is evidence, not part of the log. Beside a closed segment, "%016d.checkpoint" is a signed checkpoint over the log up
// to its end, by which an archive of segments proves itself.
//
// Every line has exactly one spelling: the parsers accept what the encoders write and nothing else, so no bit of a
// line can change unnoticed.
//
// # Trust
//
// The package trusts nothing that it reads. Segments prove nothing by themselves: whoever can write the directory can
// recompute every hash in it. What they cannot do is sign. So an entry is bound by the first checkpoint, receipt or
// anchor over it: from then on no bit of it, nor its place, can change without [VerifySegments] saying so. Entries
// younger than the newest of those that the verifier holds can be cut off or rewritten unnoticed; a checkpoint kept
// elsewhere (an anchor) is the cure.
//
// # Concurrency
//
// Everything here is a pure function or a value without hidden state; values may be used by several goroutines as
// long as none changes them.
package auditlog
