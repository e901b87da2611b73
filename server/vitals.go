package server

import (
	"cmp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/p8signet/signet/server/internal/authority"
	"github.com/p8signet/signet/server/policy"
)

// keySeries is how many keys have series of their own: those that were rotated longest ago, which are those to look
// at. A vault of ten thousand keys would else be ten thousand series twice, most of them of no use to anybody.
const keySeries = 1000

// mayStop are the reasons for which a node mints nothing. Each has a series, so that an alert can tell 0 from absent.
var mayStop = []authority.Reason{
	authority.ReasonGap, authority.ReasonClock, authority.ReasonLogFull, authority.ReasonLogUnavailable, authority.ReasonLeaseLapsed,
	authority.ReasonShuttingDown,
}

// keyStates are the states of keys; each has a series.
var keyStates = []policy.KeyState{
	policy.KeyStateUsable, policy.KeyStateDisabled, policy.KeyStateRevoked, policy.KeyStateNoActive, policy.KeyStateDamaged,
}

// vitals are the metrics that are looked up when somebody asks for them.
type vitals struct {
	of      func() authority.Vitals
	lastUse func(policy.KeyName) time.Time
	expiry  func() (certificate, clientCA time.Time)
	now     func() time.Time
	started time.Time // with its monotonic reading, if the clock has one
	keys    int       // how many have series of their own
}

// gauge is a value that is looked up.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// What is looked up. Times are Unix seconds, and 0 is never written for a time that is not known: the series is absent.
var (
	descCanMint     = gauge("signet_can_mint", "1 when the node can mint, 0 when something keeps it from minting anything.")
	descObstacle    = gauge("signet_mint_obstacle", "1 for what keeps the node from minting anything, by reason.", "reason")
	descGaps        = gauge("signet_gaps_open", "Gaps in the vault's record that nobody has acknowledged.")
	descRevision    = gauge("signet_store_revision", "The number of the store's root; every change makes it larger.")
	descPolicy      = gauge("signet_policy_revision", "The number of the policy in force; 0 when none was ever applied.")
	descKeys        = gauge("signet_keys", "Keys, by state: only usable ones mint.", "state")
	descShards      = gauge("signet_store_damaged_shards", "Shards of the store that do not open; keys may be hidden in them.")
	descOpenKeys    = gauge("signet_open_keys", "Key versions that are open in the server's memory.")
	descKEKs        = gauge("signet_keks", "Keys that wrap the root key, by whether they lie on a disk of this machine.", "on_disk")
	descRotated     = gauge("signet_key_rotated_timestamp_seconds", "When the active version of a usable key was made active.", "key")
	descLastUse     = gauge("signet_key_last_use_timestamp_seconds", "When a usable key last minted, by what the audit log and this process know.", "key")
	descUnlisted    = gauge("signet_keys_unlisted", "Usable keys without series of their own: only those that were rotated longest ago have them.")
	descEntries     = gauge("signet_log_entries", "Entries of the current audit log.")
	descWaiting     = gauge("signet_log_waiting_entries", "Entries that wait for the batch before theirs to be synced.")
	descFree        = gauge("signet_log_free_bytes", "Bytes that are free where the audit log lies.")
	descReserve     = gauge("signet_log_free_reserve_bytes", "Bytes below which nothing is minted, because disabling and revoking must still be recorded.")
	descLastEntry   = gauge("signet_log_last_entry_timestamp_seconds", "The time of the audit log's last entry.")
	descCheckpoint  = gauge("signet_log_checkpoint_lag_seconds", "For how long there have been entries that the checkpoint file is not over.")
	descIndexBehind = gauge("signet_index_lag_entries", "Entries that the audit log's index does not follow yet; queries read them.")
	descIndexLag    = gauge("signet_index_lag_seconds", "For how long there have been entries that the audit log's index does not follow.")
	descAnchor      = gauge("signet_log_anchor_timestamp_seconds", "When somebody outside last showed a checkpoint that the log was found to contain, since the start.")
	descClockBehind = gauge("signet_clock_behind_log_seconds", "How far the clock lies behind the audit log's last entry; minting stops beyond 30.")
	descClockDrift  = gauge("signet_clock_drift_seconds", "How far the wall clock has moved against the monotonic clock since the start.")
	descExpiry      = gauge("signet_certificate_expiry_timestamp_seconds", "When a certificate in use expires: the server's own, or the CA of its callers.", "certificate")
	descStarted     = gauge("signet_start_timestamp_seconds", "When the server was started.")
	descOfVitals    = []*prometheus.Desc{
		descCanMint, descObstacle, descGaps, descRevision, descPolicy, descKeys, descShards, descOpenKeys, descKEKs, descRotated, descLastUse,
		descUnlisted, descEntries, descWaiting, descFree, descReserve, descLastEntry, descCheckpoint, descIndexBehind, descIndexLag, descAnchor, descClockBehind,
		descClockDrift, descExpiry, descStarted,
	}
)

// buildInfo is constant.
func buildInfo(version string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "signet_build_info", Help: "1, with what the program is.", ConstLabels: prometheus.Labels{"version": version, "go_version": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Describe names all that Collect may send.
func (v *vitals) Describe(out chan<- *prometheus.Desc) {
	for _, d := range descOfVitals {
		out <- d
	}
}

// Collect looks.
func (v *vitals) Collect(out chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	at := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			send(d, float64(t.UnixMilli())/1000, labels...)
		}
	}
	is := v.of()
	send(descCanMint, one(len(is.Obstacles) == 0))
	for _, r := range mayStop {
		send(descObstacle, one(slices.Contains(is.Obstacles, r)), string(r))
	}
	send(descGaps, float64(is.OpenGaps))
	send(descRevision, float64(is.Root.Revision))
	send(descPolicy, float64(is.PolicyRevision))
	send(descShards, float64(is.DamagedShards))
	send(descOpenKeys, float64(is.OpenKeys))
	onDisk := 0
	for _, uri := range is.KEKs {
		if kekOnDisk(uri) {
			onDisk++
		}
	}
	send(descKEKs, float64(onDisk), "true")
	send(descKEKs, float64(len(is.KEKs)-onDisk), "false")

	send(descEntries, float64(is.Log.Head.Size))
	send(descWaiting, float64(is.Log.Waiting))
	if is.Log.Free >= 0 {
		send(descFree, float64(is.Log.Free))
	}
	send(descReserve, float64(is.Log.MinFree))
	at(descLastEntry, is.Log.LastTime)
	send(descCheckpoint, is.Log.CheckpointLag.Seconds())
	send(descIndexBehind, float64(is.Log.IndexBehind))
	send(descIndexLag, is.Log.IndexLag.Seconds())
	at(descAnchor, is.LastAnchor)

	now := v.now()
	send(descClockBehind, is.ClockBehind.Seconds())
	send(descClockDrift, drift(v.started, now).Seconds())
	certificate, clientCA := v.expiry()
	at(descExpiry, certificate, "server")
	at(descExpiry, clientCA, "client_ca")
	at(descStarted, v.started)

	counts, usable := map[policy.KeyState]int{}, []authority.WatchedKey(nil)
	for key := range is.Keys {
		counts[key.State]++
		if key.State == policy.KeyStateUsable {
			usable = append(usable, key)
		}
	}
	for _, state := range keyStates {
		send(descKeys, float64(counts[state]), string(state))
	}
	listed := longest(usable, v.keys)
	send(descUnlisted, float64(len(usable)-len(listed)))
	for _, key := range listed {
		at(descRotated, key.Rotated, string(key.Name))
		at(descLastUse, v.lastUse(key.Name), string(key.Name))
	}
}

// longest are the n keys that were rotated longest ago.
func longest(keys []authority.WatchedKey, n int) []authority.WatchedKey {
	if len(keys) <= n {
		return keys
	}
	slices.SortFunc(keys, func(a, b authority.WatchedKey) int {
		return cmp.Or(a.Rotated.Compare(b.Rotated), cmp.Compare(a.Name, b.Name))
	})
	return keys[:n]
}

// drift is how far the wall clock has moved against the monotonic one; 0 for a clock that has only one of them.
func drift(from, to time.Time) time.Duration {
	return to.Round(0).Sub(from.Round(0)) - to.Sub(from)
}

// kekOnDisk says whether a KEK lies on a disk of this machine, whichever it is.
func kekOnDisk(uri string) bool { return strings.HasPrefix(uri, "file:") }

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
