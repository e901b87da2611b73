package server

import (
	"context"
	"errors"
)

// Check says everything that is wrong with cfg, and writes nothing. With a Backend it also opens the store, which
// proves that a KEK fits and that the root is ours; without one it looks at the config alone, so that it can be asked
// while the server runs.
func Check(ctx context.Context, cfg Config) error {
	return errors.Join(check(ctx, cfg), cfg.closeBackend())
}

func check(ctx context.Context, cfg Config) error {
	errs := []error{cfg.validateValues()}
	if cfg.Now != nil {
		_, err := newAuthenticator(cfg)
		errs = append(errs, err)
	}
	if cfg.Backend != nil && len(cfg.KEKs) == 0 {
		errs = append(errs, errNoKEK)
	}
	if err := errors.Join(errs...); err != nil || cfg.Backend == nil {
		return err
	}
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	return st.Close()
}
