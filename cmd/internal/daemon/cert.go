package daemon

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store/audit"
)

func (p *program) cert() *cobra.Command {
	var dir, uri, out string
	var own bool
	var hosts []string
	cmd := &cobra.Command{
		Use:   "cert --dir DIR {--uri URI --out DIR | --server}",
		Short: "Make a caller's certificate and client.yaml, or renew the server's",
		Long: `Make a key and a certificate for a caller, with a client.yaml that names them and the vault. The key is made here and goes nowhere
else. The certificate lives 30 days, an operator's 90; make a new one before it ends.

The running server is asked, as DIR/operator; where none runs, the vault itself is opened. Either way the certificate is in the
audit log before it is written. To renew an operator's certificate that has ended, stop the server and run this again.

With --server the server's own certificate is renewed, for the names that it has and those of --host: its file is replaced, its key
stays. A running server takes it up by itself, within seconds. When it has ended already, stop the server, and run this.`,
		Example: "  signetd cert --dir vault --uri spiffe://signet.local/ci/1 --out ci\n" +
			"  SIGNET_CONFIG=ci/client.yaml signet mint ios-release\n" +
			"  signetd cert --dir vault --server",
		Args: cli.Args(),
		RunE: func(c *cobra.Command, _ []string) error {
			if own {
				return p.renew(c.Context(), dir, hosts)
			}
			if uri == "" || out == "" || len(hosts) > 0 {
				return cli.Malformedf("see: signetd cert --help", "a caller's certificate wants --uri and --out, and the server's --server, to which --host belongs")
			}
			return interruptible(c.Context(), func(ctx context.Context) error { return p.certify(ctx, dir, uri, out) })
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the vault's directory")
	cmd.Flags().StringVar(&uri, "uri", "", "whom to certify, a SPIFFE id of the vault's trust domain")
	cmd.Flags().StringVar(&out, "out", "", "a new directory for key.pem, cert.pem, ca.pem and client.yaml")
	cmd.Flags().BoolVar(&own, "server", false, "renew the server's own certificate")
	cmd.Flags().StringArrayVar(&hosts, "host", nil, "with --server, a further name or address by which callers reach the server; may be repeated")
	cli.Required(cmd, "dir")
	cmd.MarkFlagsMutuallyExclusive("server", "uri")
	cmd.MarkFlagsMutuallyExclusive("server", "out")
	return cmd
}

func (p *program) certify(ctx context.Context, dir, uri, out string) error {
	conf, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		return err
	}
	if id, err := spiffeid.FromString(uri); err != nil || id.Path() == "" || id.TrustDomain().Name() != conf.TrustDomain {
		return cli.Malformedf("such as spiffe://"+conf.TrustDomain+"/ci/1", "--uri is not a SPIFFE id of the vault's trust domain")
	}
	operator, err := client.LoadConfig(filepath.Join(dir, operatorDir, clientFile))
	if err != nil {
		return &cli.Failure{Err: err, Todo: "the new client.yaml takes addresses and log keys from it"}
	}
	var cert *server.Certificate
	err = newDir(out, func(tmp string) error {
		key, csr, err := newRequest()
		if err != nil {
			return err
		}
		if cert, err = p.issue(ctx, conf, operator, server.CertificateRequest{CSR: csr, URI: uri}); err != nil {
			return err
		}
		for name, data := range map[string][]byte{
			"key.pem":  key,
			"cert.pem": certificatePEM(cert.DER),
			"ca.pem":   certificatePEM(cert.CA),
		} {
			if err := cli.WriteNew(filepath.Join(tmp, name), data, 0o600); err != nil {
				return err
			}
		}
		return writeClientConfig(tmp, client.Config{Addresses: operator.Addresses, Logs: operator.Logs, ServerName: operator.ServerName})
	})
	if err != nil {
		return todo(err)
	}
	cli.Printf(p.Stdout, "Wrote %s. Use it with: SIGNET_CONFIG=%s\n", out, filepath.Join(out, clientFile))
	return cli.Facts(p.Stdout,
		[2]string{"caller", uri},
		[2]string{"certificate", cert.Fingerprint},
		[2]string{"expires", cert.NotAfter.UTC().Format(time.RFC3339)},
	)
}

// newRequest makes a key, as PEM, and a PKCS#10 request of it, as DER.
func newRequest() (key, csr []byte, err error) {
	priv, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	csr, err = requestOf(priv)
	return key, csr, err
}

// newKey makes a key, and its PEM, which has the form of the files that Apple gives out.
func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("writing the key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// requestOf is a PKCS#10 request for a key, as DER.
func requestOf(key crypto.PrivateKey) ([]byte, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the certificate's key does not sign")
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, signer)
	if err != nil {
		return nil, fmt.Errorf("making the certificate request: %w", err)
	}
	return csr, nil
}

// issue asks the running server, and opens the vault where none answers. Two processes of one node never have it open: the lock of
// the store, or of the log, tells whether one runs that does not answer.
func (p *program) issue(ctx context.Context, conf *config, operator client.Config, req server.CertificateRequest) (*server.Certificate, error) {
	cert, err := askServer(ctx, operator, req)
	if !unreachable(err) {
		return cert, err
	}
	answer := err
	sc, err := p.openUnserved(ctx, conf)
	if err == nil {
		sc.Logger = discard()
		cert, err = server.IssueCertificate(ctx, sc, conf.Operators[0], req)
	}
	// A store in Vault may be open elsewhere; then it is the node's log that tells.
	if errors.Is(err, errInUse) || errors.Is(err, audit.ErrLocked) {
		if errors.Is(answer, client.ErrUntrusted) {
			return nil, answer
		}
		return nil, &cli.Failure{Code: cli.Unavailable, Err: fmt.Errorf("a server has the vault open, and does not answer the operator's client: %w", answer),
			Todo: "see that addresses in operator/client.yaml is where it listens, or stop it and run this again"}
	}
	return cert, err
}

// unreachable says whether err means that no server answered at all, or one that is not this vault's.
func unreachable(err error) bool {
	e, ok := errors.AsType[*client.Error](err)
	return ok && (errors.Is(err, client.ErrUntrusted) || errors.Is(err, client.ErrUnavailable) && e.Reason() == "")
}

func askServer(ctx context.Context, operator client.Config, req server.CertificateRequest) (_ *server.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := client.Dial(operator)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	resp, err := c.IssueCertificate(ctx, &signetv1.IssueCertificateRequest{Csr: req.CSR, Uri: req.URI, Hosts: req.Hosts})
	if err != nil {
		return nil, err
	}
	return &server.Certificate{
		DER: resp.GetCertificate(), CA: resp.GetCaCertificate(), Fingerprint: resp.GetFingerprint(), NotAfter: resp.GetExpireTime().AsTime(),
	}, nil
}
