package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
)

// app is what the commands share.
type app struct {
	cli.Env
	config string // --config
}

func newRoot(env cli.Env) *cobra.Command {
	a := &app{Env: env}
	root := &cobra.Command{
		Use:   "signet",
		Short: "Short-lived Apple API tokens, without holding the key",
		Long: `signet gets short-lived Apple API tokens from a Signet server, and administers it.

Who you are and where the server is stands in a client.yaml, which signetd init and signetd cert write. It is looked for at
--config, then at $SIGNET_CONFIG, then at signet/client.yaml in your config directory ($XDG_CONFIG_HOME, or ~/.config).

Exit codes: 0 ok · 1 other · 2 usage or malformed input · 3 denied, unauthenticated, unknown profile, key off · 4 not found ·
5 conflict or exists · 6 unavailable or rate limited · 130 interrupted · with signet exec, the program's own`,
		Example: `  signet mint ios-release
  signet exec ios-release -- fastlane release
  signet key import asc-release AuthKey_2X9R4HXF34.p8 --kind app-store-connect --issuer-id 57246542-96fe-1a63-e053-0824d011072a
  signet audit list --since 24h`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&a.config, "config", "", "the client.yaml to use")
	root.AddCommand(a.mint(), a.exec(), a.profile(), a.key(), a.policy(), a.audit(), a.system(), a.doctor(), cli.Version("signet", env))
	a.completion(root)
	return root
}

// configPath is which client.yaml to use, and whether somebody named it.
func (a *app) configPath() (path string, named bool, err error) {
	if path = cmp.Or(a.config, a.Getenv("SIGNET_CONFIG")); path != "" {
		return path, true, nil
	}
	path, err = a.usualConfig()
	return path, false, err
}

// loadConfig finds and reads client.yaml. ok is false when nobody named one and there is none at the usual place.
func (a *app) loadConfig() (c client.Config, ok bool, err error) {
	path, named, err := a.configPath()
	if err != nil {
		return client.Config{}, false, nil //nolint:nilerr // no home, so nothing at the usual place
	}
	c, err = client.LoadConfig(path)
	switch {
	case err == nil:
		return c, true, nil
	case errors.Is(err, fs.ErrNotExist) && !named:
		return client.Config{}, false, nil
	default:
		return client.Config{}, false, &cli.Failure{Code: cli.Malformed, Err: err, Todo: "signetd cert writes a client.yaml; --config or SIGNET_CONFIG says which one to use"}
	}
}

// usualConfig is where client.yaml lies when nobody says where.
func (a *app) usualConfig() (string, error) {
	dir, err := a.userDir("XDG_CONFIG_HOME", ".config")
	return filepath.Join(dir, "client.yaml"), err
}

// noConfig says where a client.yaml was looked for.
func (a *app) noConfig() error {
	const todo = "signetd init writes the operator's, signetd cert a caller's: --config FILE, or SIGNET_CONFIG=FILE"
	path, err := a.usualConfig()
	if err != nil {
		return cli.Malformedf(todo, "there is no client.yaml, so it is not known which server to ask: --config and SIGNET_CONFIG name none, and %w", err)
	}
	return cli.Malformedf(todo, "there is no client.yaml, so it is not known which server to ask: --config and SIGNET_CONFIG name none, and %s does not exist", path)
}

// userDir is signet's directory in one of the user's: the environment variable's, or under the home directory.
func (a *app) userDir(variable, underHome string) (string, error) {
	if dir := a.Getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "signet"), nil
	}
	home := a.Getenv("HOME")
	if home == "" {
		return "", fmt.Errorf("neither %s nor HOME is set", variable)
	}
	return filepath.Join(home, underHome, "signet"), nil
}

// dial reads client.yaml and calls f with a client of its server.
func (a *app) dial(ctx context.Context, f func(context.Context, *client.Client) error) (err error) {
	conf, ok, err := a.loadConfig()
	if err != nil {
		return err
	}
	if !ok {
		return a.noConfig()
	}
	c, err := client.Dial(conf)
	if err != nil {
		return &cli.Failure{Code: cli.Malformed, Err: err, Todo: "client.yaml names the files ca, certificate and key"}
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return f(ctx, c)
}

// readInput reads a file, or standard input for "-", up to a limit.
func (a *app) readInput(path string, limit int64) ([]byte, error) {
	r := a.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, &cli.Failure{Code: cli.Malformed, Err: err}
		}
		defer f.Close() //nolint:errcheck // only read
		if st, err := f.Stat(); err == nil && st.IsDir() {
			return nil, cli.Malformedf("", "%s is a directory", path)
		}
		r = f
	}
	data, err := readAll(r, limit)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		clear(data)
		return nil, cli.Malformedf("", "%s is larger than %d bytes, more than such a file can have", path, limit)
	}
	return data, nil
}
