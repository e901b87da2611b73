package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server/apple"
)

func (a *app) mint() *cobra.Command {
	var o client.MintOptions
	cmd := &cobra.Command{
		Use:   "mint PROFILE",
		Short: "Get a token, or another thing that is signed for Apple",
		Long: `Get a token for a profile of the policy. What its user needs, and nothing else, goes to standard output.

You are given the same token again until half of its life is gone, or a new one with --fresh; a profile with reuse: never gives a new
one every time. You may ask for less than the profile grants: a shorter life, fewer requests. The ttl is the token's whole lifetime; the first 30
seconds of it lie in the past, so that no clock of Apple's refuses the token.

Some families want to be told something with every call; signet profile show has the very command line. What is signed for an offer or
a request of StoreKit's is new every time, and Apple takes it once.

  a promotional offer           --product --offer, and if wanted --transaction, or --account in the original style
  an introductory offer         --product --transaction --allow-introductory-offer=true|false
  an Advanced Commerce request  --request FILE, or - for standard input
  a map snapshot                --snapshot QUERY
  an export of iWork's          --file-name NAME
  a marketplace's developer     --developer-id ID

How Apple takes what was minted says which -o fits; with another one nothing is printed.

  token   (unless said) the token, or the URL of a map snapshot; of a promotional offer in the original style what -o app prints
  header  the line of the HTTP header, exactly as Apple writes it for this family
  form    what is posted with a client secret, for curl -d @-; what is your own, such as a code and its grant_type, you add
  app     a JSON object for your app: {"compactJWS","nonce"} for StoreKit, {"keyIdentifier","nonce","timestamp","signature"} for an
          offer in the original style, {"token"} for a page or a developer
  env     a line for a shell, which puts what -o token prints into SIGNET_TOKEN; where the mint fails there is none, so that an old
          value should be unset before
  json    everything that is known of it

For jobs longer than a token there is signet exec.`,
		Example: `  signet mint ios-release
  signet mint ios-builds-read --ttl 5m --scope "GET /v1/apps/1234567890"
  curl -H "$(signet mint ios-builds-read -o header)" https://api.appstoreconnect.apple.com/v1/apps/1234567890
  curl --http2 -H "$(signet mint push -o header)" -H "apns-topic: com.example.app" -d '{"aps":{"alert":"Hi"}}' https://api.push.apple.com/3/device/$DEVICE
  signet mint apple-ads -o form | curl -d @- https://appleid.apple.com/auth/oauth2/token
  signet mint sign-in -o form | curl -d @- -d grant_type=authorization_code -d code=$CODE https://appleid.apple.com/auth/token
  signet mint offers --product com.example.pro --offer winback1 --transaction 1000011859217 -o app
  signet mint intro --product com.example.pro --transaction 1000011859217 --allow-introductory-offer=true -o app
  signet mint commerce --request request.json -o app
  signet mint map --snapshot "center=37.33,-122.0&z=12"
  signet mint keynote --file-name Plan.pdf -o header
  signet mint marketplace --developer-id 27478e71-3bb0-4588-998c-182e2b405577
  eval "$(signet mint ios-release -o env)"
  signet mint ios-release --receipt -o json`,
		Args: cli.Args("PROFILE"),
	}
	askedFor := lessFlags(cmd, &o)
	filledIn := a.fillFlags(cmd)
	cmd.Flags().BoolVar(&o.Receipt, "receipt", false, "get proof that the token is on record, and verify it with the pinned log key")
	cmd.Flags().BoolVar(&o.Fresh, "fresh", false, "get a new token, also where you would be given one again")
	format := cli.Format(cmd, mintFormats...)
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if err := askedFor(); err != nil {
			return err
		}
		var err error
		if o.Call, err = filledIn(); err != nil {
			return err
		}
		if o.Call != nil && len(o.Scope) > 0 {
			return cli.Malformedf("", "--scope limits a token to requests of App Store Connect, and the other flags fill in what other families want: give the one or the others")
		}
		return a.dial(c.Context(), func(ctx context.Context, cl *client.Client) error {
			if err := formatFits(ctx, cl, args[0], *format); err != nil {
				return err
			}
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
	case reasonOf(err) == "UNFIT_REQUEST":
		return &cli.Failure{Err: err, Todo: "signet profile show says what a call of this profile fills in, and has the very command line"}
	case reasonOf(err) == "VALUE_NOT_GRANTED":
		return &cli.Failure{Err: err, Todo: "signet profile show says what the profile allows"}
	}
	return byFlag(err)
}

// reasonOf is the server's reason for an error; empty when it is not the server's.
func reasonOf(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Reason()
	}
	return ""
}

// readAll reads at most one byte more than the limit, so that the caller sees when there was more.
func readAll(r io.Reader, limit int64) ([]byte, error) { return io.ReadAll(io.LimitReader(r, limit+1)) }
