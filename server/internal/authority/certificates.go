package authority

import (
	"context"
	"time"

	"github.com/p8signet/signet/server/policy"
)

// CertificateRequest asks for a caller's certificate.
type CertificateRequest struct {
	Request
	// CSR is a PKCS#10 request, DER. Only its public key is used.
	CSR []byte
	// URI is the SPIFFE id to certify, within the trust domain.
	URI string
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

// IssueCertificate certifies a caller. The entry with the certificate's hash is durable before it is released.
func (s *System) IssueCertificate(ctx context.Context, p policy.Principal, req CertificateRequest) (Certificate, error) {
	panic("being written")
}
