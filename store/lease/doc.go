// Package lease says until when a replica may mint, and waits until every replica has a change.
//
// A replica that may mint is a member of the root: one incarnation, which nobody else ever has, with a bound. Beside the
// root it has a lease, a register of its own that it alone renews, each time with the revision on which it mints. Whoever
// has changed the root waits for each member of that root: until the lease says that revision or a later one, or else
// until the member has been fenced, its lease overwritten, and its bound and a second have passed.
//
// # Why off means off on every replica
//
// Let a change be in the root at revision R, and a mint begin after the change has returned. Let M be the replica that
// mints, and I its incarnation.
//
//  1. M mints only on a snapshot whose root lists I, while its last renewal known to have landed began less than its bound
//     ago. If I joined after R, its snapshot is R or later: a snapshot is never replaced by an older one. So let I be a
//     member of root R, and the waiter have waited for it.
//  2. If the waiter saw a lease of I that says R or later, M published R before it began that renewal. The mint is decided
//     on R or later.
//  3. Otherwise the lease was overwritten. Every write of a lease is on top of a version that its writer knows, and a member
//     that finds anything in its lease but a write of its own never mints again as I. So whatever renewal of I landed,
//     landed before the fence did, and began before that. The waiter waited, by its own clock, a bound and a second from
//     when it knew of the fence. By then I has ended, if both clocks run alike.
//  4. Who finds the change made already commits an empty change, so that R is the current root and no stale one, and waits
//     as if it had made it. A member is taken out of the root only after it was waited out, or by itself after it stopped.
//
// Assumed: writes of Vault that are linearizable, and clocks that run alike to a second in five minutes. Nothing is assumed
// of reads. A stale one makes a waiter fence late or a member fall silent; a reply that is lost is settled by reading
// whose write is there; a request that comes twice or late lands on a version that is not there any more.
//
// A Vault that is restored from a snapshot breaks the first of these. Nobody renews a lease there that was renewed since, for its
// version is not there; and who finds the older root under him makes a gap of it, on which nothing is minted, and whose root lists the
// members that he knew beside those of the older one. So a change after that waits for both.
//
// A paused process is covered by both clocks: when it goes on, its lease has ended. So is a virtual machine whose wall
// clock goes on or is set when it resumes. Not covered is one that is paused with both its clocks stopped, in the middle of
// a mint or before one, until something corrects its wall clock: it mints what it could have minted when it was paused.
//
// Concurrency: everything may be called concurrently. Crash: a replica that dies leaves its member in the root and its
// lease; the next change fences them, or the next start of its node does. One that dies before it has joined leaves a lease that
// is garbage; Peers.Collect says when that may be removed.
package lease
