package audit

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
