package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server/apple"
)

func (a *app) mint() *cobra.Command {
	var o client.MintOptions
	cmd := &cobra.Command{
		Use:   "mint PROFILE",
		Short: "Get a token",
		Long: `Get a token for a profile of the policy. The token alone goes to standard output.

You are given the same token again until half of its life is gone, or a new one with --fresh; a profile with reuse: never gives a new
one every time. You may ask for less than the profile grants: a shorter life, fewer requests. The ttl is the token's whole lifetime; the first 30
seconds of it lie in the past, so that no clock of Apple's refuses the token.

For jobs longer than a token there is signet exec. With -o env a shell takes the token into SIGNET_TOKEN; where the mint fails it
takes nothing, so that an old value should be unset before.`,
		Example: `  signet mint ios-release
  signet mint ios-builds-read --ttl 5m --scope "GET /v1/apps/1234567890"
  curl -H "$(signet mint ios-builds-read -o header)" https://api.appstoreconnect.apple.com/v1/apps/1234567890
  eval "$(signet mint ios-release -o env)"
  signet mint ios-release --receipt -o json`,
		Args: cli.Args("PROFILE"),
	}
	askedFor := lessFlags(cmd, &o)
	cmd.Flags().BoolVar(&o.Receipt, "receipt", false, "get proof that the token is on record, and verify it with the pinned log key")
	cmd.Flags().BoolVar(&o.Fresh, "fresh", false, "get a new token, also where you would be given one again")
	format := cli.Format(cmd, "token", "header", "env", "json")
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if err := askedFor(); err != nil {
			return err
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			t, err := cl.Mint(ctx, args[0], o)
			if err != nil {
				return mintProblem(t, err)
			}
			return a.printToken(t, *format)
		})
	}
	return cmd
}

// lessFlags gives a command the flags that ask for less than a profile grants. What it answers says, before the server is asked,
// whether they can be meant.
func lessFlags(cmd *cobra.Command, o *client.MintOptions) func() error {
	cli.SpanVar(cmd.Flags(), &o.TTL, "ttl", "lifetime in whole seconds, such as 5m; the profile's default when left out")
	cmd.Flags().StringArrayVar(&o.Scope, "scope", nil, `limit the token to this request, "GET /v1/…"; may be repeated`)
	return func() error {
		if !cmd.Flags().Changed("ttl") {
			return nil
		}
		if _, err := apple.ParseTTL(o.TTL); err != nil {
			return cli.Malformedf("", "--ttl: %w", err)
		}
		return nil
	}
}

// mintProblem tells a proof that failed from a mint that failed: in the first case a token exists, and is not printed.
func mintProblem(t *client.Token, err error) error {
	switch {
	case errors.Is(err, client.ErrDenied) && err.Error() == "denied":
		return &cli.Failure{Err: err, Todo: "signet profile list shows what you may mint; " + cli.Advice(err)}
	case errors.Is(err, client.ErrNoLogKey) && t == nil:
		return &cli.Failure{Code: cli.Malformed, Err: err, Todo: "logs in client.yaml pins the key: take it from the client.yaml that signetd wrote"}
	case errors.Is(err, client.ErrNoLogKey):
		return &cli.Failure{Err: err, Todo: "logs in client.yaml pins the key of another log; the token was minted, and is not printed"}
	case errors.Is(err, client.ErrUnverified):
		return &cli.Failure{Err: err, Todo: "do not trust this server's record before you know why; the token was minted, and is not printed"}
	}
	return byFlag(err)
}

// mintedJSON is what -o json prints. The receipt's texts are as they came: proof is a c2sp.org/tlog-proof, entry the stored line, as a
// string and not as JSON in JSON, for its leaf hash is that of its bytes.
type mintedJSON struct {
	Token      string       `json:"token"`
	KeyID      string       `json:"keyId"`
	IssueTime  time.Time    `json:"issueTime"`
	ExpireTime time.Time    `json:"expireTime"`
	UseUntil   time.Time    `json:"useUntil"`
	Refresh    time.Time    `json:"refreshTime"`
	Reused     bool         `json:"reused"`
	Scope      []string     `json:"scope"`
	SHA256     string       `json:"sha256"`
	Receipt    *receiptJSON `json:"receipt,omitempty"`
}

type receiptJSON struct {
	Origin   string `json:"origin"`
	Index    int64  `json:"index"`
	LeafHash string `json:"leafHash"`
	Proof    string `json:"proof"`
	Entry    string `json:"entry"`
}

// minted is a token as JSON, without its receipt.
func minted(t *client.Token) mintedJSON {
	return mintedJSON{
		Token: t.Text(), KeyID: t.KeyID, IssueTime: t.Issued, ExpireTime: t.Expires, UseUntil: t.UseUntil,
		Refresh: t.Refresh, Reused: t.Reused,
		Scope: append([]string{}, t.Scope...), SHA256: t.SHA256,
	}
}

func (a *app) printToken(t *client.Token, format string) error {
	switch format {
	case "header":
		if _, err := fmt.Fprintln(a.Stdout, t.Header()); err != nil {
			return err
		}
	case "env":
		if _, err := fmt.Fprintf(a.Stdout, "export %s=%s\n", envToken, cli.Quoted(t.Text())); err != nil {
			return err
		}
	case "json":
		out := minted(t)
		if r := t.Receipt; r != nil {
			out.Receipt = &receiptJSON{
				Origin: r.GetOrigin(), Index: r.GetIndex(), LeafHash: base64.StdEncoding.EncodeToString(r.GetLeafHash()),
				Proof: string(r.GetProof()), Entry: string(r.GetEntry()),
			}
		}
		if err := cli.JSON(a.Stdout, out); err != nil {
			return err
		}
	default:
		if _, err := fmt.Fprintln(a.Stdout, t.Text()); err != nil {
			return err
		}
	}
	if r := t.Receipt; r != nil {
		cli.Printf(a.Stderr, "receipt verified: entry %d of %s\n", r.GetIndex(), r.GetOrigin())
	}
	return nil
}

// readAll reads at most one byte more than the limit, so that the caller sees when there was more.
func readAll(r io.Reader, limit int64) ([]byte, error) { return io.ReadAll(io.LimitReader(r, limit+1)) }
