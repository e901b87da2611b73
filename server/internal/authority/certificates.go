package authority

import (
	"context"
	"crypto"
	"net"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/p8signet/signet/server/policy"
)

// CertificateRequest asks for a caller's certificate, or for the server's.
type CertificateRequest struct {
	Request
	// CSR is a PKCS#10 request, DER. Only its public key is used.
	CSR []byte
	// URI is the SPIFFE id to certify, within the trust domain; for a caller.
	URI string
	// Hosts are the DNS names and IP addresses to certify, for the server. Then there is no URI, and no TTL.
	Hosts []string
	// TTL is how long it is valid; the CA's limit when 0: 30 days, 90 for an operator. More is refused.
	TTL time.Duration
}

// Certificate is an issued certificate.
type Certificate struct {
	// DER is the certificate, CA the CA's, both DER.
	DER, CA []byte
	// Fingerprint is "sha256:<hex>" of DER.
	Fingerprint string
	NotAfter    time.Time
}

// IssueCertificate certifies a caller, or the server, with the vault's own CA. The entry with the certificate's hash is
// durable before the certificate is released. Only an operator may have an operator's or the server's certificate made,
// and while a gap is open nobody else may have any made: the policy that would allow it may be yesterday's.
func (s *System) IssueCertificate(ctx context.Context, p policy.Principal, req CertificateRequest) (Certificate, error) {
	want := ask{id: req.ID, want: policy.Request{Action: policy.SystemIssue}}
	return answered(ctx, &s.core, p, want, func(call *call) (Certificate, error) {
		byOperator := slices.Contains(s.operators, p.ID)
		if call.state.stop != nil && !byOperator {
			return Certificate{}, call.state.stop
		}
		public, err := requestedKey(req.CSR)
		if err != nil {
			return Certificate{}, malformed(err.Error())
		}
		if len(req.Hosts) > 0 {
			return s.certifyServer(call, req, byOperator, public)
		}
		id, life, err := s.certifiable(req, byOperator)
		if err != nil {
			return Certificate{}, err
		}
		issued, err := s.ca.caller(id, public, life, s.now())
		call.entry.Issued = issuedEntry(req.URI, issued)
		return issued, err
	})
}

// certifiable judges the id and the life that are asked for.
func (s *System) certifiable(req CertificateRequest, byOperator bool) (*url.URL, time.Duration, error) {
	if err := policy.ValidateID(req.URI); err != nil {
		return nil, 0, malformed(err.Error())
	}
	id, err := url.Parse(req.URI)
	if err != nil || id.String() != req.URI {
		return nil, 0, malformed("the id is not a SPIFFE id in its plain spelling")
	}
	if id.Host != s.config.TrustDomain {
		return nil, 0, malformed("the id is not in the trust domain of the vault's CA")
	}
	limit := callerLife
	if slices.Contains(s.operators, req.URI) {
		if !byOperator {
			return nil, 0, &Error{Kind: ErrDenied, Reason: ReasonDenied, Public: "denied"}
		}
		limit = operatorLife
	}
	switch {
	case req.TTL == 0:
		return id, limit, nil
	case req.TTL < time.Minute || req.TTL > limit:
		return nil, 0, malformed("the certificate's life is not between a minute and what the CA gives: 30 days, 90 for an operator")
	}
	return id, req.TTL, nil
}

// host is a DNS name without wildcards.
var host = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// certifyServer certifies the server for what was asked. Whoever holds such a certificate is this server to every caller,
// so that no grant gives it.
func (s *System) certifyServer(call *call, req CertificateRequest, byOperator bool, public crypto.PublicKey) (Certificate, error) {
	if !byOperator {
		return Certificate{}, &Error{Kind: ErrDenied, Reason: ReasonDenied, Public: "denied"}
	}
	if req.URI != "" || req.TTL != 0 {
		return Certificate{}, malformed("a server's certificate has neither a SPIFFE id nor a life of one's choice")
	}
	for _, h := range req.Hosts {
		if net.ParseIP(h) == nil && (len(h) > 253 || !host.MatchString(h)) {
			return Certificate{}, malformed("a host is neither a DNS name nor an IP address")
		}
	}
	return s.forServer(call, req.Hosts, public)
}

// forServer makes the server's certificate and says so in the entry.
func (s *System) forServer(call *call, hosts []string, public crypto.PublicKey) (Certificate, error) {
	issued, err := s.ca.server(hosts, public, s.now())
	call.entry.Issued = issuedEntry("https://"+hosts[0], issued)
	call.entry.Justification = "the server's own certificate"
	return issued, err
}

// issueServer certifies the server itself, for Init.
func (s *System) issueServer(ctx context.Context, p policy.Principal, hosts []string, public any) (Certificate, error) {
	return answered(ctx, &s.core, p, ask{want: policy.Request{Action: policy.SystemIssue}}, func(call *call) (Certificate, error) {
		return s.forServer(call, hosts, public)
	})
}
