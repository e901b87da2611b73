package server_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc/codes"

	"github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/server/servertest"
	"github.com/p8signet/signet/store/audit"
)

// get asks the monitor as somebody on this machine.
func get(s *servertest.Server, path string) *httptest.ResponseRecorder {
	return getFrom(s, path, "127.0.0.1:1234")
}

func getFrom(s *servertest.Server, path, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	s.Monitor().ServeHTTP(w, r)
	return w
}

// samples is a scrape: name{labels} → value.
type samples map[string]float64

func scrape(t testing.TB, s *servertest.Server) samples {
	t.Helper()
	w := get(s, "/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("GET /metrics: %d %s", w.Code, w.Body)
	}
	found := samples{}
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		found[name] = v
	}
	return found
}

// want fails the test for every sample that is not as it is wanted.
func (s samples) want(t *testing.T, when string, want samples) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, ok := s[name]; !ok || got != want[name] {
			t.Errorf("%s: %s is %v (there: %v), want %v", when, name, got, ok, want[name])
		}
	}
}

// TestMetrics does to a real server what the metrics are there to show.
func TestMetrics(t *testing.T) {
	s, _ := minting(t)
	s.ImportKey("unused", "app-store-connect")
	before := scrape(t, s)
	before.want(t, "before anything was minted", samples{
		"signet_can_mint":                                             1,
		"signet_gaps_open":                                            0,
		`signet_keys{state="usable"}`:                                 2,
		`signet_keys{state="disabled"}`:                               0,
		"signet_open_keys":                                            0,
		"signet_policy_revision":                                      1,
		`signet_mint_obstacle{reason="GAP"}`:                          0,
		`signet_mint_obstacle{reason="LOG_FULL"}`:                     0,
		`signet_mint_obstacle{reason="LEASE_LAPSED"}`:                 0,
		"signet_clock_behind_log_seconds":                             0,
		"signet_clock_drift_seconds":                                  0,
		"signet_keys_unlisted":                                        0,
		`signet_keks{on_disk="true"}`:                                 0,
		`signet_keks{on_disk="false"}`:                                1,
		"signet_log_free_reserve_bytes":                               audit.DefaultMinFree,
		`signet_mints_total{outcome="allowed",profile="other"}`:       0,
		`signet_calls_total{code="OK",method="KeyService/ImportKey"}`: 2,
	})
	if _, ok := before[`signet_key_last_use_timestamp_seconds{key="asc"}`]; ok {
		t.Error("a key that never minted has a last use")
	}

	conn := s.Conn(ci)
	for range 3 {
		if _, err := mint(t.Context(), conn, "release"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := mint(t.Context(), s.Conn(stranger), "release")
	expect(t, err, codes.PermissionDenied, "DENIED")
	for _, unknown := range []string{"no-such-profile", "another-one"} {
		_, err := mint(t.Context(), conn, unknown)
		expect(t, err, codes.PermissionDenied, "DENIED")
	}
	_, err = mint(t.Context(), conn, "Not A Profile")
	expect(t, err, codes.InvalidArgument, "MALFORMED")
	_, err = mint(t.Context(), s.Dial(nil), "release")
	expect(t, err, codes.Unauthenticated, "UNAUTHENTICATED")
	now := float64(s.Clock.Now().UnixMilli()) / 1000
	after := scrape(t, s)
	after.want(t, "after mints and refusals", samples{
		`signet_mints_total{outcome="allowed",profile="release"}`:                     3,
		`signet_tokens_reused_total{profile="release"}`:                               2,
		`signet_mints_total{outcome="denied",profile="release"}`:                      1,
		`signet_mints_total{outcome="denied",profile="other"}`:                        2,
		`signet_mint_duration_seconds_count{outcome="allowed",profile="release"}`:     3,
		`signet_mint_duration_seconds_count{outcome="denied",profile="other"}`:        2,
		`signet_calls_total{code="OK",method="TokenService/MintToken"}`:               3,
		`signet_calls_total{code="PermissionDenied",method="TokenService/MintToken"}`: 3,
		`signet_calls_total{code="Unauthenticated",method="TokenService/MintToken"}`:  1,
		`signet_denials_total{method="TokenService/MintToken",reason="DENIED"}`:       3,
		`signet_failures_total{method="TokenService/MintToken",reason="MALFORMED"}`:   1,
		`signet_failures_total{method="TokenService/MintToken",reason="INTERNAL"}`:    0,
		`signet_unauthenticated_total{reason="no client certificate"}`:                1,
		`signet_key_last_use_timestamp_seconds{key="asc"}`:                            now,
		`signet_key_rotated_timestamp_seconds{key="asc"}`:                             now,
		`signet_key_rotated_timestamp_seconds{key="unused"}`:                          now,
		"signet_open_keys":                        1,
		"signet_log_write_failures_total":         0,
		"signet_log_last_entry_timestamp_seconds": now,
	})
	for _, grown := range []string{"signet_log_entries", "signet_log_batch_entries_sum", "signet_log_batch_entries_count", "signet_log_sync_duration_seconds_count", "signet_log_written_bytes_total"} {
		if after[grown] <= before[grown] {
			t.Errorf("%s was %v and is %v", grown, before[grown], after[grown])
		}
	}
	if added, counted := after["signet_log_entries"]-before["signet_log_entries"], after["signet_log_batch_entries_sum"]-before["signet_log_batch_entries_sum"]; added != counted {
		t.Errorf("the log grew by %v entries, and %v were counted", added, counted)
	}

	keys := signetv1.NewKeyServiceClient(s.Operator())
	if _, err := keys.DisableKey(t.Context(), &signetv1.DisableKeyRequest{Name: "asc", Reason: "test"}); err != nil {
		t.Fatal(err)
	}
	_, err = mint(t.Context(), conn, "release")
	expect(t, err, codes.FailedPrecondition, "KEY_DISABLED")
	disabled := scrape(t, s)
	disabled.want(t, "after a key was disabled", samples{
		`signet_keys{state="usable"}`:   1,
		`signet_keys{state="disabled"}`: 1,
		`signet_failures_total{method="TokenService/MintToken",reason="KEY_DISABLED"}`: 1,
		`signet_mints_total{outcome="failed",profile="release"}`:                       1,
		"signet_can_mint": 1,
	})
	if _, ok := disabled[`signet_key_rotated_timestamp_seconds{key="asc"}`]; ok {
		t.Error("a key that is off has a series for its rotation")
	}
}

// TestMetricsOfTrouble: what stops minting is seen, and that it is over too.
func TestMetricsOfTrouble(t *testing.T) {
	full, breaks := &fullDisk{}, true
	s, _ := minting(t, servertest.Options{Configure: func(c *server.Config) {
		if breaks {
			full.FS = audit.DirFS(c.LogDir)
			c.LogFS = full
		}
	}})
	conn := s.Conn(ci)
	stopped := func(reason string) {
		t.Helper()
		before := scrape(t, s)[`signet_mints_total{outcome="allowed",profile="release"}`]
		_, err := mint(t.Context(), conn, "release")
		if err == nil { // how much is free is asked once for every batch
			before++
			_, err = mint(t.Context(), conn, "release")
		}
		expect(t, err, codes.Unavailable, reason)
		now := scrape(t, s)
		now.want(t, reason, samples{
			`signet_mints_total{outcome="allowed",profile="release"}`: before, "signet_can_mint": 0, fmt.Sprintf("signet_mint_obstacle{reason=%q}", reason): 1,
			fmt.Sprintf(`signet_failures_total{method="TokenService/MintToken",reason=%q}`, reason): 1,
		})
		if w := get(s, "/mintz"); w.Code != http.StatusServiceUnavailable || len(w.Body.String()) < 20 {
			t.Errorf("%s: /mintz answered %d %s", reason, w.Code, w.Body)
		}
		for _, well := range []string{"/livez", "/readyz"} {
			if w := get(s, well); w.Code != http.StatusOK {
				t.Errorf("%s: %s answered %d %s", reason, well, w.Code, w.Body)
			}
		}
	}
	goesOn := func() {
		t.Helper()
		if _, err := mint(t.Context(), conn, "release"); err != nil {
			t.Fatal(err)
		}
		scrape(t, s).want(t, "when it is over", samples{"signet_can_mint": 1, "signet_gaps_open": 0})
		if w := get(s, "/mintz"); w.Code != http.StatusOK {
			t.Errorf("/mintz answered %d %s when it is over", w.Code, w.Body)
		}
	}
	goesOn()

	full.set(1 << 20)
	stopped("LOG_FULL")
	scrape(t, s).want(t, "on a full disk", samples{"signet_log_free_bytes": 1 << 20})
	full.set(0)
	goesOn()

	s.Clock.Advance(time.Hour)
	goesOn()
	s.Clock.Advance(-time.Hour)
	stopped("CLOCK")
	scrape(t, s).want(t, "with a clock that went back", samples{"signet_clock_behind_log_seconds": 3600})
	s.Clock.Advance(time.Hour)
	goesOn()

	breaks = false
	s.Stop()
	if err := os.RemoveAll(s.LogDir()); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	stopped("GAP")
	scrape(t, s).want(t, "with a gap", samples{"signet_gaps_open": 1})
	acknowledgeGap(t, s)
	goesOn()
}

// fullDisk is a disk that says that it is full when it is told to.
type fullDisk struct {
	audit.FS
	left atomic.Int64
}

func (f *fullDisk) set(left int64) { f.left.Store(left) }

// Free is what is left, or what the true disk says.
func (f *fullDisk) Free() (int64, error) {
	if left := f.left.Load(); left > 0 {
		return left, nil
	}
	return f.FS.Free()
}

// TestMetricsSayNoMoreThanTheyMay: labels are names that an operator gave, and constants of ours. Whatever a caller
// sends is in none of them.
func TestMetricsSayNoMoreThanTheyMay(t *testing.T) {
	s, key := minting(t)
	conn := s.Conn(ci)
	answer, err := mint(t.Context(), conn, "release")
	if err != nil {
		t.Fatal(err)
	}
	token := answer.GetBearerToken().GetToken()
	_, _ = mint(t.Context(), conn, "profile-of-nobody")
	_, _ = mint(t.Context(), s.Conn(stranger), "release")
	_, _ = signetv1.NewKeyServiceClient(conn).GetKey(t.Context(), &signetv1.GetKeyRequest{Name: "key-of-nobody"})
	_, _ = mint(t.Context(), s.Dial(&tls.Certificate{}), "release")
	var all strings.Builder
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/mintz", "/debug/pprof/", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1"} {
		w := get(s, path)
		if w.Code != http.StatusOK {
			t.Errorf("%s answered %d", path, w.Code)
		}
		all.WriteString(w.Body.String())
	}
	text := all.String()
	for _, secret := range append(strings.Split(token, "."), ci, stranger, "spiffe:", "profile-of-nobody", "key-of-nobody", answer.GetSha256()) {
		if strings.Contains(text, secret) {
			t.Errorf("%q can be read", secret)
		}
	}
	if found := newCanary(t, key).in([]byte(text)); len(found) > 0 {
		t.Errorf("the key can be read: %q", found)
	}
	labels := regexp.MustCompile(`([a-z_]+)="`)
	allowed := []string{"certificate", "code", "go_version", "key", "le", "method", "on_disk", "outcome", "profile", "quantile", "reason", "state", "version"}
	for name := range scrape(t, s) {
		for _, l := range labels.FindAllStringSubmatch(name, -1) {
			if !slices.Contains(allowed, l[1]) {
				t.Errorf("%s has the label %s", name, l[1])
			}
		}
	}
}

// TestMetricsAreWellFormed asks Prometheus' own linter.
func TestMetricsAreWellFormed(t *testing.T) {
	s, _ := minting(t)
	if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
		t.Fatal(err)
	}
	text := get(s, "/metrics").Body.String()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "signet_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE "), " ")
		if !strings.HasPrefix(name, "signet_") && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%q is neither ours nor the runtime's", strings.TrimSpace(line))
		}
	}
}

// TestMonitorEndpoints: who may ask for what, and what there is not.
func TestMonitorEndpoints(t *testing.T) {
	s, _ := minting(t)
	far := "192.0.2.7:4711"
	for path, want := range map[string][2]int{ // from here, from elsewhere
		"/metrics": {200, 200}, "/livez": {200, 200}, "/readyz": {200, 200}, "/mintz": {200, 200},
		"/debug/pprof/": {200, 403}, "/debug/pprof/heap": {200, 403}, "/debug/pprof/profile?seconds=1": {200, 403}, "/debug/pprof/symbol": {200, 403},
		"/debug/pprof/cmdline": {404, 403}, "/": {404, 404}, "/debug": {404, 404},
	} {
		if got := get(s, path).Code; got != want[0] {
			t.Errorf("%s answered %d from this machine, want %d", path, got, want[0])
		}
		if got := getFrom(s, path, far).Code; got != want[1] {
			t.Errorf("%s answered %d from another machine, want %d", path, got, want[1])
		}
	}
	if got := getFrom(s, "/debug/pprof/", "[::1]:80").Code; got != 200 {
		t.Errorf("::1 was answered %d", got)
	}
	w := httptest.NewRecorder()
	s.Monitor().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/metrics", strings.NewReader("x")))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST was answered %d", w.Code)
	}

	// A server that has not begun to serve, and one that has ended.
	monitor := s.Monitor()
	s.Stop()
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		monitor.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, _ := io.ReadAll(w.Body)
		return w.Code, string(body)
	}
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/mintz": 503, "/metrics": 200} {
		if code, body := ask(path); code != want {
			t.Errorf("after the shutdown %s answered %d %s", path, code, body)
		}
	}
	idle, err := server.New(t.Context(), s.Config())
	if err != nil {
		t.Fatal(err)
	}
	monitor = idle.Monitor()
	if code, body := ask("/readyz"); code != 503 || !strings.Contains(body, "starting") {
		t.Errorf("before Serve /readyz answered %d %s", code, body)
	}
	if code, _ := ask("/mintz"); code != 200 {
		t.Errorf("before Serve /mintz answered %d", code)
	}
	if err := idle.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLastUseOutlivesARestart: the audit log knows when a key last minted.
func TestLastUseOutlivesARestart(t *testing.T) {
	s, _ := minting(t)
	if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
		t.Fatal(err)
	}
	const series = `signet_key_last_use_timestamp_seconds{key="asc"}`
	minted := float64(s.Clock.Now().UnixMilli()) / 1000
	s.Clock.Advance(time.Minute)
	s.Restart()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		got, ok := scrape(t, s)[series]
		if ok && got == minted {
			break
		}
		if ok || time.Since(began) > 10*time.Second {
			t.Fatalf("after a restart the last use is %v (there: %v), want %v", got, ok, minted)
		}
	}
	if _, err := mint(t.Context(), s.Conn(ci), "release"); err != nil {
		t.Fatal(err)
	}
	scrape(t, s).want(t, "after another mint", samples{series: minted + 60})
}
