// Package cli is what both programs have in common: how a command tree is run, how a failure is told, which exit code it has, and
// how data is printed.
//
// A failure is one line that says what happened and one that says what to do, on standard error, and never what was read: text
// that looks like a private key is not printed, whoever composed it. Data goes to standard output, aligned for people or as JSON.
//
// Nothing here keeps state between runs; one Run is for one goroutine.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/proto/auditlog"
)

// Exit codes of both programs.
const (
	OK          = 0 // done
	Other       = 1 // failed in a way that the other codes do not name
	Malformed   = 2 // the command line, a file or a value cannot be right
	Denied      = 3 // denied, unauthenticated, unknown profile, key off
	NotFound    = 4 // what an administrative call names does not exist
	Conflict    = 5 // it exists already, or somebody changed it in between
	Unavailable = 6 // not now: server unreachable, not minting, or too many calls

	Interrupted = 130 // ended by a signal, as a shell has it of Ctrl-C
)

// Env is what a program gets from the world.
type Env struct {
	Args           []string
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Now            func() time.Time
	Version        string
}

// Failure is an error that knows its exit code and what its reader can do about it.
type Failure struct {
	// Code is the exit code; when 0 it follows from Err.
	Code int
	Err  error
	// Todo says what to do, in one line; empty when there is nothing to add.
	Todo string
}

// Advice is what the reader of err can do about it, in one line; empty when there is nothing to add.
func Advice(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok && f.Todo != "" {
		return f.Todo
	}
	return hint(err)
}

// Error says what happened.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Exit ends a program with this exit code. Nothing is said: what there is to say has been said, by another program or on standard output.
type Exit int

// Error names the code, for who wraps it.
func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// Malformedf is a failure with exit code 2. todo may be empty.
func Malformedf(todo, format string, args ...any) error {
	return &Failure{Code: Malformed, Err: fmt.Errorf(format, args...), Todo: todo}
}

// byError are the exit codes of what a call can fail with.
var byError = []struct {
	err  error
	code int
}{
	{client.ErrMalformed, Malformed},
	{client.ErrSingleUse, Malformed},
	{client.ErrDenied, Denied},
	{client.ErrUnauthenticated, Denied},
	{client.ErrKeyDisabled, Denied},
	{client.ErrKeyRevoked, Denied},
	{client.ErrNoActiveVersion, Denied},
	{client.ErrKeyDamaged, Denied},
	{client.ErrKeyUnfit, Denied},
	{client.ErrWithheld, Denied},
	{client.ErrNotFound, NotFound},
	{client.ErrExists, Conflict},
	{client.ErrConflict, Conflict},
	{client.ErrUnavailable, Unavailable},
	{client.ErrUnknown, Unavailable},
	{client.ErrRateLimited, Unavailable},
}

// Code is the exit code that err ends a program with.
func Code(err error) int {
	if err == nil {
		return OK
	}
	if f, ok := errors.AsType[*Failure](err); ok && f.Code != 0 {
		return f.Code
	}
	for _, e := range byError {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return Other
}

// Version is the command that prints what --version prints.
func Version(program string, env Env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the program's version",
		Example: "  " + program + " version",
		Args:    Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(c.OutOrStdout(), "%s version %s\n", program, env.Version)
			return err
		},
	}
}

// Run builds the command tree, executes it and answers the exit code. What fails before a command's own code began is a mistake on
// the command line; the whole help is not thrown after it. What ended because ctx was canceled is not told at all. A command whose
// output could not be written has failed, whether it looked or not.
func Run(ctx context.Context, build func(Env) *cobra.Command, env Env) int {
	out := &output{w: env.Stdout}
	env.Stdout = out
	root := build(env)
	if slices.ContainsFunc(env.Args, auditlog.LooksLikeKey) {
		Report(env.Stderr, root.Name(), Malformedf("keys go by file, and only to signet key seal and signet key import", "an argument looks like a private key; nothing was done with it"))
		return Malformed
	}
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.Version = env.Version
	root.SilenceErrors = true
	root.SilenceUsage = true
	began := false
	each(root, func(c *cobra.Command) {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error {
				began = true
				return run(c, args)
			}
		}
		if arguments, _, _ := strings.Cut(c.Use, " --"); c.ValidArgsFunction == nil && !c.HasSubCommands() && !slices.Contains(strings.Fields(arguments), "FILE") {
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
	})
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("writing to standard output: %w", out.err)
	}
	if err == nil {
		return OK
	}
	if code, ok := errors.AsType[Exit](err); ok {
		return int(code)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return Interrupted // whoever did it knows
	}
	if !began {
		err = &Failure{Code: Malformed, Err: err, Todo: fmt.Sprintf("see: %s --help", cmd.CommandPath())}
	}
	Report(env.Stderr, root.Name(), err)
	return Code(err)
}

func each(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		each(sub, f)
	}
}

// markers are what our own advice about key files says; without a body they are no secret.
var markers = strings.NewReplacer("-----BEGIN PRIVATE KEY-----", "", "-----END PRIVATE KEY-----", "")

// ShowsKey says whether text to be printed looks as if it held a private key, which our own advice does not.
func ShowsKey(text string) bool { return auditlog.LooksLikeKey(markers.Replace(text)) }

// Report prints err as both programs do.
func Report(w io.Writer, program string, err error) {
	what, todo := err.Error(), Advice(err)
	if ShowsKey(what) {
		what = "an argument or a file held what looks like a private key; it is not repeated here"
	}
	Printf(w, "%s: %s\n", program, clean(what, true))
	if todo != "" {
		Printf(w, "  %s\n", clean(todo, false))
	}
}

// hint says what to do about an answer of the server.
func hint(err error) string {
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return ""
	}
	switch {
	case errors.Is(err, client.ErrDenied) && e.Error() == "denied":
		// Whoever is denied hears no more than that; what more there is, a reader of the audit log can tell them.
		find := "signet audit list --outcome denied"
		if e.RequestID() != "" {
			find += " --limit 0 -o json | grep " + e.RequestID()
		}
		return "ask whoever reads the audit log why: " + find
	case errors.Is(err, client.ErrDenied), errors.Is(err, client.ErrKeyRevoked) && strings.Contains(e.Error(), "import a new key"):
		return "" // the server has said what is in the way
	case errors.Is(err, client.ErrUnauthenticated):
		// No id: who is nobody is on no record.
		return "the certificate may be expired, or from another vault: signetd cert makes a new one"
	case errors.Is(err, client.ErrUntrusted):
		return "ca in client.yaml must certify this server, and the host in addresses, or else server_name, must be a name in its certificate"
	case errors.Is(err, client.ErrKeyDisabled):
		return "an operator switched the key off: signet key enable NAME takes it back"
	case errors.Is(err, client.ErrKeyRevoked):
		return "this version never mints again; import a new key of Apple's as a new version, and activate it"
	case errors.Is(err, client.ErrNoActiveVersion):
		return "signet key show NAME lists the versions, signet key activate NAME VERSION picks one"
	case errors.Is(err, client.ErrKeyUnfit):
		return "signet key show NAME says what is known of the key, signet key update NAME sets it, and signet policy apply --dry-run says what a profile wants of it"
	case errors.Is(err, client.ErrConflict):
		return "read it again, and decide again"
	case errors.Is(err, client.ErrUnknown):
		return "look before repeating it: it may have happened"
	case errors.Is(err, client.ErrRateLimited) && e.RetryAfter() > 0:
		return fmt.Sprintf("try again in %s", e.RetryAfter().Round(time.Second))
	}
	switch e.Reason() {
	case "":
		if errors.Is(err, client.ErrUnavailable) {
			return "is signetd running, and do addresses, ca and server_name of client.yaml fit it?"
		}
	case "GAP":
		return "signet system status says what was found; signet system acknowledge closes it once it is understood"
	case "CLOCK":
		return "set the server's clock right; if it is, and was wrong before: signet system acknowledge clock"
	case "STORE_UNAVAILABLE":
		return "see that the store, such as HashiCorp Vault, is there and unsealed; the server's own log has the cause"
	case "LOG_FULL":
		return "make room where the audit log lies; minting goes on by itself"
	case "INTERNAL":
		if e.RequestID() != "" {
			return "the server's own log has the cause, request " + e.RequestID()
		}
		return "the server's own log has the cause"
	}
	return ""
}

// clean makes text safe for a terminal: a server's answer cannot move the cursor.
func clean(s string, lines bool) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\t':
			return ' '
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// Group is a command that only holds others.
func Group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use:                   use,
		Short:                 short,
		DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			todo := fmt.Sprintf("see: %s --help", c.CommandPath())
			if near := c.SuggestionsFor(args[0]); len(near) > 0 {
				todo = fmt.Sprintf("did you mean: %s %s", c.CommandPath(), near[0])
			}
			return Malformedf(todo, "%s has no command %q", c.CommandPath(), args[0])
		},
	}
	c.AddCommand(subs...)
	return c
}

// Count is "1 test" or "3 tests".
func Count[N int | int32 | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Args wants exactly these arguments.
func Args(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		want := "no arguments"
		if len(names) > 0 {
			want = strings.Join(names, " ")
		}
		return fmt.Errorf("%s wants %s, and got %s", c.CommandPath(), want, Count(len(args), "argument"))
	}
}

// Required marks flags without which a command cannot run.
func Required(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err) // no such flag: a mistake in this program
		}
	}
}
