package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// ErrGapAhead is wrapped by Check for what does not keep a server from starting, but from minting until an operator
// has acknowledged it.
var ErrGapAhead = errors.New("a server would start with a gap and mint nothing until it is acknowledged")

// Check says everything that is wrong with cfg, and writes nothing. With a Backend it also opens the store, which
// proves that a KEK fits and that the root is ours, and looks at the node's log in LogDir, in the words of Fsck; without
// one it looks at the config alone, so that it can be asked while the server runs.
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
	return checkVault(ctx, cfg)
}

// checkVault looks at store and log as they would be found by a server that starts.
func checkVault(ctx context.Context, cfg Config) (err error) {
	st, err := openStore(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if st.Replicated() {
		if err := st.CheckRegisters(ctx); err != nil {
			return err
		}
	}
	var gaps []string
	var errs []error
	for _, gap := range st.Snapshot().Stops(cfg.Node) {
		gaps = append(gaps, openGap(gap))
	}
	if cfg.LogFS == nil {
		log, err := inspectLog(ctx, cfg, st)
		if err != nil {
			return err
		}
		for _, f := range log.findings {
			if f.gap {
				gaps = append(gaps, f.text)
			} else {
				errs = append(errs, errors.New(f.text))
			}
		}
	}
	if len(gaps) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", ErrGapAhead, strings.Join(gaps, "; ")))
	}
	return errors.Join(errs...)
}
