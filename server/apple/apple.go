// Package apple knows Apple's signing keys and the tokens that are made with them: which kinds of key there are,
// what a .p8 file looks like in all the shapes in which people hand it over, which claims each family of token
// takes, and how one is signed.
//
// It is pure but for the randomness of a signature: no I/O, no clock, no state. Time, facts and signers come in as arguments, so every function is safe
// for concurrent use and a crash leaves nothing behind.
//
// # Trust
//
// Text that comes from outside becomes a value of this package only through a Parse function, and no error of a
// Parse function repeats any part of its input: what was pasted may be a private key. A token is signed from a
// [Spec] alone; a Spec is made only by the typed [Params] of a family from checked [Facts], and the zero Spec
// cannot be minted. There is no way to have bytes of a caller's choosing signed.
//
// Private key bytes are held only by a [Key], while a file is being imported; [Key.Wipe] overwrites them. Minting
// takes a [crypto.Signer] and never sees them.
package apple
