package vaultstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/p8signet/signet/store"
)

// What Open and Root refuse by name.
var (
	// ErrMount says that the mount is not one that a vault can be kept in.
	ErrMount = errors.New("this mount of Vault cannot keep a vault")
	// ErrRootGone says that there was a root and it is not there any more: it, or all of Vault's record of it, was deleted.
	ErrRootGone = errors.New("the root is gone from Vault: it was there, and has been deleted")
)

// Where a vault is kept unless it is said.
const (
	DefaultMount = "signet"
	DefaultPath  = "vault"
)

// Place is where in Vault a vault is kept.
type Place struct {
	Mount string // of the KV v2 engine; "" is DefaultMount
	Path  string // below it; "" is DefaultPath
}

// Validate says what is wrong with the names, without looking for them.
func (p Place) Validate() error {
	_, _, err := p.clean()
	return err
}

func (p Place) clean() (mount, path string, err error) {
	if mount, err = mountPath("the mount of the store", orElse(p.Mount, DefaultMount)); err != nil {
		return "", "", err
	}
	path, err = mountPath("the path of the store", orElse(p.Path, DefaultPath))
	return mount, path, err
}

// Backend is a store in Vault. It implements store.Backend and store.Registers.
type Backend struct {
	c      *client
	mount  string
	path   string
	marked atomic.Bool      // that there was a root is known to be written down
	drops  chan []store.Ref // for sweep
	swept  chan struct{}
	sweep  context.CancelFunc
	closed sync.Once
}

// How many replaced blobs' lists wait to be deleted before they are left to store.Collect.
const maxDrops = 64

// Open signs in to Vault and looks at the mount: one that is not KV v2, or that deletes what it keeps after a time, is
// ErrMount. It makes nothing: a place without a root is one for store.Create. The Backend stays signed in until Close.
func Open(ctx context.Context, cfg Config, at Place) (*Backend, error) {
	mount, path, err := at.clean()
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	c, err := dial(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("opening the store in Vault: %w", err)
	}
	b := &Backend{c: c, mount: mount, path: path, drops: make(chan []store.Ref, maxDrops), swept: make(chan struct{})}
	if err := b.check(ctx); err != nil {
		c.close()
		return nil, fmt.Errorf("opening the store in Vault, mount %s, path %s: %w", mount, path, err)
	}
	sctx, cancel := context.WithCancel(context.Background())
	b.sweep = cancel
	go b.sweeper(sctx)
	return b, nil
}

func (b *Backend) data(name string) string     { return b.mount + "/data/" + b.path + "/" + name }
func (b *Backend) metadata(name string) string { return b.mount + "/metadata/" + b.path + "/" + name }
func blobName(ref store.Ref) string            { return blobsName + "/" + ref.String() }

const (
	rootName    = "root"
	createdName = "created"
	blobsName   = "blobs"
)

// check refuses a mount that would lose what is put into it.
func (b *Backend) check(ctx context.Context) error {
	s, err := b.read(ctx, "sys/internal/ui/mounts/"+b.mount, nil)
	if status(err) == http.StatusForbidden {
		return fmt.Errorf("%w: it is not there, or the policy allows nothing in it: %w", ErrMount, err)
	}
	if err != nil {
		return err
	}
	if s == nil {
		return fmt.Errorf("%w: it is not there", ErrMount)
	}
	options, _ := s.Data["options"].(map[string]any)
	version, _ := options["version"].(string)
	if kind, _ := s.Data["type"].(string); kind != "kv" && kind != "generic" {
		return fmt.Errorf("%w: it is not a key-value engine; make one of version 2 (deploy/vault/setup.sh)", ErrMount)
	}
	if version != "2" {
		return fmt.Errorf("%w: it is KV version 1, which has no check-and-set; make one of version 2 (deploy/vault/setup.sh)", ErrMount)
	}
	if name, _ := s.Data["path"].(string); strings.Trim(name, "/") != b.mount {
		return fmt.Errorf("%w: it is a path below a mount and not one", ErrMount)
	}
	if s, err = b.read(ctx, b.mount+"/config", nil); err != nil {
		return fmt.Errorf("reading the configuration of the mount: %w", err)
	}
	if err := keepsAll("the mount", s); err != nil {
		return err
	}
	if s, err = b.read(ctx, b.metadata(rootName), nil); err != nil {
		return fmt.Errorf("reading the metadata of the root: %w", err)
	}
	if err := keepsAll("the root", s); err != nil {
		return err
	}
	if s == nil {
		return nil
	}
	// There may be metadata without a version, when somebody has configured the path.
	if n, ok := number(s.Data, "current_version"); ok && n > 0 {
		b.mark(ctx) // whoever made the root may have been killed before that
	}
	return nil
}

// keepsAll refuses a configuration that deletes versions after a time.
func keepsAll(what string, s *vault.Secret) error {
	if s == nil {
		return nil // there is none
	}
	v, ok := s.Data["delete_version_after"]
	if !ok || v == nil {
		return nil
	}
	text, ok := v.(string)
	if d, err := time.ParseDuration(text); !ok || err != nil || d != 0 {
		return fmt.Errorf("%w: delete_version_after is set for %s, so that Vault would delete the vault by itself; set it to 0s", ErrMount, what)
	}
	return nil
}

// read reads a path; nil where Vault has nothing there.
func (b *Backend) read(ctx context.Context, path string, query map[string][]string) (*vault.Secret, error) {
	return b.c.again(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
		return v.ReadWithDataWithContext(ctx, path, query)
	})
}

// write writes a version of a path by check-and-set: cas is the number of the version that must be there, 0 for none.
func write(path string, cas int64, data map[string]any) call {
	return func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
		return v.WriteWithContext(ctx, path, map[string]any{"options": map[string]any{"cas": cas}, "data": data})
	}
}

// A version of the root.
type version struct {
	number int64
	root   []byte
	id     string // of the Swap that wrote it
}

// rootAt reads a version of the root, 0 for the current one. Not there at all: a version with number 0. Deleted or
// destroyed: its number, without a root.
func (b *Backend) rootAt(ctx context.Context, n int64) (version, error) {
	var query map[string][]string
	if n > 0 {
		query = map[string][]string{"version": {strconv.FormatInt(n, 10)}}
	}
	s, err := b.read(ctx, b.data(rootName), query)
	if err != nil || s == nil {
		return version{}, err
	}
	var v version
	meta, _ := s.Data["metadata"].(map[string]any)
	var ok bool
	if v.number, ok = number(meta, "version"); !ok || v.number < 1 || n > 0 && v.number != n {
		return version{}, errors.New("vault answered with a version of the root that was not asked for")
	}
	data, _ := s.Data["data"].(map[string]any)
	if data == nil {
		return v, nil
	}
	text, ok := data["root"].(string)
	v.id, _ = data["swap"].(string)
	if v.root, err = base64.StdEncoding.DecodeString(text); err != nil || !ok || len(v.root) == 0 {
		return version{}, errors.New("what lies in the place of the root in Vault is not one of ours")
	}
	return v, nil
}

func number(m map[string]any, name string) (int64, bool) {
	n, ok := m[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// current reads the root. One that never was has number 0; one that is gone is an error.
func (b *Backend) current(ctx context.Context) (version, error) {
	v, err := b.rootAt(ctx, 0)
	if err != nil {
		return version{}, err
	}
	if v.number > 0 && v.root == nil {
		return version{}, fmt.Errorf("%w (version %d; vault kv undelete brings it back, if it was not destroyed)", ErrRootGone, v.number)
	}
	if v.number > 0 {
		return v, nil
	}
	s, err := b.read(ctx, b.data(createdName), nil)
	if err != nil {
		return version{}, err
	}
	if s != nil {
		return version{}, fmt.Errorf("%w, with Vault's record of it; restore Vault from a snapshot of its own", ErrRootGone)
	}
	return v, nil
}

// Root implements store.Backend. One that is gone is ErrRootGone, which is not store.ErrNoRoot.
func (b *Backend) Root(ctx context.Context) ([]byte, error) {
	v, err := b.current(ctx)
	if err == nil && v.number == 0 {
		err = store.ErrNoRoot
	}
	if err != nil {
		return nil, fmt.Errorf("reading the root: %w", err)
	}
	return v.root, nil
}

// blob reads a blob; nil where there is none.
func (b *Backend) blob(ctx context.Context, ref store.Ref) ([]byte, error) {
	s, err := b.read(ctx, b.data(blobName(ref)), nil)
	if err != nil || s == nil {
		return nil, err
	}
	data, _ := s.Data["data"].(map[string]any)
	if data == nil {
		return nil, nil // deleted by hand, and not by us: we leave nothing of what we delete
	}
	text, ok := data["blob"].(string)
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ok {
		return nil, errors.New("what lies in its place in Vault is not one of ours")
	}
	return append([]byte{}, blob...), nil
}

// Get implements store.Backend.
func (b *Backend) Get(ctx context.Context, ref store.Ref) ([]byte, error) {
	blob, err := b.blob(ctx, ref)
	if err == nil && blob == nil {
		err = store.ErrNoBlob
	}
	if err != nil {
		return nil, fmt.Errorf("reading blob %s: %w", ref, err)
	}
	return blob, nil
}

// Swap implements store.Backend. c.Drop is deleted after the swap, in the background; what is left of it by then is garbage.
// The caller's context counts until the root is about to be replaced; from there on only the deadline of each call does, so
// that a caller who gives up does not leave an outcome unknown that can be known.
func (b *Backend) Swap(ctx context.Context, c store.Change) error {
	if len(c.New) == 0 {
		return errors.New("committing: there is no new root")
	}
	if err := b.swap(ctx, c); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if len(c.Drop) > 0 {
		select {
		case b.drops <- slices.Clone(c.Drop):
		default:
		}
	}
	return nil
}

func (b *Backend) swap(ctx context.Context, c store.Change) error {
	old, err := b.current(ctx)
	if err != nil {
		return err
	}
	if (old.number == 0) != (c.Old == nil) || !bytes.Equal(old.root, c.Old) {
		return store.ErrConflict
	}
	put, err := b.putAll(ctx, c.Put)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = b.replace(context.WithoutCancel(ctx), old.number, c.New)
	}
	if err != nil && !errors.Is(err, store.ErrUnknown) {
		// Nothing will ever reach them. Where this fails they are garbage.
		b.later(put)
	}
	return err
}

// later deletes blobs that a Swap has put in vain. It does not wait for long, and not for the caller's context, which may have
// ended.
func (b *Backend) later(refs []store.Ref) {
	if len(refs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.c.cfg.Timeout)
	defer cancel()
	if err := b.deleteAll(ctx, b.c.cfg.Calls, refs); err != nil {
		b.c.cfg.Logger.WarnContext(ctx, "blobs of a change that did not happen are left as garbage", slog.Int("blobs", len(refs)), slog.Any("error", err))
	}
}

// replace writes the root after version old, and finds out what became of that.
func (b *Backend) replace(ctx context.Context, old int64, root []byte) error {
	id := store.NewRef().String()
	_, err := b.c.do(ctx, write(b.data(rootName), old, map[string]any{"root": base64.StdEncoding.EncodeToString(root), "swap": id}))
	if err != nil {
		err = b.settle(ctx, old, id, err)
	}
	if err == nil {
		b.mark(ctx)
	}
	return err
}

// settle says what became of the root's replacement after version old by the Swap id, which ended with cause. A version is
// written once, and by check-and-set only on top of the one before it; so whose version old+1 is says it for good.
func (b *Backend) settle(ctx context.Context, old int64, id string, cause error) error {
	if errors.As(cause, new(unsent)) {
		return cause
	}
	next, err := b.rootAt(ctx, old+1)
	switch {
	case err == nil && next.root != nil && next.id == id:
		return nil
	case err == nil && next.root != nil:
		return store.ErrConflict
	case err != nil:
		return fmt.Errorf("%w: %w; and reading what became of it: %w", store.ErrUnknown, cause, err)
	case next.number != 0:
		return fmt.Errorf("%w: %w; and the version that would tell has been deleted", store.ErrUnknown, cause)
	}
	// Not there. Vault says 4xx before it does anything, but not of a check-and-set that is refused: then something has
	// changed that cannot be seen.
	if refused(cause) && !mismatch(cause) {
		return cause
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, cause)
}

// mark writes down that there was a root, where that is not known to be done. A place where it is not, after a crash between
// the first root and this, looks like one that never was when its root is deleted together with all that Vault knows of it; so
// Open does it too, and after a failure the next Swap.
func (b *Backend) mark(ctx context.Context) {
	if b.marked.Load() {
		return
	}
	s, err := b.read(ctx, b.data(createdName), nil)
	if err == nil && s == nil {
		_, err = b.c.again(ctx, write(b.data(createdName), 0, map[string]any{"created": "this path holds a vault of Signet's"}))
		if mismatch(err) || status(err) == http.StatusForbidden {
			// Somebody was faster, or our own request came through twice. (What may be created only is forbidden where it is there.)
			if s, rerr := b.read(ctx, b.data(createdName), nil); rerr == nil && s != nil {
				err = nil
			}
		}
	}
	if err != nil {
		b.c.cfg.Logger.WarnContext(ctx, "that the vault was created could not be written down", slog.Any("error", err))
		return
	}
	b.marked.Store(true)
}

// putAll puts blobs, as many at once as calls may be under way. It returns those that may be there now.
func (b *Backend) putAll(ctx context.Context, put map[store.Ref][]byte) ([]store.Ref, error) {
	refs := make([]store.Ref, 0, len(put))
	for ref := range put {
		refs = append(refs, ref)
	}
	return b.each(ctx, b.c.cfg.Calls, refs, func(ctx context.Context, ref store.Ref) error {
		blob := put[ref]
		_, err := b.c.again(ctx, write(b.data(blobName(ref)), 0, map[string]any{"blob": base64.StdEncoding.EncodeToString(blob)}))
		if mismatch(err) || status(err) == http.StatusForbidden {
			// References are random: if it is there, it was our own request, which came through twice. (What may be
			// created only is forbidden where it is there.)
			if there, rerr := b.blob(ctx, ref); rerr == nil && there != nil && bytes.Equal(there, blob) {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("writing blob %s: %w", ref, err)
		}
		return nil
	})
}

// each does something to each reference, so many at once, until one fails. It returns those that it began with.
func (b *Backend) each(ctx context.Context, atOnce int, refs []store.Ref, f func(context.Context, store.Ref) error) ([]store.Ref, error) {
	if b.c.life.Err() != nil {
		return nil, store.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan store.Ref)
	var wg sync.WaitGroup
	for range min(len(refs), atOnce) {
		wg.Go(func() {
			for ref := range next {
				if err := f(ctx, ref); err != nil {
					cancel(err)
				}
			}
		})
	}
	began := 0
feed:
	for _, ref := range refs {
		select {
		case next <- ref:
			began++
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	wg.Wait()
	return refs[:began], context.Cause(ctx)
}

// names lists what lies in a folder.
func (b *Backend) names(ctx context.Context, folder string) ([]string, error) {
	s, err := b.c.again(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
		return v.ListWithContext(ctx, b.metadata(folder))
	})
	if err != nil || s == nil {
		return nil, err
	}
	keys, _ := s.Data["keys"].([]any)
	names := make([]string, 0, len(keys))
	for _, key := range keys {
		name, _ := key.(string)
		names = append(names, name)
	}
	return names, nil
}

// List implements store.Backend. Vault lists them all at once.
func (b *Backend) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	return func(yield func(store.Ref, error) bool) {
		refs, err := b.list(ctx)
		for _, ref := range refs {
			if err = ctx.Err(); err != nil {
				break
			}
			if !yield(ref, nil) {
				return
			}
		}
		if err != nil {
			yield(store.Ref{}, fmt.Errorf("listing blobs: %w", err))
		}
	}
}

func (b *Backend) list(ctx context.Context) ([]store.Ref, error) {
	names, err := b.names(ctx, blobsName)
	if err != nil {
		return nil, err
	}
	refs := make([]store.Ref, 0, len(names))
	for _, name := range names {
		ref, err := store.ParseRef(name)
		if err != nil {
			return nil, errors.New("there is a blob whose name is not a reference")
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

// Delete implements store.Backend.
func (b *Backend) Delete(ctx context.Context, refs ...store.Ref) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("deleting blobs: %w", err)
	}
	if err := b.deleteAll(ctx, b.c.cfg.Calls, refs); err != nil {
		return fmt.Errorf("deleting blobs: %w", err)
	}
	return nil
}

// deleteAll deletes blobs with all that Vault knows of them, so that a reference can be put anew.
func (b *Backend) deleteAll(ctx context.Context, atOnce int, refs []store.Ref) error {
	_, err := b.each(ctx, atOnce, refs, func(ctx context.Context, ref store.Ref) error {
		_, err := b.c.again(ctx, func(ctx context.Context, v *vault.Logical) (*vault.Secret, error) {
			return v.DeleteWithContext(ctx, b.metadata(blobName(ref)))
		})
		return err
	})
	return err
}

// sweeping is how many dropped blobs are deleted at once. Nobody waits for it, and a commit, or a renewal, that comes meanwhile is
// not to wait for thousands of them.
const sweeping = 2

// sweeper deletes what swaps have dropped.
func (b *Backend) sweeper(ctx context.Context) {
	defer close(b.swept)
	for {
		select {
		case <-ctx.Done():
			return
		case refs := <-b.drops:
			if err := b.deleteAll(ctx, sweeping, refs); err != nil && ctx.Err() == nil {
				b.c.cfg.Logger.WarnContext(ctx, "replaced blobs are left as garbage", slog.Int("blobs", len(refs)), slog.Any("error", err))
			}
		}
	}
}

// Close implements store.Backend. Calls under way end; a Swap among them may end in store.ErrUnknown.
func (b *Backend) Close() error {
	b.closed.Do(func() {
		b.sweep()
		<-b.swept
		b.c.close()
	})
	return nil
}
