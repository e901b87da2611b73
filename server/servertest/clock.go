package servertest

import (
	"sync"
	"time"
)

// Clock stands still until it is told to move. It may be used concurrently.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// newClock begins at the wall clock's second, so that programs with a clock of their own agree with the server.
func newClock() *Clock {
	return &Clock{now: time.Now().UTC().Truncate(time.Second)}
}

// Now is the clock's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock, backwards if d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
