package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
)

// What a program finds in its environment.
const (
	envToken = "SIGNET_TOKEN"          // the token at the start
	envFile  = "SIGNET_TOKEN_FILE"     // the path of a file that holds the current one
	envURL   = "SIGNET_TOKEN_URL"      // answers the current one
	envAuth  = "SIGNET_TOKEN_URL_AUTH" // what the Authorization header must be there
)

// As shells have it.
const (
	notExecutable = 126
	notFound      = 127
	signaled      = 128 // and the signal's number
)

// execOptions are what signet exec was told.
type execOptions struct {
	mint         client.MintOptions
	killAfter    time.Duration
	stopOnDenied bool
}

func (a *app) exec() *cobra.Command {
	var o execOptions
	cmd := &cobra.Command{
		Use:   "exec PROFILE -- COMMAND [ARGUMENT…]",
		Short: "Run a program with a token, and keep the token fresh",
		Long: `Run a program with a token of a profile. It finds in its environment

  SIGNET_TOKEN           the token as it was when the program started
  SIGNET_TOKEN_FILE      a file that always holds the current token, replaced as a whole; it is the user's alone, and in memory
                         where there is a file system in memory
  SIGNET_TOKEN_URL       a loopback address that answers the current token, or with "Accept: application/json" what
                         signet mint -o json prints; 403 when the token was denied, 503 when there is none for another reason
  SIGNET_TOKEN_URL_AUTH  what the header Authorization must be there; a secret like the token itself

It is for tokens that go into a header or a form, and for those that a page is handed. What Apple takes once, such as the signature of an
offer, a program mints by itself, with signet mint, each time that it needs one.

A program that runs longer than a token lives reads one of the latter two again, each time that it needs the token. When the policy
does not allow the token any more, or the key is off, this is said on standard error, the file is removed and the address answers 403;
the program goes on, unless --stop-on-denied is given, and the token comes back when it is allowed again. A token that the program
has taken already works until it expires.

File and address are gone when the program has ended, however it and signet ended. If signet is killed, so is the program; except on
Linux, that takes a moment. Only when everything is killed at one blow does the file stay, until the next signet exec of the same
user: with a token that is then soon worth nothing.

Standard input, output and error are the program's own. Signals are passed on to it: SIGINT and SIGQUIT from the terminal reach it by
themselves. When it has not ended --kill-after after SIGTERM, SIGINT or SIGQUIT was passed on, or such a signal comes a second time,
it is killed. Without a terminal the program leads a process group of its own, and signals go to all of the group.

The exit code is the program's, and 128 and the number of the signal that ended it; 127 when there is no such program, 126 when it
cannot be run. No token is minted for either. Before the program has started, exit codes are those of signet mint. The program dumps
no core: the token would be in it.`,
		Example: `  signet exec ios-release -- fastlane release
  signet exec ios-builds-read --ttl 5m -- sh -c 'printf "header = \"Authorization: Bearer %s\"" "$SIGNET_TOKEN" | curl -K - https://api.appstoreconnect.apple.com/v1/apps'
  signet exec ios-release -- sh -c 'printf "header = \"Authorization: %s\"" "$SIGNET_TOKEN_URL_AUTH" | curl -K - "$SIGNET_TOKEN_URL"'`,
		Args: func(c *cobra.Command, args []string) error {
			if c.ArgsLenAtDash() != 1 || len(args) < 2 {
				return fmt.Errorf("%s wants PROFILE -- COMMAND, with the two dashes between them", c.CommandPath())
			}
			return nil
		},
		DisableFlagsInUseLine: true,
	}
	askedFor := lessFlags(cmd, &o.mint)
	cmd.Flags().DurationVar(&o.killAfter, "kill-after", 10*time.Second, "how long the program may take to end after a signal that was to end it; 0 for as long as it likes")
	cmd.Flags().BoolVar(&o.stopOnDenied, "stop-on-denied", false, "when the token is denied while the program runs, end it as with SIGTERM")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if err := askedFor(); err != nil {
			return err
		}
		if o.killAfter < 0 {
			return cli.Malformedf("", "--kill-after is 0 or more")
		}
		path, err := lookCommand(args[1])
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			source := cl.TokenSource(args[0], client.TokenSourceOptions{Mint: o.mint, Now: a.Now})
			defer source.Close()
			return a.runWith(ctx, source, o, path, args[1:])
		})
	}
	return cmd
}

// lookCommand finds a program as a shell does.
func lookCommand(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || errors.Is(err, exec.ErrDot) {
		return path, nil
	}
	return "", notRun(err)
}

// notRun is the failure of a program that could not be started.
func notRun(err error) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		return &cli.Failure{Code: notFound, Err: fmt.Errorf("the command is not there: %w", err), Todo: "what follows -- is a program in PATH or its path, and its arguments"}
	}
	return &cli.Failure{Code: notExecutable, Err: fmt.Errorf("the command cannot be run: %w", err)}
}

// tokens is what exec needs of a client.TokenSource.
type tokens interface {
	Token(context.Context) (*client.Token, error)
	Next(context.Context, *client.Token) (*client.Token, error)
}

// runWith runs a program with the tokens of a source. From its start to its end signals are its affair. Whatever ends this function, or
// this process, leaves neither file nor address.
func (a *app) runWith(ctx context.Context, source tokens, o execOptions, path string, argv []string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT) // one that comes late is not lost
	defer signal.Stop(signals)
	first, err := source.Token(ctx)
	if err != nil {
		return execProblem(err)
	}
	patient.Store(true)
	if err := ctx.Err(); err != nil {
		return err // a signal came early
	}
	if len(unheeded) > 0 { // else Ignore would mean all
		signal.Ignore(unheeded...)
	}
	signal.Notify(signals, heeded()...)

	hide, err := a.hide()
	if err != nil {
		return err
	}
	defer func() { a.clean(hide.Close()) }()
	k := &keeper{source: source, file: hide.file(), say: a.say, denied: make(chan struct{}, 1)}
	if err := k.keep(first); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var following sync.WaitGroup
	following.Go(func() { k.follow(ctx, first) })
	defer following.Wait()
	defer cancel()
	desk, err := openDesk(k)
	if err != nil {
		return err
	}
	defer func() { a.clean(desk.Close()) }()

	c := &child{
		cmd: &exec.Cmd{Path: path, Args: argv, Env: childEnv(os.Environ(), map[string]string{
			envToken: first.Text(), envFile: k.file, envURL: desk.url, envAuth: desk.auth,
		}), Stdin: a.Stdin, Stdout: cli.Unwrapped(a.Stdout), Stderr: a.Stderr},
		killAfter: o.killAfter, say: a.say,
	}
	var stop <-chan struct{}
	if o.stopOnDenied {
		stop = k.denied
	}
	code, err := c.run(signals, stop, hide.guards)
	if err != nil || code == cli.OK {
		return err
	}
	return cli.Exit(code)
}

// execProblem is mintProblem, but for what no program can be run with.
func execProblem(err error) error {
	if errors.Is(err, client.ErrSingleUse) || reasonOf(err) == "UNFIT_REQUEST" {
		return &cli.Failure{Err: err, Todo: "signet exec fills nothing in, and keeps a token for a while: have the program run signet mint, each time that it needs one; " +
			"signet profile show has the very command line"}
	}
	return mintProblem(nil, err)
}

// say tells whoever started signet what its program cannot know.
func (a *app) say(format string, args ...any) {
	cli.Report(a.Stderr, "signet exec", fmt.Errorf(format, args...))
}

// clean reports what could not be cleaned up; the program's exit code is of more use to who waits for it.
func (a *app) clean(err error) {
	if err != nil {
		a.say("cleaning up: %w", err)
	}
}

// childEnv is an environment with some variables set anew.
func childEnv(environ []string, set map[string]string) []string {
	out := slices.DeleteFunc(slices.Clone(environ), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		_, ours := set[name]
		return ours
	})
	for name, value := range set {
		out = append(out, name+"="+value)
	}
	return out
}

// passed are the signals that go on to the program. SIGPIPE is among them only so that it does not end signet when nobody reads its
// standard error any more; the program gets its own.
var passed = []os.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE,
}

// unheeded are those of the passed signals that whoever started signet had ignored, as a shell does with Ctrl-C for what it starts in
// the background. The program ignores them, too.
var unheeded = slices.DeleteFunc(slices.Clone(passed), func(s os.Signal) bool { return !signal.Ignored(s) })

// heeded are the others, SIGPIPE at least: nothing would mean all.
func heeded() []os.Signal {
	return append(slices.DeleteFunc(slices.Clone(passed), func(s os.Signal) bool { return slices.Contains(unheeded, s) }), syscall.SIGPIPE)
}
