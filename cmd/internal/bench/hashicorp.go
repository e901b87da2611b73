package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/vaultstore"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// hashicorp is a HashiCorp Vault of its own process, over TLS, that deploy/vault/setup.sh has set up.
type hashicorp struct {
	*vaultrun.Vault
	dir        string
	connection string // the file that says how it is reached
}

// hashicorp starts one. The first that is started on a machine is built before, which takes minutes.
func (w *workshop) hashicorp(ctx context.Context) (*hashicorp, error) {
	dir, err := os.MkdirTemp(w.dir, "hashicorp-")
	if err != nil {
		return nil, err
	}
	v, err := vaultrun.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	w.closes = append(w.closes, v.Kill)
	h := &hashicorp{v, dir, filepath.Join(dir, "vault.yaml")}
	out, err := v.SetUp(ctx, filepath.Join(dir, "secret-id"))
	if err != nil {
		return nil, err
	}
	return h, os.WriteFile(h.connection, out, 0o600)
}

// initArgs put the store into Vault. The KEK is a file, as it is without Vault.
func (h *hashicorp) initArgs() []string {
	return []string{"--vault", h.connection, "--store", "vault", "--kek", "file:kek"}
}

func (h *hashicorp) open(ctx context.Context, _ string) (store.Backend, error) {
	token := filepath.Join(h.dir, "token")
	if err := os.WriteFile(token, []byte(h.Token), 0o600); err != nil {
		return nil, err
	}
	conf := vaultstore.Config{Address: h.Address, CA: h.CA, Auth: vaultstore.Auth{TokenFile: token}}
	return vaultstore.Open(ctx, conf, vaultstore.Place{})
}

// benchVault sets Signet on a store in Vault beside Signet on its own file. Minting asks Vault nothing, so neither the rate nor
// the time of one mint should tell them apart.
func benchVault(ctx context.Context, w *workshop, r rounds) error {
	h, err := w.hashicorp(ctx)
	if err != nil {
		return err
	}
	disk, err := w.vault(ctx, "on-disk", onDisk{}, 10, policyDocument(10))
	if err != nil {
		return err
	}
	shared, err := w.vault(ctx, "in-vault", h, 10, policyDocument(10))
	if err != nil {
		return err
	}
	rs, err := compare(ctx, callers, r, shared.target, disk.target)
	if err != nil {
		return err
	}
	noteBoth(callers, "on Vault", rs[0], "on bbolt", rs[1])
	bar("mint-rate-vault", rs[0].of(rs[1], rate), "of-bbolt", ">=", 0.9)
	if rs, err = compare(ctx, 1, r, shared.target, disk.target); err != nil {
		return err
	}
	noteBoth(1, "on Vault", rs[0], "on bbolt", rs[1])
	bar("mint-p50-vault", rs[0].of(rs[1], p50), "of-bbolt", "<=", 1.1)
	return nil
}
