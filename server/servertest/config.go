package servertest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/p8signet/signet/client"
)

// What NewMinting makes, and NewMintingOf.
const (
	KeyName  = "asc-release"
	Profile  = "ios-release"
	CallerID = "spiffe://signet.test/ci/1"
)

// NewMinting is a server with the key KeyName and a policy by which CallerID, and nobody else, may mint Profile; and CallerID's client,
// made by client.Dial and closed with the test.
func NewMinting(t testing.TB) (*Server, *client.Client) {
	t.Helper()
	return NewMintingOf(t, "app-store-connect", "app_store_connect: {}, ttl: 10m")
}

// NewMintingOf is NewMinting with another kind of key, as NewKey makes it, and another profile: what it says beside its key, such as
// "apns: {}" for a key of the kind "developer-portal".
func NewMintingOf(t testing.TB, kind, profile string) (*Server, *client.Client) {
	t.Helper()
	s := New(t, Options{Keys: map[string]string{KeyName: kind}, Policy: `version: 1
profiles:
  ` + Profile + ": {key: " + KeyName + ", " + profile + `}
grants:
  - {id: ci, to: [{mtls: ` + CallerID + `}], mint: [` + Profile + `], rate: none}
`})
	return s, s.DialClient(CallerID)
}

// DialClient is client.Dial with a ClientConfig. Unlike Client it judges certificates by the wall clock, and makes a connection of
// its own, as a program would.
func (s *Server) DialClient(id string) *client.Client {
	s.t.Helper()
	c, err := client.Dial(s.ClientConfig(id))
	s.check("dialling", err)
	s.t.Cleanup(func() { s.check("closing a client", c.Close()) })
	return c
}

// ClientConfig is a client's configuration as a spiffe id, with files of its own.
func (s *Server) ClientConfig(id string) client.Config {
	s.t.Helper()
	config, err := client.LoadConfig(s.WriteConfig(s.t.TempDir(), id))
	s.check("reading the client's config", err)
	return config
}

// WriteConfig puts what a caller needs into a directory, with a certificate for a spiffe id, and answers the path of its client.yaml:
// the value for SIGNET_CONFIG. What an earlier call put there is replaced: a renewed certificate.
func (s *Server) WriteConfig(dir, id string) string {
	s.t.Helper()
	certificate := s.operator()
	if id != OperatorID {
		certificate = s.Certificate(id)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	s.check("encoding a key", err)
	text, err := yaml.Marshal(client.Config{
		Addresses: []string{s.addr}, Logs: []client.LogKey{{Origin: s.LogOrigin(), Key: s.LogKey()}},
		CA: "ca.pem", Certificate: "cert.pem", Key: "key.pem",
	})
	s.check("writing the client's config", err)
	path := filepath.Join(dir, "client.yaml")
	for file, data := range map[string][]byte{
		path:                           text,
		filepath.Join(dir, "ca.pem"):   s.made.CA,
		filepath.Join(dir, "cert.pem"): pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		filepath.Join(dir, "key.pem"):  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		s.check("writing a file of the client's", os.WriteFile(file, data, 0o600))
	}
	return path
}

// operator is the certificate that the vault was made with.
func (s *Server) operator() tls.Certificate {
	s.t.Helper()
	certificate, err := tls.X509KeyPair(s.made.OperatorCertificate, s.made.OperatorKey)
	s.check("reading the operator's certificate", err)
	return certificate
}
