package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Replicated says whether several nodes may share the store: whether its Backend has registers.
func (s *Store) Replicated() bool {
	_, ok := s.cfg.Backend.(Registers)
	return ok
}

func (s *Store) registers() (Registers, error) {
	r, ok := s.cfg.Backend.(Registers)
	if !ok {
		return nil, errors.New("this store has no registers")
	}
	return r, nil
}

// A register is what its writer says, and a line with the root key's name and a MAC, which binds it to the vault and to the
// register's name, and which no root can have.
const registerPrefix = "mac "

// vouched is what the MAC of a register is over.
func vouched(vault, name string, body []byte) []byte {
	return fmt.Appendf(nil, "register\n%s\n%s\n%s", vault, name, body)
}

// Register reads a register and the number of its version: nil and 0 where there is none. One that is not ours, or was changed, is
// ErrDamaged, with its version. It may be stale, or one of ours from earlier: only writing tells.
func (s *Store) Register(ctx context.Context, name string) (body []byte, version uint64, err error) {
	r, err := s.registers()
	if err != nil {
		return nil, 0, err
	}
	value, version, err := r.Register(ctx, name)
	if err != nil {
		return nil, 0, fmt.Errorf("reading register %s: %w", name, err)
	}
	if version == 0 {
		return nil, 0, nil
	}
	i := bytes.LastIndex(value, []byte("\n"+registerPrefix))
	if i < 0 {
		return nil, version, damaged("register "+name, errors.New("it has no MAC"))
	}
	body = value[:i]
	keyID, text, _ := bytes.Cut(value[i+1+len(registerPrefix):], []byte(" "))
	mac := make([]byte, sha256.Size)
	if n, err := hex.Decode(mac, text[:min(len(text), 2*len(mac))]); err != nil || n != len(mac) || len(text) != 2*n {
		return nil, version, damaged("register "+name, errors.New("its MAC is not one"))
	}
	snap := s.Snapshot()
	key, ok := snap.keys[string(keyID)]
	if !ok || !key.CheckMAC(vouched(snap.Vault(), name, body), mac) {
		return nil, version, damaged("register "+name, errors.New("its MAC is wrong, so it has been changed by something other than Signet"))
	}
	return body, version, nil
}

// SetRegister writes a register on top of a version, 0 for where there is none. The errors are those of Registers.SetRegister.
// A crash leaves the old or the new.
func (s *Store) SetRegister(ctx context.Context, name string, version uint64, body []byte) error {
	r, err := s.registers()
	if err != nil {
		return err
	}
	snap := s.Snapshot()
	keyID := snap.root.MACKey
	mac := snap.keys[keyID].MAC(vouched(snap.Vault(), name, body))
	if mac == nil {
		return ErrClosed
	}
	value := fmt.Appendf(nil, "%s\n%s%s %x", body, registerPrefix, keyID, mac)
	if err := r.SetRegister(ctx, name, version, value); err != nil {
		return fmt.Errorf("writing register %s: %w", name, err)
	}
	return nil
}

// RemoveRegister removes a register; one that is not there is passed over.
func (s *Store) RemoveRegister(ctx context.Context, name string) error {
	r, err := s.registers()
	if err != nil {
		return err
	}
	if err := r.RemoveRegister(ctx, name); err != nil {
		return fmt.Errorf("removing register %s: %w", name, err)
	}
	return nil
}

// ListRegisters lists the names of all registers, in any order. One that is made or removed meanwhile may be missing or there.
func (s *Store) ListRegisters(ctx context.Context) ([]string, error) {
	r, err := s.registers()
	if err != nil {
		return nil, err
	}
	names, err := r.ListRegisters(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the registers: %w", err)
	}
	return names, nil
}

// CheckRegisters tries to list and to read registers, as a replica will have to. What lies in them is not judged.
func (s *Store) CheckRegisters(ctx context.Context) error {
	if _, err := s.ListRegisters(ctx); err != nil {
		return err
	}
	if _, _, err := s.Register(ctx, "none"); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	return nil
}
