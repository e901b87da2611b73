package vaultstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store"
)

// registersName is the folder of the registers. A register is a path of its own in it, and its version is that of KV v2.
const registersName = "registers"

func registerName(name string) string { return registersName + "/" + name }

// Register implements store.Registers. Where something lies that is not ours, or whose current version was deleted by hand,
// there is no value but a version: it does not authenticate, and can be written over.
func (b *Backend) Register(ctx context.Context, name string) ([]byte, uint64, error) {
	value, version, err := b.register(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("reading a register: %w", err)
	}
	return value, version, nil
}

func (b *Backend) register(ctx context.Context, name string) ([]byte, uint64, error) {
	if err := store.CheckRegister(name); err != nil {
		return nil, 0, err
	}
	s, err := b.read(ctx, b.data(registerName(name)), nil)
	if err != nil || s == nil {
		return nil, 0, err
	}
	meta, _ := s.Data["metadata"].(map[string]any)
	version, ok := number(meta, "version")
	if !ok || version < 1 {
		return nil, 0, errors.New("vault answered without the version of the register")
	}
	data, _ := s.Data["data"].(map[string]any)
	text, ok := data["value"].(string)
	value, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return nil, uint64(version), nil
	}
	return append([]byte{}, value...), uint64(version), nil
}

// SetRegister implements store.Registers. The request is made once and within one deadline: it is not repeated, so that when
// it began says when it was made, and a version that is there of a sudden is not taken for one's own.
func (b *Backend) SetRegister(ctx context.Context, name string, version uint64, value []byte) error {
	if err := b.setRegister(ctx, name, version, value); err != nil {
		return fmt.Errorf("writing a register: %w", err)
	}
	return nil
}

func (b *Backend) setRegister(ctx context.Context, name string, version uint64, value []byte) error {
	if err := store.CheckRegister(name); err != nil {
		return err
	}
	if version >= math.MaxInt64 {
		return errors.New("there is no such version")
	}
	f := write(b.data(registerName(name)), int64(version), map[string]any{"value": base64.StdEncoding.EncodeToString(value)})
	s, err := b.c.once(ctx, f)
	switch {
	case mismatch(err):
		return store.ErrConflict
	case err != nil:
		return outcome(err)
	case s == nil:
		return fmt.Errorf("%w: what answered is not Vault", store.ErrUnknown)
	}
	if n, ok := number(s.Data, "version"); !ok || n != int64(version)+1 {
		return fmt.Errorf("%w: what answered is not Vault, or it is another version than the next", store.ErrUnknown)
	}
	return nil
}

// RemoveRegister implements store.Registers, with all that Vault knows of it. Like SetRegister it is one request, so that none
// of ours is under way when it has answered: a later one could remove what was made anew. An error that is not
// store.ErrUnknown says that it has not happened.
func (b *Backend) RemoveRegister(ctx context.Context, name string) error {
	err := store.CheckRegister(name)
	if err == nil {
		_, err = b.c.once(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
			return v.DeleteWithContext(ctx, b.metadata(registerName(name)))
		})
		if err != nil {
			err = outcome(err)
		}
	}
	if err != nil {
		return fmt.Errorf("removing a register: %w", err)
	}
	return nil
}

// ListRegisters implements store.Registers.
func (b *Backend) ListRegisters(ctx context.Context) ([]string, error) {
	names, err := b.names(ctx, registersName)
	if err != nil {
		return nil, fmt.Errorf("listing registers: %w", err)
	}
	for _, name := range names {
		if store.CheckRegister(name) != nil {
			return nil, errors.New("listing registers: there is one whose name is not that of a register: it is not one of ours")
		}
	}
	return names, nil
}
