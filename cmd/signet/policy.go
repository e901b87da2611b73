package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/apple"
	"github.com/p8signet/signet/server/policy"
)

// maxPolicy is the largest document that a server takes.
const maxPolicy = 1 << 20

func (a *app) policy() *cobra.Command {
	return cli.Group("policy", "Say who may mint what", a.policyApply(), a.policyShow(), a.policyLint(), a.policyTest())
}

func (a *app) policyApply() *cobra.Command {
	var dryRun bool
	var etag string
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make a document the policy",
		Long: `Make a document the policy. The server compiles it, checks it against its keys and runs its tests; when anything is wrong, the
policy stays as it was. With --etag it is refused when somebody changed the policy since you read it with signet policy show.`,
		Example: `  signet policy apply policy.yaml --dry-run
  signet policy apply policy.yaml
  signet policy apply policy.yaml --etag "$(signet policy show -o json | jq -r .etag)"`,
		Args: cli.Args("FILE"),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "do everything but the change")
	cmd.Flags().StringVar(&etag, "etag", "", "the etag of the policy that this one replaces")
	format := cli.Format(cmd, "table", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		doc, err := a.readInput(args[0], maxPolicy)
		if err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			resp, err := waiting(ctx, a, cl, func() (*signetv1.ApplyPolicyResponse, error) {
				return cl.ApplyPolicy(ctx, &signetv1.ApplyPolicyRequest{Document: doc, Etag: etag, DryRun: dryRun})
			})
			if err != nil {
				return a.applyProblem(args[0], err)
			}
			for _, w := range resp.GetWarnings() {
				cli.Printf(a.Stderr, "%s: warning: %s\n", place(args[0], int(w.GetLine()), int(w.GetColumn())), w.GetMessage())
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, resp)
			}
			what := fmt.Sprintf("Applied revision %d:", resp.GetPolicy().GetRevision())
			switch {
			case dryRun:
				what = "Nothing was changed. It would be accepted:"
			case !resp.GetChanged():
				what = fmt.Sprintf("It is the policy already, revision %d:", resp.GetPolicy().GetRevision())
			}
			_, err = fmt.Fprintf(a.Stdout, "%s %s, %s passed\n", what, resp.GetPolicy().GetDigest(), cli.Count(resp.GetTestsRun(), "test"))
			return err
		})
	}
	return cmd
}

// applyProblem prints each problem that the server found at its place in the file.
func (a *app) applyProblem(file string, err error) error {
	e, ok := errors.AsType[*client.Error](err)
	if !ok || len(e.Problems()) == 0 {
		return err
	}
	for _, p := range e.Problems() {
		at := file
		if p.Field != "" {
			at += ":" + p.Field // "line:column"
		}
		cli.Printf(a.Stderr, "%s: %s\n", at, p.Message)
	}
	return &cli.Failure{Err: err, Todo: "the policy was not changed"}
}

func place(file string, line, column int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

func (a *app) policyShow() *cobra.Command {
	var revision int64
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the policy",
		Long:  "Print the policy's document, byte for byte as it was applied. Who applied it, when, and its etag go to standard error.",
		Example: `  signet policy show > policy.yaml
  signet policy show --revision 3
  signet policy show -o json`,
		Args: cli.Args(),
	}
	cmd.Flags().Int64Var(&revision, "revision", 0, "an earlier revision; the current one when left out")
	format := cli.Format(cmd, "document", "json")
	cmd.RunE = func(c *cobra.Command, _ []string) error {
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			p, err := cl.GetPolicy(ctx, &signetv1.GetPolicyRequest{Revision: revision})
			if err != nil {
				return err
			}
			if *format == "json" {
				return cli.JSON(a.Stdout, p)
			}
			if p.GetRevision() == 0 {
				cli.Printf(a.Stderr, "No policy was applied yet, so everything but an operator's work is denied.\n")
				return nil
			}
			if _, err := a.Stdout.Write(p.GetDocument()); err != nil {
				return err
			}
			return cli.Facts(a.Stderr,
				[2]string{"revision", strconv.FormatInt(p.GetRevision(), 10)},
				[2]string{"applied", clock(p.GetCreateTime()) + " by " + p.GetAuthor()},
				[2]string{"digest", p.GetDigest()},
				[2]string{"etag", p.GetEtag()},
			)
		})
	}
	return cmd
}

// compile reads a document and compiles it without knowing any keys.
func (a *app) compile(file string) (*policy.Policy, error) {
	doc, err := a.readInput(file, maxPolicy)
	if err != nil {
		return nil, err
	}
	p, err := policy.Compile(doc, nil, nil)
	if pe, ok := errors.AsType[*policy.Error](err); ok {
		for _, problem := range pe.Problems {
			cli.Printf(a.Stderr, "%s: %s\n", place(file, problem.Line, problem.Column), problem.Message)
		}
		return nil, cli.Malformedf("", "%s is no policy: %s", file, cli.Count(len(pe.Problems), "problem"))
	}
	return p, err
}

// problemJSON is a problem or a test as -o json prints it.
type problemJSON struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

// expansionJSON is what bundles of reads stand for, as -o json prints it.
type expansionJSON struct {
	Line    int                `json:"line"`
	Column  int                `json:"column"`
	Profile policy.ProfileName `json:"profile"`
	Reads   []string           `json:"reads"`
	Scope   []apple.Scope      `json:"scope"`
}

func (a *app) policyLint() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint FILE",
		Short: "Say what is wrong with a document, and what is allowed but probably not meant",
		Long: `Say what is wrong with a document (exit code 2), and what is allowed but probably not meant (exit code 0). No server is asked, so
the keys that it names are taken to exist and to fit.

Of a profile that names bundles, read: [builds], it prints the very requests to which its tokens are limited.`,
		Example: "  signet policy lint policy.yaml",
		Args:    cli.Args("FILE"),
	}
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p, err := a.compile(args[0])
		if err != nil {
			return err
		}
		warnings, expansions := p.Lint(), p.Expansions()
		if *format == "json" {
			out := struct {
				Warnings   []problemJSON   `json:"warnings"`
				Expansions []expansionJSON `json:"expansions"`
			}{[]problemJSON{}, []expansionJSON{}}
			for _, e := range expansions {
				out.Expansions = append(out.Expansions, expansionJSON(e))
			}
			for _, w := range warnings {
				out.Warnings = append(out.Warnings, problemJSON(w))
			}
			return cli.JSON(a.Stdout, out)
		}
		for _, e := range expansions {
			cli.Printf(a.Stdout, "%s: note: the tokens of profile %s are limited to %s; what they list is not read one by one, by paths such as /v1/builds/{id}:\n",
				place(args[0], e.Line, e.Column), e.Profile, cli.Count(int64(len(e.Scope)), "request"))
			for _, s := range e.Scope {
				cli.Printf(a.Stdout, "  %s\n", s)
			}
		}
		for _, w := range warnings {
			cli.Printf(a.Stdout, "%s: warning: %s\n", place(args[0], w.Line, w.Column), w.Message)
		}
		if len(warnings) == 0 {
			cli.Printf(a.Stdout, "%s: ok\n", args[0])
		}
		return nil
	}
	return cmd
}

func (a *app) policyTest() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "test FILE",
		Short:   "Run a document's own tests",
		Long:    "Run the tests of a document against its grants (exit code 1 when one fails). No server is asked; keys are taken to be usable.",
		Example: `  signet policy test policy.yaml`,
		Args:    cli.Args("FILE"),
	}
	format := cli.Format(cmd, "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p, err := a.compile(args[0])
		if err != nil {
			return err
		}
		results, failed := p.RunTests(), 0
		type testJSON struct {
			problemJSON
			Passed bool `json:"passed"`
		}
		out := struct {
			Tests []testJSON `json:"tests"`
		}{[]testJSON{}}
		for _, r := range results {
			out.Tests = append(out.Tests, testJSON{problemJSON{r.Line, r.Column, r.Message}, r.Passed})
			if r.Passed {
				continue
			}
			failed++
			if *format != "json" {
				cli.Printf(a.Stdout, "%s: failed: %s\n", place(args[0], r.Line, r.Column), r.Message)
			}
		}
		if *format == "json" {
			if err := cli.JSON(a.Stdout, out); err != nil {
				return err
			}
		}
		if failed > 0 {
			return &cli.Failure{Code: cli.Other, Err: fmt.Errorf("%d of %s failed", failed, cli.Count(len(results), "test"))}
		}
		if *format != "json" {
			cli.Printf(a.Stdout, "%s: %s passed\n", args[0], cli.Count(len(results), "test"))
		}
		return nil
	}
	return cmd
}
