//go:build goexperiment.runtimesecret

package envelope

import (
	"runtime"
	"runtime/secret"
)

// Erases says whether Secret does what it is for in this build.
const Erases = runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64")

// Secret runs f, in which key bytes are at hand, and lets nothing of them stay
// behind: the stack and the registers that f used are erased when it returns,
// and what f allocated is when the collector finds that nobody holds it any
// more. What f gives back goes into memory of its caller's. It must start no
// goroutine that sees a key.
func Secret(f func()) { secret.Do(f) }
