package house

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDashboardQueries has promtool parse what the dashboard asks, as rules, with Grafana's variables filled in. make alerts
// runs it: elsewhere promtool may be minutes away.
func TestDashboardQueries(t *testing.T) {
	if os.Getenv("SIGNET_PROMTOOL") == "" {
		t.Skip("make alerts runs this with promtool")
	}
	rules, n := "groups:\n  - name: dashboard\n    rules:\n", 0
	fill := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	d := readDashboard(t)
	queries := []string{d.Annotations.List[0].Expr}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	for _, q := range queries {
		n++
		rules += fmt.Sprintf("      - record: query_%d\n        expr: %q\n", n, fill.Replace(q))
	}
	file := filepath.Join(t.TempDir(), "dashboard.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "..", ".ci", "promtool"), "check", "rules", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf("%d rules found", n)) {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
