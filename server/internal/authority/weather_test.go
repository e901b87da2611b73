package authority

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/storetest"
)

// weather is what happens to one process and to its way to the store. It is a store.Backend that adds to the faults of a
// SharedFaulty what takes time: requests and answers that are held up, and a process that is stopped for a while with
// all that it has under way, while its clocks go on. It waits by sleeping, so that it works in a synctest bubble.
type weather struct {
	*storetest.SharedFaulty
	shared *storetest.SharedMemory
	wire   *sync.WaitGroup // of requests that are on their way, whatever becomes of who sent them
	dead   chan struct{}   // closed when the process is killed

	mu      sync.Mutex
	random  *rand.Rand
	sky     sky
	resumes time.Time // until when the process is stopped
}

// sky is what the weather is like.
type sky struct {
	name  string
	fates []storetest.Fate // one of which befalls a call
	often float64          // how likely
	root  bool             // only reads of the root
	delay time.Duration    // up to which a request is held up, and so is its answer
	stall float64          // how likely a mint stalls at a stage for some seconds
}

// skies are all there are. Those whose fates befall every call are what a replica is to be fenced for.
var skies = []sky{
	{name: "calm"},
	{name: "cut off", fates: []storetest.Fate{storetest.Refused, storetest.UnknownLost}, often: 1},
	{name: "flaky", fates: []storetest.Fate{
		storetest.Refused, storetest.UnknownLost, storetest.UnknownPersisted, storetest.UnknownLate, storetest.Twice, storetest.Echo, storetest.Stale,
	}, often: 0.3, stall: 0.02},
	{name: "slow", delay: 2 * time.Second, stall: 0.05},
	{name: "slow and flaky", fates: []storetest.Fate{storetest.Refused, storetest.UnknownPersisted, storetest.UnknownLate, storetest.Echo, storetest.Stale}, often: 0.1, delay: 500 * time.Millisecond},
	{name: "stale", fates: []storetest.Fate{storetest.Stale}, often: 0.9},
	{name: "the root is stale", fates: []storetest.Fate{storetest.Stale}, often: 1, root: true},
}

func newWeather(shared *storetest.SharedMemory, wire *sync.WaitGroup, seed uint64) *weather {
	w := &weather{shared: shared, wire: wire, dead: make(chan struct{}), random: rand.New(rand.NewPCG(seed, 2))}
	w.SharedFaulty = storetest.NewSharedFaulty(shared, w.fate)
	return w
}

// fate is the plan of what is below.
func (w *weather) fate(c storetest.Call) storetest.Fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sky
	if s.root && c.Op != "root" || s.often == 0 || w.random.Float64() >= s.often {
		return storetest.Fine
	}
	f := s.fates[w.random.IntN(len(s.fates))]
	if f == storetest.Stale && c.Write > 0 {
		return storetest.Fine
	}
	return f
}

func (w *weather) turn(s sky) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sky = s
}

// pause stops the process for a while.
func (w *weather) pause(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resumes = time.Now().Add(d)
}

// running returns when the process is not stopped, or gone.
func (w *weather) running() {
	for !w.gone() {
		w.mu.Lock()
		d := time.Until(w.resumes)
		w.mu.Unlock()
		if d <= 0 {
			return
		}
		w.sleep(context.Background(), d)
	}
}

// stage is a Watcher's: where a mint may be stopped.
func (w *weather) stage(context.Context, Stage) func() {
	w.stall()
	return w.stall
}

func (w *weather) stall() {
	w.mu.Lock()
	var d time.Duration
	if w.random.Float64() < w.sky.stall {
		d = time.Duration(w.random.Int64N(int64(6 * time.Second)))
	}
	w.mu.Unlock()
	w.sleep(context.Background(), d)
	w.running()
}

// delay is how long a request, or an answer, is under way.
func (w *weather) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sky.delay == 0 {
		return 0
	}
	return time.Duration(w.random.Int64N(int64(w.sky.delay)))
}

func (w *weather) gone() bool {
	select {
	case <-w.dead:
		return true
	default:
		return false
	}
}

// sleep ends with ctx, and with the process.
func (w *weather) sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-w.dead:
	}
}

// write sends a request that writes. It arrives, even if who sent it has given up or died meanwhile.
func (w *weather) write(ctx context.Context, call func(context.Context, storetest.SharedBackend) error) error {
	w.running()
	defer w.running()
	if w.gone() {
		return storetest.ErrCrashed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	answer := make(chan error, 1)
	there, back := w.delay(), w.delay()
	w.wire.Go(func() {
		time.Sleep(there)
		var to storetest.SharedBackend = w.SharedFaulty
		if w.gone() {
			to = w.shared
		}
		err := call(context.WithoutCancel(ctx), to)
		time.Sleep(back)
		answer <- err
	})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return errors.Join(store.ErrUnknown, ctx.Err())
	case <-w.dead:
		return storetest.ErrCrashed
	}
}

// read sends a request that reads.
func (w *weather) read(ctx context.Context, call func()) error {
	w.running()
	defer w.running()
	w.sleep(ctx, w.delay())
	if ctx.Err() == nil {
		call()
		w.sleep(ctx, w.delay())
	}
	if w.gone() {
		return storetest.ErrCrashed
	}
	return ctx.Err()
}

// Root implements store.Backend.
func (w *weather) Root(ctx context.Context) (root []byte, err error) {
	late := w.read(ctx, func() { root, err = w.SharedFaulty.Root(ctx) })
	return root, errors.Join(err, late)
}

// Get implements store.Backend.
func (w *weather) Get(ctx context.Context, ref store.Ref) (blob []byte, err error) {
	late := w.read(ctx, func() { blob, err = w.SharedFaulty.Get(ctx, ref) })
	return blob, errors.Join(err, late)
}

// List implements store.Backend.
func (w *weather) List(ctx context.Context) iter.Seq2[store.Ref, error] {
	w.running()
	return w.SharedFaulty.List(ctx)
}

// Register implements store.Registers.
func (w *weather) Register(ctx context.Context, name string) (value []byte, version uint64, err error) {
	late := w.read(ctx, func() { value, version, err = w.SharedFaulty.Register(ctx, name) })
	return value, version, errors.Join(err, late)
}

// Swap implements store.Backend.
func (w *weather) Swap(ctx context.Context, c store.Change) error {
	return w.write(ctx, func(ctx context.Context, to storetest.SharedBackend) error { return to.Swap(ctx, c) })
}

// Delete implements store.Backend.
func (w *weather) Delete(ctx context.Context, refs ...store.Ref) error {
	return w.write(ctx, func(ctx context.Context, to storetest.SharedBackend) error { return to.Delete(ctx, refs...) })
}

// SetRegister implements store.Registers.
func (w *weather) SetRegister(ctx context.Context, name string, version uint64, value []byte) error {
	return w.write(ctx, func(ctx context.Context, to storetest.SharedBackend) error {
		return to.SetRegister(ctx, name, version, value)
	})
}

// RemoveRegister implements store.Registers.
func (w *weather) RemoveRegister(ctx context.Context, name string) error {
	return w.write(ctx, func(ctx context.Context, to storetest.SharedBackend) error { return to.RemoveRegister(ctx, name) })
}
