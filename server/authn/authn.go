// Package authn says who is calling: it judges the certificate that a TLS connection was made with and answers a
// policy.Principal, or why there is none.
//
// Trust: everything in a peer's certificate is hostile until it chains to the one client CA. The identity is the one
// SPIFFE URI SAN and nothing else: the common name is never looked at, DNS names are not identities here.
//
// TLS only *requests* a certificate and never judges one, so that a caller without a good one gets an answer it can
// read. It gets the same one whatever was wrong; the Failure is for the log.
//
// Concurrency: an Authenticator may be used by any number of calls while it reloads. Authenticate verifies a chain
// once per connection and client CA; times are compared on every call. The package keeps no state that a crash could hurt.
package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/credentials"

	"github.com/p8signet/signet/server/policy"
)

// Failure is why nobody was authenticated: a constant of ours, fit for the log and for counting. Callers never see it.
type Failure string

// The failures.
const (
	NotTLS        Failure = "connection without TLS"
	NoCertificate Failure = "no client certificate"
	NotClientAuth Failure = "certificate is not for client authentication"
	IsCA          Failure = "certificate is a CA's"
	NotOneURI     Failure = "certificate does not have exactly one URI SAN"
	NotSPIFFE     Failure = "URI SAN is not a SPIFFE id with a path"
	OtherDomain   Failure = "SPIFFE id of another trust domain"
	NotYetValid   Failure = "certificate is not valid yet"
	Expired       Failure = "certificate has expired"
	UnknownIssuer Failure = "certificate does not chain to the client CA"
)

// maxPresented is how many certificates a caller may present: its own and a few intermediates.
const maxPresented = 4

// Error is the failure itself.
func (f Failure) Error() string { return string(f) }

// Authenticate answers who the connection belongs to. The error is a Failure. It is cheap enough for every call:
// two clock comparisons once the connection's chain was verified against the current client CA.
func (a *Authenticator) Authenticate(info credentials.AuthInfo) (policy.Principal, error) {
	c, ok := info.(*Conn)
	if !ok {
		return policy.Principal{}, NotTLS
	}
	now, trust := a.now(), a.trust.Load()
	v := c.verdict.Load()
	if v == nil || v.trust != trust {
		v = judge(c, trust, now)
		if v.lasting {
			c.verdict.Store(v)
		}
	}
	switch {
	case v.failure != "":
		return policy.Principal{}, v.failure
	case now.Before(v.notBefore):
		return policy.Principal{}, NotYetValid
	case now.After(v.notAfter):
		return policy.Principal{}, Expired
	}
	return v.principal, nil
}

// verdict is what one client CA makes of one connection's certificates; immutable.
type verdict struct {
	trust   *trust
	lasting bool // holds at any time between the times below, or for ever if it is a failure
	failure Failure

	principal           policy.Principal
	notBefore, notAfter time.Time // of the whole chain
}

// judge verifies what a peer presented.
func judge(c *Conn, t *trust, now time.Time) *verdict {
	refuse := func(f Failure) *verdict { return &verdict{trust: t, lasting: true, failure: f} }
	presented := c.State.PeerCertificates
	if len(presented) == 0 {
		return refuse(NoCertificate)
	}
	leaf := presented[0]
	switch {
	// x509 takes a leaf without any extended key usage for one with all of them.
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return refuse(NotClientAuth)
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return refuse(IsCA)
	case len(leaf.URIs) != 1:
		return refuse(NotOneURI)
	case len(presented) > maxPresented:
		return refuse(UnknownIssuer)
	}
	id, err := spiffeid.FromURI(leaf.URIs[0])
	if err != nil || id.Path() == "" {
		return refuse(NotSPIFFE)
	}
	if id.TrustDomain() != t.domain {
		return refuse(OtherDomain)
	}

	// From here on the answer depends on the time, and a failure for its sake is not kept.
	if now.Before(leaf.NotBefore) {
		return &verdict{trust: t, failure: NotYetValid}
	}
	if now.After(leaf.NotAfter) {
		return &verdict{trust: t, failure: Expired}
	}
	intermediates := x509.NewCertPool()
	for _, c := range presented[1:] {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         t.roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		var invalid x509.CertificateInvalidError
		if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			return &verdict{trust: t, failure: Expired} // an issuer: too early or too late
		}
		return refuse(UnknownIssuer)
	}
	v := &verdict{trust: t, lasting: true, notBefore: leaf.NotBefore, notAfter: leaf.NotAfter}
	for _, issuer := range chains[0][1:] {
		v.notBefore = later(v.notBefore, issuer.NotBefore)
		v.notAfter = earlier(v.notAfter, issuer.NotAfter)
	}
	v.principal = policy.Principal{Kind: policy.PrincipalMTLS, ID: id.String(), Certificate: Fingerprint(leaf.Raw), Peer: c.peer}
	return v
}

// Fingerprint is how entries and policies name a certificate: "sha256:<hex>" of its DER.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
