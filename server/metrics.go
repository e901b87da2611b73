package server

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc/codes"

	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server/authn"
	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
	"github.com/p8signet/signet/store/audit"
)

// Bounds of what is told apart. Labels are names that an operator gave, or constants of ours: never what a caller sent.
const (
	// profileSeries is how many profiles have series of their own; the rest, and names that are no profile's, are "other".
	profileSeries = 256
	otherProfile  = "other"
)

// metrics is what the server counts while it works. A mint costs a few atomic additions: what it needs is resolved
// beforehand, which is why this is Prometheus' own library and not a meter between it and us.
type metrics struct {
	registry *prometheus.Registry

	calls           *prometheus.CounterVec // by method and code
	ok              map[string]prometheus.Counter
	denials         *prometheus.CounterVec // by method and reason
	failures        *prometheus.CounterVec
	unauthenticated *prometheus.CounterVec // by reason

	mints    *prometheus.CounterVec   // by profile and outcome
	reused   *prometheus.CounterVec   // by profile
	took     *prometheus.HistogramVec // by profile and outcome
	known    func(policy.ProfileName) bool
	other    *mintSeries
	making   sync.Mutex // held while profiles is replaced
	profiles atomic.Pointer[map[policy.ProfileName]*mintSeries]

	batchEntries, syncTook    prometheus.Histogram
	written, unwrittenBatches prometheus.Counter

	used sync.Map // policy.KeyName → *atomic.Int64: when the key last minted, Unix nanoseconds
}

// mintSeries are one profile's.
type mintSeries struct {
	name    string
	allowed prometheus.Counter
	reused  prometheus.Counter
	took    prometheus.Observer // of the allowed
}

func newMetrics(version string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		calls:    counters("signet_calls_total", "Calls that have ended, by method and gRPC code.", "method", "code"),
		denials:  counters("signet_denials_total", "Calls that were denied, by method and reason.", "method", "reason"),
		failures: counters("signet_failures_total", "Calls that came to nothing for another reason than that they were denied, by method and reason.", "method", "reason"),
		unauthenticated: counters("signet_unauthenticated_total",
			"Calls that proved no identity, by reason.", "reason"),
		mints:  counters("signet_mints_total", "Mints that have ended, by profile and outcome: allowed, denied, failed or withheld.", "profile", "outcome"),
		reused: counters("signet_tokens_reused_total", "Mints that gave a token that was given before: to the same caller or, of a shared token, to anybody; by profile.", "profile"),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "signet_mint_duration_seconds", Help: "How long mints took in the server, by profile and outcome.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"profile", "outcome"}),
		batchEntries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signet_log_batch_entries", Help: "How many entries of the audit log were synced to disk at once.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		syncTook: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signet_log_sync_duration_seconds", Help: "How long the disk took to sync a batch of the audit log.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_log_written_bytes_total", Help: "Bytes of entries that the audit log has taken.",
		}),
		unwrittenBatches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "signet_log_write_failures_total", Help: "Batches of entries that could not be written to the audit log; their callers were refused.",
		}),
		ok: make(map[string]prometheus.Counter, len(methods)),
	}
	m.profiles.Store(&map[policy.ProfileName]*mintSeries{})
	m.other = m.series(otherProfile)
	for method, rule := range methods {
		m.ok[method] = m.calls.WithLabelValues(shortName(method), codes.OK.String())
		if rule.access != public { // a counter that begins at 1 is not seen to grow
			m.failures.WithLabelValues(shortName(method), string(authority.ReasonInternal))
		}
	}
	m.registry.MustRegister(m.calls, m.denials, m.failures, m.unauthenticated, m.mints, m.reused, m.took, m.batchEntries, m.syncTook,
		m.written, m.unwrittenBatches, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(version))
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// shortName is a method without its package: TokenService/MintToken.
func shortName(method string) string {
	return method[strings.LastIndexByte(method, '.')+1:]
}

// series are those of one profile. All its outcomes are there from the beginning, so that the first of each is seen.
func (m *metrics) series(profile string) *mintSeries {
	allowed := string(auditlog.Allowed)
	for _, outcome := range []auditlog.Outcome{auditlog.Denied, auditlog.Failed, auditlog.Withheld} {
		m.mints.WithLabelValues(profile, string(outcome))
	}
	return &mintSeries{
		name: profile, allowed: m.mints.WithLabelValues(profile, allowed), reused: m.reused.WithLabelValues(profile),
		took: m.took.WithLabelValues(profile, allowed),
	}
}

// of finds the series of a profile, and makes them for one that the policy has.
func (m *metrics) of(profile policy.ProfileName) *mintSeries {
	all := *m.profiles.Load()
	if s, ok := all[profile]; ok {
		return s
	}
	if len(all) >= profileSeries || m.known == nil || !m.known(profile) {
		return m.other
	}
	m.making.Lock()
	defer m.making.Unlock()
	all = maps.Clone(*m.profiles.Load())
	if s, ok := all[profile]; ok {
		return s
	}
	if len(all) >= profileSeries {
		return m.other
	}
	all[profile] = m.series(string(profile))
	m.profiles.Store(&all)
	return all[profile]
}

// ended counts a call: err is why it came to nothing, code what its caller was told.
func (m *metrics) ended(c *call, err error, code codes.Code, now time.Time) {
	if ok := m.ok[c.method]; ok != nil && code == codes.OK {
		ok.Inc()
	} else {
		m.calls.WithLabelValues(shortName(c.method), code.String()).Inc()
	}
	outcome := auditlog.Allowed
	if err != nil {
		outcome = m.refused(c, err)
	}
	if c.mints {
		m.minted(c, outcome, now)
	}
}

// refused counts a call that came to nothing by why, and answers its outcome. What health answers is not of interest.
func (m *metrics) refused(c *call, err error) auditlog.Outcome {
	var nobody authn.Failure
	if errors.As(err, &nobody) {
		m.unauthenticated.WithLabelValues(nobody.Error()).Inc()
		return auditlog.Denied
	}
	outcome, reason := outcomeOf(err)
	switch {
	case c.access == public:
	case outcome == auditlog.Denied:
		m.denials.WithLabelValues(shortName(c.method), string(reason)).Inc()
	default:
		m.failures.WithLabelValues(shortName(c.method), string(reason)).Inc()
	}
	return outcome
}

func (m *metrics) minted(c *call, outcome auditlog.Outcome, now time.Time) {
	s, took := m.of(c.profile), now.Sub(c.began).Seconds()
	if outcome != auditlog.Allowed {
		m.mints.WithLabelValues(s.name, string(outcome)).Inc()
		m.took.WithLabelValues(s.name, string(outcome)).Observe(took)
		return
	}
	s.allowed.Inc()
	if c.reused {
		s.reused.Inc()
	}
	s.took.Observe(took)
	at, ok := m.used.Load(c.key)
	if !ok {
		at, _ = m.used.LoadOrStore(c.key, new(atomic.Int64))
	}
	if at, ok := at.(*atomic.Int64); ok {
		at.Store(now.UnixNano())
	}
}

// recall takes over when keys minted before the start. What they have done since counts for more.
func (m *metrics) recall(uses map[policy.KeyName]time.Time) {
	for key, last := range uses {
		at := new(atomic.Int64)
		at.Store(last.UnixNano())
		m.used.LoadOrStore(key, at)
	}
}

// lastUse is when a key last minted, as far as is known; zero when it has not.
func (m *metrics) lastUse(key policy.KeyName) time.Time {
	at, ok := m.used.Load(key)
	if !ok {
		return time.Time{}
	}
	if at, ok := at.(*atomic.Int64); ok {
		return time.Unix(0, at.Load())
	}
	return time.Time{}
}

// batch counts what the audit log has written, or has not.
func (m *metrics) batch(b audit.Batch) {
	if b.Err != nil {
		m.unwrittenBatches.Inc()
		return
	}
	m.batchEntries.Observe(float64(b.Entries))
	m.syncTook.Observe(b.Sync.Seconds())
	m.written.Add(float64(b.Bytes))
}

// outcomeOf is how a call that ended with err is counted: as an entry of the log would have it, with the reason that
// its caller was told.
func outcomeOf(err error) (auditlog.Outcome, authority.Reason) {
	var (
		refused   *authority.Error
		bad       *badRequest
		transport transportError
	)
	switch {
	case errors.As(err, &refused):
		switch {
		case refused.Reason == authority.ReasonWithheld:
			return auditlog.Withheld, refused.Reason
		case errors.Is(refused, authority.ErrDenied), errors.Is(refused, authority.ErrRateLimited):
			return auditlog.Denied, refused.Reason
		}
		return auditlog.Failed, refused.Reason
	case errors.As(err, &bad):
		return auditlog.Failed, authority.ReasonMalformed
	case errors.Is(err, context.DeadlineExceeded):
		return auditlog.Failed, reasonDeadline
	case errors.Is(err, context.Canceled):
		return auditlog.Failed, reasonCanceled
	case errors.As(err, &transport):
		return auditlog.Failed, reasonTransport
	default:
		return auditlog.Failed, authority.ReasonInternal
	}
}

// recallInterval is how often it is looked whether the index follows the log.
const recallInterval = time.Second

// recallUses finds out when keys minted before the start, once the index can tell without reading the whole log.
func (s *Server) recallUses() {
	tick := time.NewTicker(recallInterval)
	defer tick.Stop()
	for s.core.System.Vitals().Log.IndexBehind > recallReads {
		select {
		case <-tick.C:
		case <-s.background.Done():
			return
		}
	}
	uses, err := s.core.System.LastUses(s.background)
	s.metrics.recall(uses)
	if err != nil && s.background.Err() == nil {
		s.logger.WarnContext(s.background, "when keys were last used before the start is not known of all", slog.Any("error", err))
	}
}

// recallReads is how many entries may be read for it.
const recallReads = 10_000
