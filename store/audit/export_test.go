package audit

import (
	"context"
	"strconv"
)

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
	v := r.index.view(false)
	r.index.mu.RLock()
	defer r.index.mu.RUnlock()
	return v.first, v.end, len(r.index.chunks)
}

// Facts are what the index takes of a line: time, key, principal, profile, action, outcome, grant, token, count.
func Facts(line []byte) ([]string, bool) {
	var f facts
	ok := f.read(line)
	list := []string{strconv.FormatInt(f.time, 10)}
	for _, v := range [][]byte{f.key, f.principal, f.profile, f.action, f.outcome, f.grant, f.token} {
		list = append(list, string(v))
	}
	return append(list, strconv.FormatInt(f.count, 10)), ok
}

// Groups reads totals as they are in the index's file, and writes them again.
func Groups(data []byte) ([]byte, error) {
	groups, err := parseGroups(data)
	return appendGroups(nil, groups), err
}
