package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/server"
)

// renew replaces the server's certificate by one for the same names and more, and the same key: so it is one file that changes, and
// a crash leaves the old one or the new one, which fits.
func (p *program) renew(ctx context.Context, dir string, more []string) error {
	conf, err := loadConfig(filepath.Join(dir, configFile))
	if err != nil {
		return err
	}
	operator, err := client.LoadConfig(filepath.Join(dir, operatorDir, clientFile))
	if err != nil {
		return &cli.Failure{Err: err, Todo: "the running server is asked as this operator"}
	}
	pair, err := ownPair(conf)
	if err != nil {
		return err
	}
	csr, err := requestOf(pair.PrivateKey)
	if err != nil {
		return err
	}
	names := hostsOf(pair.Leaf)
	for _, h := range more {
		if !slices.Contains(names, h) {
			names = append(names, h)
		}
	}
	cert, err := p.issue(ctx, conf, operator, server.CertificateRequest{CSR: csr, Hosts: names})
	if err != nil {
		return todo(err)
	}
	if err := replaceCertificate(conf.TLS.Certificate, cert); err != nil {
		return err
	}
	cli.Printf(p.Stdout, "Renewed %s. A running server takes it up by itself.\n", conf.TLS.Certificate)
	return cli.Facts(p.Stdout,
		[2]string{"hosts", strings.Join(names, ", ")},
		[2]string{"certificate", cert.Fingerprint},
		[2]string{"expires", cert.NotAfter.UTC().Format(time.RFC3339)},
	)
}

func replaceCertificate(path string, cert *server.Certificate) error {
	return cli.Replace(path, certificatePEM(cert.DER), 0o600)
}

// ownPair is the server's certificate with its key. One that another CA made is not ours to renew: callers trust that CA, and
// perhaps only that.
func ownPair(conf *config) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(conf.TLS.Certificate, conf.TLS.Key)
	if err != nil {
		return tls.Certificate{}, cli.Malformedf("tls in signetd.yaml names both", "the server's certificate and key: %w", err)
	}
	text, err := os.ReadFile(conf.TLS.ClientCA)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("reading the vault's CA: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return tls.Certificate{}, cli.Malformedf("", "%s holds no certificate", conf.TLS.ClientCA)
	}
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return tls.Certificate{}, cli.Malformedf("", "%s: %w", conf.TLS.ClientCA, err)
	}
	if pair.Leaf.CheckSignatureFrom(ca) != nil {
		return tls.Certificate{}, &cli.Failure{Code: cli.Conflict, Err: errors.New("the server's certificate is not of this vault's CA; it was not touched"), Todo: "renew it where it was made"}
	}
	return pair, nil
}

// hostsOf are the names and addresses of a certificate.
func hostsOf(leaf *x509.Certificate) []string {
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
