//go:build !goexperiment.runtimesecret

package envelope

// Erases says whether Secret does what it is for in this build.
const Erases = false

// Secret runs f, in which key bytes are at hand. A build with
// GOEXPERIMENT=runtimesecret lets nothing of them stay behind (see
// secret_on.go); in this one, copies that the runtime and the standard library
// made stay until their memory is used again.
func Secret(f func()) { f() }
