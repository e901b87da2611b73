package house

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/p8signet/signet/cmd/internal/cli"
)

// exposed is what systemd may say at most of how exposed the service is: 1.5 of 10, in tenths. What remains is mostly that it
// serves over the network.
const exposed = 15

// TestSystemdUnit asks systemd itself whether the unit is one, with a program that exists in the place of ours.
func TestSystemdUnit(t *testing.T) {
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on this machine; nothing else can judge a unit")
	}
	unit, err := os.ReadFile(filepath.Join("..", "..", "..", "deploy", "systemd", "signetd.service"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ExecStart=/usr/local/bin/signetd serve --config ", "User=signet", "LimitCORE=0", "Type=notify", "WatchdogSec=", "TimeoutStopSec=",
		"MemoryMax=", "TasksMax=", "LimitNOFILE=", fmt.Sprintf("RestartPreventExitStatus=%d\n", cli.Conflict), "StartLimitIntervalSec=0\n",
	} {
		if !strings.Contains(string(unit), want) {
			t.Errorf("the unit lacks %q", want)
		}
	}
	path := filepath.Join(t.TempDir(), "signetd.service")
	text := strings.ReplaceAll(string(unit), "/usr/local/bin/signetd", "/bin/true")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", path).CombinedOutput()
	if err != nil || strings.Contains(string(out), "signetd.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), tool, "security", "--no-pager", "--offline=true", fmt.Sprintf("--threshold=%d", exposed), path).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security, at most %d tenths: %v\n%s", exposed, err, out)
	}
}
