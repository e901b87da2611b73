package daemon

import (
	"testing"

	"github.com/p8signet/signet/cmd/internal/cli"
)

func TestDevDir(t *testing.T) {
	tests := []struct{ state, home, want string }{
		{"/state", "/home/a", "/state/signet/dev"},
		{"", "/home/a", "/home/a/.local/state/signet/dev"},
		{"relative", "/home/a", "/home/a/.local/state/signet/dev"}, // as the XDG specification has it
		{"", "", ""},
	}
	for _, tt := range tests {
		env := map[string]string{"XDG_STATE_HOME": tt.state, "HOME": tt.home}
		p := &program{cli.Env{Getenv: func(name string) string { return env[name] }}}
		dir, err := p.devDir()
		if dir != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("with %v: %q, %v", env, dir, err)
		}
	}
}
