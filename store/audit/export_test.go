package audit

import "context"

// Waiting is how many entries wait for the writer.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, b := range l.pending {
		n += len(b.leaves)
	}
	return n
}

// IndexEvery makes chunks of the index of so many entries.
func (c *Config) IndexEvery(n int64) { c.indexEvery = n }

// Follow brings the index of the current log up to its head.
func (l *Log) Follow(ctx context.Context) error {
	r := l.cur.Load().Reader
	return r.index.follow(ctx, r)
}

// Followed is how far the index of the log goes, and how many chunks of it are made.
func (r *Reader) Followed() (first, end int64, made int) {
	v := r.index.view()
	return v.first, v.end, len(r.index.chunks)
}
