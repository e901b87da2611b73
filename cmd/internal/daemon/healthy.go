package daemon

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// askHealth is how long the server is waited for.
const askHealth = 5 * time.Second

func (p *program) healthy() *cobra.Command {
	var file string
	var mint bool
	cmd := &cobra.Command{
		Use:   "healthy --config FILE",
		Short: "Say whether the server of this config answers",
		Long: `Ask the server of this config, on this machine, how it is. It is for whoever watches it where nothing else can ask, as in a
container; it presents no certificate, and opens nothing of the vault. The exit code is 0 when the server takes calls, and 6 when it
does not answer. A server that cannot mint takes calls all the same, because disabling and revoking must go on: with --mint the exit
code is 6 then, too.`,
		Example: "  signetd healthy --config vault/signetd.yaml\n  signetd healthy --config vault/signetd.yaml --mint",
		Args:    cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := loadConfig(file)
			if err != nil {
				return err
			}
			mints, err := askServing(c.Context(), conf)
			switch {
			case err != nil:
				return &cli.Failure{Code: cli.Unavailable, Err: err}
			case mints:
				cli.Printf(p.Stdout, "takes calls, and can mint\n")
			case mint:
				return &cli.Failure{Code: cli.Unavailable, Err: errors.New("it takes calls, and cannot mint now"), Todo: "signet system status says why"}
			default:
				cli.Printf(p.Stdout, "takes calls, and cannot mint now: signet system status says why\n")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "the vault's signetd.yaml")
	cmd.Flags().BoolVar(&mint, "mint", false, "fail also when it cannot mint")
	cli.Required(cmd, "config")
	return cmd
}

// askServing asks the server whether it can mint. An error means that it does not take calls.
func askServing(ctx context.Context, conf *config) (mints bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askHealth)
	defer cancel()
	address := conf.Listen
	if everywhere(address) {
		_, port, _ := net.SplitHostPort(address) // it is valid
		address = net.JoinHostPort("localhost", port)
	}
	own, err := ownKey(conf.TLS.Certificate)
	if err != nil {
		return false, err
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		// Whoever holds the key of our certificate is our server, by whatever name it is reached, and until when the certificate lives
		// is not the question.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if !own.Equal(s.PeerCertificates[0].PublicKey) {
				return errors.New("another server answers")
			}
			return nil
		},
	})))
	if err != nil {
		return false, fmt.Errorf("asking the server: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return false, fmt.Errorf("the server at %s does not answer: %w", address, err)
	}
	return resp.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING, nil
}

// publicKey is what all public keys of certificates are.
type publicKey interface{ Equal(crypto.PublicKey) bool }

// ownKey is the public key of a certificate.
func ownKey(path string) (publicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the server's certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate", path)
	}
	key, ok := cert.PublicKey.(publicKey)
	if !ok {
		return nil, fmt.Errorf("the certificate in %s is of no key that a server can have", path)
	}
	return key, nil
}
