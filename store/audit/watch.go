package audit

import "time"

// Batch is what became of one batch, for who watches the log. It says nothing of what is in the entries.
type Batch struct {
	Entries int
	Bytes   int // of their lines, with the newlines
	// Sync is how long the file's sync took, by Config.Now; 0 when the batch did not come so far.
	Sync time.Duration
	Err  error // why it could not be made durable
}

// Stats is the log as it stands, for who watches it.
type Stats struct {
	Head Head
	// LastTime is the time of the last entry; zero when there is none.
	LastTime time.Time
	// Waiting is how many entries wait for the disk: those of the batch that is being written are not among them.
	Waiting int
	// Free is how many bytes are free where the log lies, -1 when that is unknown. Ordinary entries stop below MinFree.
	Free, MinFree int64
	// CheckpointLag is for how long there have been entries that the checkpoint file is not over; 0 when there are none.
	CheckpointLag time.Duration
	// IndexBehind is how many entries the index does not follow, IndexLag for how long there have been some.
	IndexBehind int64
	IndexLag    time.Duration
}

// covered is what the checkpoint file is over, and when it was seen to be that.
type covered struct {
	size int64
	at   time.Time
}

// Stats asks the disk how much is free, and waits for nobody.
func (l *Log) Stats() Stats {
	j := l.cur.Load()
	s := Stats{Head: j.Head(), LastTime: l.LastTime(), MinFree: l.cfg.MinFree, CheckpointLag: j.checkpointLag()}
	if s.IndexBehind = j.IndexLag(); s.IndexBehind > 0 {
		s.IndexLag = max(0, j.now().Sub(time.Unix(0, j.indexed.Load())))
	}
	var err error
	if s.Free, err = l.cfg.FS.Free(); err != nil {
		s.Free = -1
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.pending {
		s.Waiting += len(b.leaves)
	}
	return s
}

// checkpointLag is since when the checkpoint file is behind the head.
func (j *journal) checkpointLag() time.Duration {
	c := j.covered.Load()
	if c.size == j.Head().Size {
		return 0
	}
	return max(0, j.now().Sub(c.at))
}

// followed takes note that a log's index was up to its head.
func (l *Log) followed(r *Reader) {
	if j := l.cur.Load(); j.Reader == r {
		j.indexed.Store(j.now().UnixNano())
	}
}

// observe tells who watches of a batch, while its buffers are still its own.
func (l *Log) observe(j *journal, b *batch, err error) {
	if l.cfg.Observe != nil {
		l.cfg.Observe(Batch{Entries: len(b.leaves), Bytes: len(b.lines), Sync: j.synced, Err: err})
	}
}
