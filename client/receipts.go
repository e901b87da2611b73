package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/p8signet/signet/proto/auditlog"
)

// keptReceipt is a receipt as KeepReceipts writes it, with the field names of signet mint --receipt -o json. Both texts are as they
// came: a c2sp.org/tlog-proof, and the entry's stored line, of whose bytes the proof is.
type keptReceipt struct {
	Proof string `json:"proof"`
	Entry string `json:"entry"`
}

// KeepReceipts is a TokenSourceOptions.Keep that writes every token's receipt into a directory, which it makes if need be, as
// SHA256.json after the token. It is there, synced, before the token is given out; a crash leaves it whole or not at all, and maybe a
// file that begins with a dot. Neither part of it holds the token. A token that is given again keeps its first receipt. Nothing is
// ever deleted.
func KeepReceipts(dir string) func(*Token) error {
	return func(t *Token) error {
		if t.Receipt == nil {
			return errors.New("keeping a receipt: the token has none")
		}
		data, err := json.MarshalIndent(keptReceipt{Proof: string(t.Receipt.GetProof()), Entry: string(t.Receipt.GetEntry())}, "", " ")
		if err != nil {
			return fmt.Errorf("keeping a receipt: %w", err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("keeping a receipt: %w", err)
		}
		if err := writeNew(dir, t.SHA256+".json", append(data, '\n')); err != nil {
			return fmt.Errorf("keeping a receipt: %w", err)
		}
		return nil
	}
}

// writeNew puts a file on disk, whole or not at all, unless there is one of that name.
func writeNew(dir, name string, data []byte) (err error) {
	path := filepath.Join(dir, name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.CreateTemp(dir, ".receipt-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// VerifyReceipt verifies what KeepReceipts wrote with the pinned keys, asking nobody, and answers the entry that it proves to be in
// the log: which token was given to whom, when, by which grant. ErrUnverified or ErrNoLogKey when it proves nothing.
func (c Config) VerifyReceipt(file []byte) (*auditlog.Entry, error) {
	ks, err := parseLogs(c.Logs)
	if err != nil {
		return nil, err
	}
	var kept keptReceipt
	if err := json.Unmarshal(file, &kept); err != nil {
		return nil, fmt.Errorf("%w: this is not a receipt: it is not JSON with proof and entry in it", ErrUnverified)
	}
	if _, err := ks.proved([]byte(kept.Proof), []byte(kept.Entry)); err != nil {
		return nil, err
	}
	e, err := auditlog.ParseEntry([]byte(kept.Entry))
	if err != nil {
		return nil, fmt.Errorf("%w: the entry: %w", ErrUnverified, err)
	}
	return e, nil
}
