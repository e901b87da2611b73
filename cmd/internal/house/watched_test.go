package house

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/server/servertest"
)

// deployed is a file below deploy.
func deployed(parts ...string) string {
	return filepath.Join(append([]string{"..", "..", "..", "deploy"}, parts...)...)
}

// runbookURL is where the pages are read.
const runbookURL = "https://github.com/p8signet/signet/blob/main/deploy/runbook/"

// rule is an alert.
type rule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func readRules(t *testing.T) []rule {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	readYAML(t, deployed("alerts", "signet.rules.yaml"), &file)
	var all []rule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 20 {
		t.Fatalf("found %d alerts; has the file's form changed?", len(all))
	}
	return all
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// panel is what is looked at of a panel of the dashboard.
type panel struct {
	ID          int
	Type, Title string
	Datasource  struct{ UID string }
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct {
		Expr, LegendFormat string
		Datasource         struct{ UID string }
	}
}

type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct{ List []struct{ Expr string } }
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	text, err := os.ReadFile(deployed("dashboards", "signet.json"))
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil || len(d.Panels) < 20 {
		t.Fatalf("the dashboard has %d panels: %v", len(d.Panels), err)
	}
	return d
}

// shown are the series of a real server to which everything has happened that makes series: name → labels, and label=value.
func shown(t *testing.T) map[string][]string {
	t.Helper()
	s := servertest.New(t)
	s.ImportKey("asc", "app-store-connect")
	s.ApplyPolicy(`version: 1
profiles: {release: {key: asc, app_store_connect: {}}}
grants: [{id: ci, to: [{mtls: "spiffe://signet.test/ci/*"}], mint: [release]}]
`)
	mint := &signetv1.MintTokenRequest{Profile: "release"}
	if _, err := signetv1.NewTokenServiceClient(s.Conn("spiffe://signet.test/ci/1")).MintToken(t.Context(), mint); err != nil {
		t.Fatal(err)
	}
	for _, nobody := range []string{"", "spiffe://signet.test/nobody"} {
		conn := s.Dial(nil)
		if nobody != "" {
			conn = s.Conn(nobody)
		}
		if _, err := signetv1.NewTokenServiceClient(conn).MintToken(t.Context(), mint); err == nil {
			t.Fatalf("%q may mint", nobody)
		}
	}
	audit := signetv1.NewAuditServiceClient(s.Operator())
	anchor, err := audit.GetCheckpoint(t.Context(), &signetv1.GetCheckpointRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := audit.ProveConsistency(t.Context(), &signetv1.ProveConsistencyRequest{Checkpoint: anchor.GetNote()}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.Monitor().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	found := map[string][]string{"up": {"job", "instance"}} // which Prometheus itself makes
	label := regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
	for line := range strings.Lines(w.Body.String()) {
		name, rest, _ := strings.Cut(line, " ")
		name, labels, _ := strings.Cut(name, "{")
		if strings.HasPrefix(line, "#") {
			continue
		}
		found[name] = append(found[name], "job", "instance") // which Prometheus adds
		for _, m := range label.FindAllStringSubmatch(labels+rest, -1) {
			found[name] = append(found[name], m[1], m[1]+"="+m[2])
		}
	}
	return found
}

var (
	metricName  = regexp.MustCompile(`\b(?:signet|go|process)_[a-z0-9_]+\b|\bup\b`)
	selector    = regexp.MustCompile(`\b((?:signet|go|process)_[a-z0-9_]+|up)\{([^}]*)\}`)
	matcher     = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	aggregation = regexp.MustCompile(`\b(?:by|without|on|ignoring)\s*\(([^)]*)\)`)
	template    = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z_]+)`)
	reason      = regexp.MustCompile(`^[A-Z_|]+$`)
)

// TestWatchersNameWhatThereIs: every alert and every query of the dashboard names metrics, labels and reasons that a real
// server has, and every metric of ours is looked at by one of them.
func TestWatchersNameWhatThereIs(t *testing.T) {
	there := shown(t)
	looked := map[string]bool{}
	check := func(where, expr string, templates ...string) {
		t.Helper()
		names := metricName.FindAllString(matcher.ReplaceAllString(expr, ""), -1)
		if len(names) == 0 {
			t.Errorf("%s: no metric in %q", where, expr)
		}
		var labels []string
		for _, name := range names {
			looked[name] = true
			if there[name] == nil {
				t.Errorf("%s: %s is no metric of the server", where, name)
			}
			labels = append(labels, there[name]...)
		}
		for _, s := range selector.FindAllStringSubmatch(expr, -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if !slices.Contains(there[s[1]], m[1]) {
					t.Errorf("%s: %s has no label %s", where, s[1], m[1])
				}
				if m[1] == "reason" && reason.MatchString(m[2]) {
					for one := range strings.SplitSeq(m[2], "|") {
						knownReason(t, where, one)
						if s[1] == "signet_mint_obstacle" && !slices.Contains(there[s[1]], "reason="+one) {
							t.Errorf("%s: %s has no series of the reason %s", where, s[1], one)
						}
					}
				}
			}
		}
		for _, a := range aggregation.FindAllStringSubmatch(expr, -1) {
			for l := range strings.SplitSeq(a[1], ",") {
				if !slices.Contains(labels, strings.TrimSpace(l)) {
					t.Errorf("%s: none of its metrics has the label %s", where, l)
				}
			}
		}
		for _, text := range templates {
			for _, m := range template.FindAllStringSubmatch(text, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: %q is about a label that there is not", where, text)
				}
			}
		}
	}
	for _, r := range readRules(t) {
		texts := strings.ReplaceAll(r.Annotations["summary"]+r.Annotations["description"], "{{ $value", "")
		check(r.Alert, r.Expr, texts)
	}
	d := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			check(p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			check(v.Name, v.Definition)
		}
	}
	for _, a := range d.Annotations.List {
		check("annotation", a.Expr)
	}
	for name := range there {
		family := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		seen := slices.ContainsFunc([]string{name, family, family + "_bucket", family + "_sum", family + "_count"}, func(n string) bool { return looked[n] })
		if strings.HasPrefix(name, "signet_") && !seen {
			t.Errorf("%s is in no alert and not on the dashboard", name)
		}
	}
}

// knownReason looks for the constant in the sources of the server.
func knownReason(t *testing.T, where, name string) {
	t.Helper()
	for _, file := range []string{"internal/authority/errors.go", "errors.go"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "server", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `"`+name+`"`) {
			return
		}
	}
	t.Errorf("%s: %s is no reason of the server's", where, name)
}

// TestEveryAlertIsExplainedAndTested: a page for every alert and an alert for every page that is named as alerts are; a test that it
// fires, and one that it does not. Any other page is one that README links to.
func TestEveryAlertIsExplainedAndTested(t *testing.T) {
	var tests struct{ Tests []struct{ Name string } }
	readYAML(t, deployed("alerts", "signet.test.yaml"), &tests)
	names := map[string]bool{}
	for _, one := range tests.Tests {
		names[one.Name] = true
	}
	pages := map[string]bool{}
	files, err := filepath.Glob(deployed("runbook", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".md"); name != "README" {
			pages[name] = true
		}
	}
	for _, r := range readRules(t) {
		if want := runbookURL + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: has no summary, description or severity", r.Alert)
		}
		for _, test := range []string{"fires", "silent"} {
			if !names[r.Alert+", "+test] {
				t.Errorf("%s: no test %q", r.Alert, test)
			}
		}
		text, err := os.ReadFile(deployed("runbook", r.Alert+".md"))
		if err != nil {
			t.Errorf("%s has no page: %v", r.Alert, err)
		}
		for _, part := range []string{"# " + r.Alert + "\n", "**It means.**", "**Users feel.**", "\n## Look\n", "\n## Do\n", "**Worry when**"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("the page of %s lacks %q", r.Alert, part)
			}
		}
		delete(pages, r.Alert)
	}
	readme, err := os.ReadFile(deployed("runbook", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if strings.HasPrefix(name, "Signet") || !strings.Contains(string(readme), "]("+name+".md)") {
			t.Errorf("the page %s is of no alert, and README does not link to it", name)
		}
	}
}

// TestRunbook: links lead somewhere, and every command of ours is one, with the flags that it is given.
func TestRunbook(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+string(filepath.Separator), "../../signet", "../../signetd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the programs: %v\n%s", err, out)
	}
	files, err := filepath.Glob(deployed("runbook", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	command := regexp.MustCompile("(?m)(?:^|`)(signetd? [^`\n]+)")
	flag := regexp.MustCompile(` (--[a-z-]+)`)
	help, checked := map[string]string{}, 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if !fileExists(deployed("runbook", m[1])) {
				t.Errorf("%s links to %s, which is not there", file, m[1])
			}
		}
		for _, m := range command.FindAllStringSubmatch(string(text), -1) {
			words := strings.Fields(m[1])
			n := map[string]int{"signet": 3, "signetd": 2}[words[0]]
			if strings.HasPrefix(m[1], "signetd log ") {
				n = 3
			}
			path := strings.Join(words[:min(n, len(words))], " ")
			if _, known := help[path]; !known {
				out, err := exec.CommandContext(t.Context(), filepath.Join(bin, words[0]), append(words[1:min(n, len(words))], "--help")...).CombinedOutput()
				if err != nil {
					t.Fatalf("%s --help: %v\n%s", path, err, out)
				}
				help[path] = string(out)
			}
			checked++
			if !strings.Contains(help[path], "\n  "+path+" ") {
				t.Errorf("%s: %s is no command", file, path)
			}
			for _, f := range flag.FindAllStringSubmatch(m[1], -1) {
				if !strings.Contains(help[path], " "+f[1]+" ") {
					t.Errorf("%s: %s has no flag %s", file, path, f[1])
				}
			}
		}
	}
	if checked < 30 {
		t.Errorf("found %d commands in the runbook; has its form changed?", checked)
	}
}

// TestDashboard: it can be loaded into any Grafana: panels do not lie on each other, and all ask the source that is chosen.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	ids, taken := map[int]bool{}, map[string]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %d %q has no id and title of its own", p.ID, p.Title)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("%s lies at %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				at := fmt.Sprint(x, " ", y)
				if taken[at] != "" {
					t.Fatalf("%s lies on %s", p.Title, taken[at])
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s asks %q", p.Title, p.Datasource.UID)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks %q", p.Title, target.Datasource.UID)
			}
		}
	}
	if vars := d.Templating.List; len(vars) == 0 || vars[0].Name != "datasource" || vars[0].Type != "datasource" {
		t.Errorf("the source cannot be chosen: %+v", vars)
	}
}
