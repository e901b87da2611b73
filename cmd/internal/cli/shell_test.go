package cli

import (
	"os/exec"
	"strings"
	"testing"
)

// TestQuoted has a real shell read what is printed for one.
func TestQuoted(t *testing.T) {
	for _, word := range []string{"", "plain/path-1.yaml", "with space", "it's", `"$HOME" \ ;*`, "ümlaut\n", "~/x", "a=b", "--flag"} {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s' "+Quoted(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q is written %s and read as %q, %v", word, Quoted(word), out, err)
		}
	}
	if got := Quoted("a\x1b[2Jb"); strings.Contains(got, "\x1b") {
		t.Errorf("%q moves the cursor", got)
	}
}
