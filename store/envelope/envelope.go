package envelope

import "context"

// KEK wraps root keys. Implementations are in store/kek.
//
// Both methods are safe for concurrent use and may take as long as a call to a
// remote service does.
type KEK interface {
	// URI says which KEK this is, as configured: "file:kek".
	URI() string
	// Wrap seals key; aad must be given again to Unwrap.
	Wrap(ctx context.Context, key, aad []byte) ([]byte, error)
	// Unwrap opens what Wrap made. The caller wipes the key.
	Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error)
}
