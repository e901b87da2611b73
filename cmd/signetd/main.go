// Command signetd keeps Apple signing keys in a vault and serves the tokens that are made with them.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/cmd/internal/daemon"
)

// version is set by the build.
var version = "unknown"

func main() {
	syscall.Umask(0o077) // whatever is written here is nobody else's
	if err := cli.Harden(); err != nil {
		fmt.Fprintln(os.Stderr, "signetd:", err)
		os.Exit(cli.Other)
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	return daemon.Run(ctx, cli.Env{
		Args: args, Getenv: getenv, Stdin: stdin, Stdout: stdout, Stderr: stderr, Now: time.Now, Version: version,
	})
}
