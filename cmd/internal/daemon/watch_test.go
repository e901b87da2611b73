package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

// running is a signetd in this process.
type running struct {
	t      *testing.T
	dir    string
	stderr *lockedBuffer
	end    context.CancelFunc
	ended  chan int
}

// serveVault makes a vault, adds to its config, and serves it.
func serveVault(t *testing.T, more string, env map[string]string) *running {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	file := filepath.Join(dir, configFile)
	in := func(ctx context.Context, stderr io.Writer, args ...string) int {
		return Run(ctx, cli.Env{
			Args: args, Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: stderr,
			Now: time.Now, Version: "test",
		})
	}
	var said bytes.Buffer
	if code := in(t.Context(), &said, "init", "--dir", dir, "--listen", "127.0.0.1:0"); code != cli.OK {
		t.Fatalf("init: %d %s", code, said.String())
	}
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "\nmetrics: 127.0.0.1:0\n") {
		t.Fatalf("init wrote %s, %v", text, err)
	}
	if more != "" {
		text = append(bytes.Replace(text, []byte("metrics: 127.0.0.1:0\n"), nil, 1), more...)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return serveDir(t, dir, env)
}

// serveDir serves the vault of a directory.
func serveDir(t *testing.T, dir string, env map[string]string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, dir: dir, stderr: new(lockedBuffer), end: cancel, ended: make(chan int, 1)}
	go func() {
		r.ended <- Run(ctx, cli.Env{
			Args: []string{"serve", "--config", filepath.Join(dir, configFile)}, Getenv: func(name string) string { return env[name] },
			Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: r.stderr, Now: time.Now, Version: "test",
		})
	}()
	t.Cleanup(func() { r.stop() })
	r.line("signetd: serving on ")
	return r
}

// line waits for a line that contains the text.
func (r *running) line(text string) string {
	r.t.Helper()
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(5 * time.Millisecond) {
		for line := range strings.Lines(r.stderr.String()) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return line
			}
		}
		select {
		case code := <-r.ended:
			r.ended <- code
			r.t.Fatalf("signetd ended with %d: %s", code, r.stderr.String())
		default:
		}
	}
	r.t.Fatalf("signetd does not say %q: %s", text, r.stderr.String())
	return ""
}

func (r *running) stop() {
	r.end()
	select {
	case code := <-r.ended:
		r.ended <- code
	case <-time.After(30 * time.Second):
		r.t.Error("signetd does not end")
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// TestMetricsOfServe: a vault as init makes it says where its metrics are before anything else, shows them there, and the
// address is given up with the server.
func TestMetricsOfServe(t *testing.T) {
	r := serveVault(t, "", nil)
	found := regexp.MustCompile(`msg="metrics on" address=(127\.0\.0\.1:[1-9][0-9]*)\n`).FindStringSubmatch(r.line("metrics on"))
	if found == nil {
		t.Fatalf("no address in %s", r.stderr.String())
	}
	if said := r.stderr.String(); strings.Index(said, "metrics on") > strings.Index(said, "serving on") {
		t.Errorf("the metrics' address comes last: %s", said)
	}
	base := "http://" + found[1]
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/mintz", "/debug/pprof/heap"} {
		if code, body := fetch(t, base+path); code != http.StatusOK || path == "/metrics" && !strings.Contains(body, `signet_build_info{go_version="go`) {
			t.Errorf("%s answered %d %.100s", path, code, body)
		}
	}
	r.stop()
	if conn, err := net.Dial("tcp", found[1]); err == nil {
		t.Error("the metrics' address is still listened on")
		_ = conn.Close()
	}
}

// TestLinesOfServe: every line but the one that says that it serves is JSON when the config asks for it.
func TestLinesOfServe(t *testing.T) {
	r := serveVault(t, "metrics: 127.0.0.1:0\nlogging: {format: json, level: debug}\n", nil)
	var on struct {
		Msg, Address string
	}
	if err := json.Unmarshal([]byte(r.line("metrics on")), &on); err != nil || on.Address == "" {
		t.Fatalf("%v: %s", err, r.stderr.String())
	}
	r.stop()
	if said := r.stderr.String(); !strings.Contains(said, `"within":"20s"`) {
		t.Errorf("the time to stop in is not told as a person reads it: %s", said)
	}
	for line := range strings.Lines(r.stderr.String()) {
		if !strings.HasPrefix(line, "signetd: serving on ") && !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// TestQuietServe: without metrics in the config there are none, and at the level error their address is told all the same.
func TestQuietServe(t *testing.T) {
	r := serveVault(t, "logging: {level: error}\n", nil)
	r.stop()
	if said := r.stderr.String(); strings.Contains(said, "metrics") {
		t.Errorf("metrics that nobody asked for: %s", said)
	}
	serveVault(t, "metrics: 127.0.0.1:0\nlogging: {level: error}\n", nil).line("metrics on")
}

// TestMetricsWhileStarting: liveness is told apart before there is a server.
func TestMetricsWhileStarting(t *testing.T) {
	var stderr lockedBuffer
	m, err := (&program{cli.Env{Stderr: &stderr}}).watch(t.Context(), &config{Metrics: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/mintz": 503, "/metrics": 503} {
		w := httptest.NewRecorder()
		if m.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil)); w.Code != want {
			t.Errorf("%s answered %d, want %d", path, w.Code, want)
		}
	}
	// The address is taken now.
	_, address, _ := strings.Cut(strings.TrimSpace(stderr.String()), "address=")
	if _, err := (&program{cli.Env{Stderr: io.Discard}}).watch(t.Context(), &config{Metrics: address}); err == nil || !strings.Contains(err.Error(), "metrics in the config") {
		t.Errorf("on an address that is taken: %v", err)
	}
}

// TestTracesOfServe: spans arrive at a collector, and one that refuses them is complained of once.
func TestTracesOfServe(t *testing.T) {
	var asked, refuse atomic.Int64
	paths := make(chan string, 64)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked.Add(1)
		select {
		case paths <- r.URL.Path + " " + r.Header.Get("Content-Type"):
		default:
		}
		if refuse.Load() > 0 {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	for _, env := range []map[string]string{nil, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}} {
		config := "traces: {ratio: 1.0}\n"
		if env == nil {
			config = fmt.Sprintf("traces: {endpoint: %q, ratio: 1}\n", collector.URL)
		}
		for name, value := range env { // the exporter reads the process's own environment
			t.Setenv(name, value)
		}
		refuse.Store(0)
		r := serveVault(t, config, env)
		r.line("traces on")
		spanOf(t, r)
		select {
		case got := <-paths:
			if got != "/v1/traces application/x-protobuf" {
				t.Errorf("spans were sent to %s", got)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("no spans arrive")
		}
		refuse.Store(1)
		for n := asked.Load(); asked.Load() < n+2; time.Sleep(5 * time.Millisecond) {
			spanOf(t, r)
		}
		r.stop()
		if n := strings.Count(r.stderr.String(), "spans cannot be sent"); n != 1 {
			t.Errorf("complained %d times: %s", n, r.stderr.String())
		}
	}
}

// spanOf makes a call that is traced.
func spanOf(t *testing.T, r *running) {
	t.Helper()
	conf, err := client.LoadConfig(filepath.Join(r.dir, operatorDir, clientFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.GetStatus(t.Context(), &signetv1.GetStatusRequest{}); err != nil {
		t.Fatal(err)
	}
}

func TestWatchConfig(t *testing.T) {
	for text, want := range map[string]string{
		"metrics: nowhere\n":                                          "metrics: is not",
		"metrics: 127.0.0.1:99999\n":                                  "metrics: the port",
		"traces: {endpoint: 127.0.0.1:4318}\n":                        "traces: endpoint",
		"traces: {endpoint: \"http://me:secret@host:1\"}\n":           "traces: endpoint",
		"traces: {endpoint: \"ftp://host\"}\n":                        "traces: endpoint",
		"traces: {ratio: 2}\n":                                        "traces: ratio",
		"traces: {ratio: .nan}\n":                                     "traces: ratio",
		"traces: {sample: 1}\n":                                       "unknown key sample",
		"metrics: \":9464\"\ntraces: {endpoint: \"https://c:1/x\"}\n": "",
	} {
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, []byte(goodConfig+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := loadConfig(path)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	p := &program{cli.Env{Getenv: func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}[name]
	}}}
	if _, err := p.newProvider(t.Context(), &config{}, discard()); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_PROTOCOL") {
		t.Errorf("another protocol: %v", err)
	}
}
