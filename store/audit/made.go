package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/p8signet/signet/proto/auditlog"
)

// chunk is a made chunk of the index, as its header has it. It does not change.
//
// In the file, numbers big-endian: the header; the directory, in blocks; the lists; the times; the runs; the offsets, in blocks; the
// totals. Each of these, each block and each list, ends with its tag.
type chunk struct {
	x                                        *index
	offset                                   int64
	base, first, next                        int64
	head                                     auditlog.Hash // of the log's first next entries
	all                                      times
	terms                                    int64
	dir, lists, spans, runs, offsets, totals int64 // lengths
}

const (
	headerLen  = 168
	indexMagic = "signetx1"
	tagLen     = 8
)

// partKind tells the parts of a chunk apart, for their tags.
type partKind byte

const (
	partHeader partKind = iota + 1
	partDir
	partList
	partSpans
	partRuns
	partOffsets
	partTotals
)

// errTag is why a part of the index is not believed.
var errTag = errors.New("a part of the index is not what was written there")

// sealer makes the tags of one chunk.
type sealer struct {
	key   []byte
	first int64
}

// append appends data and its tag.
func (s sealer) append(dst []byte, kind partKind, n int, data []byte) []byte {
	dst = append(dst, data...)
	return append(dst, s.tag(kind, n, data)...)
}

// tag binds data to its place: the chunk, the kind, and the number or offset among its kind.
func (s sealer) tag(kind partKind, n int, data []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	var label [17]byte
	label[0] = byte(kind)
	binary.BigEndian.PutUint64(label[1:], uint64(s.first)) //nolint:gosec // its bits
	binary.BigEndian.PutUint64(label[9:], uint64(n))       //nolint:gosec // not negative
	mac.Write(label[:])
	mac.Write(data)
	return mac.Sum(nil)[:tagLen]
}

// open takes the tag off, if it is right.
func (s sealer) open(kind partKind, n int, sealed []byte) ([]byte, error) {
	if len(sealed) < tagLen {
		return nil, errTag
	}
	data, tag := sealed[:len(sealed)-tagLen], sealed[len(sealed)-tagLen:]
	if !hmac.Equal(tag, s.tag(kind, n, data)) {
		return nil, errTag
	}
	return data, nil
}

// encode makes a chunk of what was gathered, to be written at offset.
func (x *index) encode(m *maker, head auditlog.Hash, offset int64) (*chunk, []byte) {
	seal := sealer{x.key, m.first}
	dir, lists, terms := m.directory(seal)
	spans := seal.append(nil, partSpans, 0, appendTimes(nil, m.spans))
	runs := seal.append(nil, partRuns, 0, appendRuns(nil, m.runs))
	offsets := appendOffsets(nil, seal, m.offsets)
	totals := seal.append(nil, partTotals, 0, appendGroups(nil, m.totals))
	c := &chunk{
		x: x, offset: offset, base: m.base, first: m.first, next: m.next, head: head, all: m.all, terms: int64(terms),
		dir: int64(len(dir)), lists: int64(len(lists)), spans: int64(len(spans)), runs: int64(len(runs)), offsets: int64(len(offsets)), totals: int64(len(totals)),
	}
	data := c.header()
	for _, p := range [][]byte{dir, lists, spans, runs, offsets, totals} {
		data = append(data, p...)
	}
	return c, data
}

// numbers are those of the header, in their order.
func (c *chunk) numbers() []*int64 {
	return []*int64{&c.base, &c.first, &c.next, &c.all.min, &c.all.max, &c.terms, &c.dir, &c.lists, &c.spans, &c.runs, &c.offsets, &c.totals}
}

func (c *chunk) header() []byte {
	b := append([]byte(indexMagic), c.head[:]...)
	for _, n := range c.numbers() {
		b = binary.BigEndian.AppendUint64(b, uint64(*n)) //nolint:gosec // its bits
	}
	b = append(b, make([]byte, headerLen-tagLen-len(b))...)
	return sealer{c.x.key, c.first}.append(nil, partHeader, int(c.offset), b)
}

// parseHeader parses what is at offset; false if that is no header of this index. One with chunks of another length, as
// another version made it, is none: places in it would be taken for others, and entries missed.
func (x *index) parseHeader(b []byte, offset int64) (*chunk, bool) {
	c := &chunk{x: x, offset: offset}
	if string(b[:len(indexMagic)]) != indexMagic {
		return nil, false
	}
	rest := b[len(indexMagic):]
	rest = rest[copy(c.head[:], rest):]
	for _, n := range c.numbers() {
		*n, rest = int64(binary.BigEndian.Uint64(rest)), rest[8:] //nolint:gosec // its bits
	}
	_, err := sealer{x.key, c.first}.open(partHeader, int(offset), b)
	return c, err == nil && c.base%x.every == 0 && c.base <= c.first && c.first < c.next && c.next == c.base+x.every
}

// length is the chunk's in the file.
func (c *chunk) length() int64 {
	return headerLen + c.dir + c.lists + c.spans + c.runs + c.offsets + c.totals
}

// readAt reads n bytes at an offset in the chunk.
func (c *chunk) readAt(at, n int64) ([]byte, error) {
	c.x.mu.RLock()
	f := c.x.file
	c.x.mu.RUnlock()
	if f == nil {
		return nil, ErrClosed
	}
	if n < 0 {
		return nil, errTag
	}
	buf := make([]byte, n)
	if _, err := f.ReadAt(buf, c.offset+at); err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	return buf, nil
}

// read reads a part and takes its tag off.
func (c *chunk) read(kind partKind, n int, at, length int64) ([]byte, error) {
	sealed, err := c.readAt(at, length)
	if err != nil {
		return nil, err
	}
	return sealer{c.x.key, c.first}.open(kind, n, sealed)
}

func (c *chunk) bounds() (base, first, next int64) { return c.base, c.first, c.next }

func (c *chunk) times() times { return c.all }

// places adds the places of a term to s. Terms are hashes, so that where one is can be guessed.
func (c *chunk) places(t term, s *set) error {
	blocks := c.dir / dirBlock
	step := int64(0)
	for b := int64(t) * blocks >> 32; b >= 0 && b < blocks; b += step {
		data, err := c.read(partDir, int(b), headerLen+b*dirBlock, dirBlock)
		if err != nil {
			return err
		}
		data = data[:8*min(blockTerms, c.terms-b*blockTerms)]
		at := func(i int) term { return term(binary.BigEndian.Uint32(data[8*i:])) }
		n := len(data) / 8
		switch {
		case n == 0:
			return nil
		case t < at(0) && step <= 0:
			step = -1
			continue
		case t > at(n-1) && step >= 0:
			step = 1
			continue
		}
		lo, hi := 0, n
		for lo < hi {
			if mid := (lo + hi) / 2; at(mid) < t {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo == n || at(lo) != t {
			return nil
		}
		return c.list(binary.BigEndian.Uint32(data[8*lo+4:]), s)
	}
	return nil
}

// list adds the places that a directory's entry leads to.
func (c *chunk) list(where uint32, s *set) error {
	if where&singlePlace != 0 {
		s.add(int(where&^singlePlace) % chunkLen)
		return nil
	}
	begin := headerLen + c.dir + int64(where)
	const most = 2 + chunkLen/8 + tagLen
	sealed, err := c.readAt(begin, min(most, headerLen+c.dir+c.lists-begin))
	if err != nil {
		return err
	}
	if len(sealed) < 2 || len(sealed) < listLen(sealed)+tagLen {
		return errTag
	}
	list, err := sealer{c.x.key, c.first}.open(partList, int(where), sealed[:listLen(sealed)+tagLen])
	if err != nil {
		return err
	}
	addList(list, s)
	return nil
}

func (c *chunk) spanTimes() ([]times, error) {
	data, err := c.read(partSpans, 0, headerLen+c.dir+c.lists, c.spans)
	return parseTimes(data), err
}

func (c *chunk) runsOf() ([]run, error) {
	data, err := c.read(partRuns, 0, headerLen+c.dir+c.lists+c.spans, c.runs)
	return parseRuns(data), err
}

func (c *chunk) offsetsOf(block int) ([]uint32, error) {
	at := int64(block) * offsetBlock
	data, err := c.read(partOffsets, block, headerLen+c.dir+c.lists+c.spans+c.runs+at, min(offsetBlock, c.offsets-at))
	return parseOffsets(data), err
}

func (c *chunk) groupsOf() ([]group, error) {
	data, err := c.read(partTotals, 0, headerLen+c.dir+c.lists+c.spans+c.runs+c.offsets, c.totals)
	if err != nil {
		return nil, err
	}
	return parseGroups(data)
}

// check reads all of the chunk.
func (c *chunk) check() error {
	for b := range c.dir / dirBlock {
		if _, err := c.read(partDir, int(b), headerLen+b*dirBlock, dirBlock); err != nil {
			return err
		}
	}
	lists, err := c.readAt(headerLen+c.dir, c.lists)
	if err != nil {
		return err
	}
	for at := 0; at < len(lists); {
		rest := lists[at:]
		if len(rest) < 2 || len(rest) < listLen(rest)+tagLen {
			return errTag
		}
		n := listLen(rest) + tagLen
		if _, err := (sealer{c.x.key, c.first}).open(partList, at, rest[:n]); err != nil {
			return err
		}
		at += n
	}
	if _, err := c.spanTimes(); err != nil {
		return err
	}
	if _, err := c.runsOf(); err != nil {
		return err
	}
	for block := range (c.offsets + offsetBlock - 1) / offsetBlock {
		if _, err := c.offsetsOf(int(block)); err != nil {
			return err
		}
	}
	_, err = c.groupsOf()
	return err
}
