// Package client is what callers link: it speaks to Signet over mutual TLS and gets tokens, and for operators and auditors it reaches
// every other method of the API.
//
// Trust: the server is believed about what a token is, and about nothing that the audit log can prove. Checkpoints, receipts and
// entries are verified with log keys that the caller's configuration pins (Config.Logs), never with a key that the server sent.
// A minted token is a secret for as long as it lives; Token prints itself without its text.
//
// Who only wants to call Apple makes a TokenSource and puts it under an http.Client with a Transport: both take care of refreshing, of a
// server that is away, and of Apple's refusing a good token now and then. Libraries that want an oauth2.TokenSource get one from
// oauth2source. What goes into a form comes from the token's PostForm; what Apple takes once, such as the signature of an offer, comes from
// Mint with a Call, each time anew. Tests run the real server with server/servertest.
//
// Concurrency: everything but Close may be called from many goroutines at once. Calls that only read are retried by themselves when
// the server is briefly unavailable. With several addresses, a mint or a change that one of them cannot do goes to another; what may have
// been accepted already is sent again only where a second one does no harm, and otherwise is ErrUnknown. A TokenSource asks again after
// a failure: its caller wants a token, and not to know of each mint. Replicas are the addresses one by one.
//
// Deadlines: a call has 30 seconds, and one that changes state six minutes, for it returns when every replica has the change or has lost
// its right to mint, which can take five; a context that ends sooner ends the call sooner, and not the change.
//
// Errors: what the server refuses comes back as *Error, which errors.Is compares with the sentinels of this package.
//
// The package keeps no state on disk, but for the receipts that KeepReceipts writes. The certificate and its key are read again at every
// handshake, so that they can be renewed in place under a running program.
package client
