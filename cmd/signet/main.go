// Command signet is Signet for people and scripts: it gets tokens, runs programs with them, seals and imports keys, applies policies,
// reads and verifies the audit log.
//
// Trust: what the audit log can prove is verified here with the log key that client.yaml pins. A plaintext key is read by seal and
// import only, sealed in this process, and wiped.
//
// State: the last checkpoint seen of each log, in the user's state directory. One that is lost or old is no danger: it only sees less.
// exec keeps a token in a file for as long as its program runs; a process of its own removes it when this one is killed.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// version is set by the build.
var version = "unknown"

// grace is how long a command may take to end after a signal.
const grace = time.Second

// patient is set by a command that answers signals in its own way, and then ends by itself.
var patient atomic.Bool

func main() {
	if err := cli.Harden(); err != nil {
		fmt.Fprintln(os.Stderr, "signet:", err)
		os.Exit(cli.Other)
	}
	if slices.Equal(os.Args[1:], []string{guardArg}) {
		guard()
		os.Exit(cli.OK)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	ended := context.AfterFunc(ctx, func() {
		// What waits for somebody, such as a question on the terminal, does not look at the context.
		time.Sleep(grace)
		if !patient.Load() {
			os.Exit(cli.Interrupted)
		}
	})
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	ended() // before stop, which ends ctx too
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	env := cli.Env{Args: args, Getenv: getenv, Stdin: stdin, Stdout: stdout, Stderr: stderr, Now: time.Now, Version: version}
	return cli.Run(ctx, newRoot, env)
}
