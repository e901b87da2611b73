package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
)

const pasted = "-----BEGIN PRIVATE KEY-----\nMIGTAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBHkwdwIBAQQgAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+gCgYIKoZIzj0DAQehRANCAAR=\n-----END PRIVATE KEY-----"

// program is a small tree of the shape that both programs have.
func program(err error) *cobra.Command {
	root := &cobra.Command{Use: "prog", Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	act := &cobra.Command{Use: "act NAME", Short: "Act", Args: Args("NAME"), Example: "  prog thing act x"}
	format := Format(act, "table", "json")
	act.Flags().String("need", "", "needed")
	if err := act.MarkFlagRequired("need"); err != nil {
		panic(err)
	}
	act.RunE = func(c *cobra.Command, args []string) error {
		if err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.OutOrStdout(), args[0], *format)
		return err
	}
	root.AddCommand(Group("thing", "Things", act))
	return root
}

func TestRun(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		err    error
		code   int
		stdout string
		stderr string // "what\n  todo\n"
	}{
		{"ok", []string{"thing", "act", "x", "--need", "y"}, nil, OK, "x table\n", ""},
		{"format", []string{"thing", "act", "x", "--need=y", "-o", "json"}, nil, OK, "x json\n", ""},
		{"unknown command", []string{"thin"}, nil, Malformed, "", "prog: unknown command \"thin\" for \"prog\"\n  see: prog --help\n"},
		{"unknown subcommand", []string{"thing", "ac"}, nil, Malformed, "", "prog: prog thing has no command \"ac\"\n  did you mean: prog thing act\n"},
		{"far from any", []string{"thing", "zzz"}, nil, Malformed, "", "prog: prog thing has no command \"zzz\"\n  see: prog thing --help\n"},
		{"unknown flag", []string{"thing", "act", "x", "--ned", "y"}, nil, Malformed, "", "prog: unknown flag: --ned\n  see: prog thing act --help\n"},
		{"missing flag", []string{"thing", "act", "x"}, nil, Malformed, "", "prog: required flag(s) \"need\" not set\n  see: prog thing act --help\n"},
		{"missing argument", []string{"thing", "act", "--need", "y"}, nil, Malformed, "", "prog: prog thing act wants NAME, and got 0 arguments\n  see: prog thing act --help\n"},
		{"bad format", []string{"thing", "act", "x", "--need", "y", "-o", "xml"}, nil, Malformed, "", "prog: invalid argument \"xml\" for \"-o, --output\" flag: is one of table, json\n  see: prog thing act --help\n"},
		{"a key on the command line", []string{"thing", "act", pasted, "--need", "y"}, nil, Malformed, "", "prog: an argument looks like a private key; nothing was done with it\n  keys go by file, and only to signet key seal and signet key import\n"},
		{"failure", []string{"thing", "act", "x", "--need", "y"}, errors.New("broke"), Other, "", "prog: broke\n"},
		{"failure with advice", []string{"thing", "act", "x", "--need", "y"}, Malformedf("do better", "is %s", "bad"), Malformed, "", "prog: is bad\n  do better\n"},
		{"a key in an error", []string{"thing", "act", "x", "--need", "y"}, fmt.Errorf("cannot read %s", pasted), Other, "", "prog: an argument or a file held what looks like a private key; it is not repeated here\n"},
		{"escape codes", []string{"thing", "act", "x", "--need", "y"}, errors.New("a\x1b[2Jb"), Other, "", "prog: a\uFFFD[2Jb\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := Run(t.Context(), func(Env) *cobra.Command { return program(tt.err) }, Env{Args: tt.args, Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr})
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, stdout.String()); diff != "" {
				t.Errorf("stdout: %s", diff)
			}
			if diff := cmp.Diff(tt.stderr, stderr.String()); diff != "" {
				t.Errorf("stderr: %s", diff)
			}
		})
	}
}

func TestGroupAloneHelps(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := Run(t.Context(), func(Env) *cobra.Command { return program(nil) }, Env{Args: []string{"thing"}, Stdout: &stdout, Stderr: &stderr})
	if code != OK || !strings.Contains(stdout.String(), "act") || stderr.Len() > 0 {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, &stdout, &stderr)
	}
}

func TestCode(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, OK},
		{errors.New("x"), Other},
		{context.Canceled, Other},
		{client.ErrMalformed, Malformed},
		{client.ErrDenied, Denied},
		{client.ErrUnauthenticated, Denied},
		{client.ErrKeyDisabled, Denied},
		{client.ErrKeyRevoked, Denied},
		{client.ErrNoActiveVersion, Denied},
		{client.ErrKeyDamaged, Denied},
		{client.ErrKeyUnfit, Denied},
		{client.ErrNotFound, NotFound},
		{client.ErrExists, Conflict},
		{client.ErrConflict, Conflict},
		{client.ErrUnavailable, Unavailable},
		{client.ErrUnknown, Unavailable},
		{client.ErrRateLimited, Unavailable},
		{client.ErrPolicyTestFailed, Other},
		{client.ErrUnverified, Other},
		{fmt.Errorf("wrapped: %w", &Failure{Err: client.ErrNotFound, Todo: "look"}), NotFound},
		{&Failure{Code: Other, Err: client.ErrUnavailable}, Other},
	}
	for _, tt := range tests {
		if got := Code(tt.err); got != tt.want {
			t.Errorf("Code(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	k := &signetv1.Key{Name: "asc", State: signetv1.KeyState_KEY_STATE_ENABLED, CreateTime: &timestamppb.Timestamp{Seconds: 1767225570}}
	var first string
	for range 20 { // protojson varies its blanks from build to build, not from call to call; ours never
		var b bytes.Buffer
		if err := JSON(&b, k); err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = b.String()
		}
		if b.String() != first {
			t.Fatal("two spellings of one message")
		}
	}
	want := `{
  "name": "asc",
  "kind": "",
  "issuerId": "",
  "state": "KEY_STATE_ENABLED",
  "activeVersion": 0,
  "versions": [],
  "createTime": "2025-12-31T23:59:30Z",
  "problem": "",
  "incomplete": ""
}
`
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	var b bytes.Buffer
	if err := JSON(&b, map[string]string{"a": "<&>"}); err != nil || b.String() != "{\n  \"a\": \"<&>\"\n}\n" {
		t.Errorf("JSON wrote %q, %v", &b, err)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, [][]string{{"NAME", "STATE", "WHY"}, {"long-name", "", ""}, {"x", "a\nb\x1b", "y"}}); err != nil {
		t.Fatal(err)
	}
	want := "NAME       STATE  WHY\nlong-name  -      -\nx          a\uFFFDb\uFFFD   y\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestConfirmNeedsATerminal(t *testing.T) {
	c := &cobra.Command{Use: "act"}
	c.SetIn(strings.NewReader("yes\n"))
	err := Confirm(c, "Sure?")
	if Code(err) != Malformed || !strings.Contains(fmt.Sprint(err), "not a terminal") {
		t.Errorf("error is %v", err)
	}
}

func TestFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteNew(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteNew(path, []byte("b"), 0o600); Code(err) != Conflict {
		t.Errorf("a file that exists: %v", err)
	}
	if err := Replace(path, []byte("c"), 0o600); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != "c" {
		t.Errorf("the file holds %q, %v", data, err)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("its mode is %v, %v", st.Mode(), err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v", entries, err)
	}
	if err := WriteNew(filepath.Join(path, "below-a-file"), nil, 0o600); err == nil {
		t.Error("a file below a file was written")
	}
}

func TestSameFile(t *testing.T) {
	dir := t.TempDir()
	path, other, link := filepath.Join(dir, "f"), filepath.Join(dir, "g"), filepath.Join(dir, "link")
	for _, err := range []error{os.WriteFile(path, nil, 0o600), os.WriteFile(other, nil, 0o600), os.Symlink(path, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	missing := filepath.Join(dir, "missing")
	tests := []struct {
		a, b string
		want bool
	}{{path, path, true}, {path, link, true}, {path, dir + "/./f", true}, {path, other, false}, {path, missing, false}, {missing, path, false}, {missing, missing, false}}
	for _, tt := range tests {
		if got := SameFile(tt.a, tt.b); got != tt.want {
			t.Errorf("SameFile(%s, %s) = %v", tt.a, tt.b, got)
		}
	}
}

// full is a device with no space left.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputThatIsLostIsAFailure(t *testing.T) {
	var stderr bytes.Buffer
	careless := func(env Env) *cobra.Command {
		return &cobra.Command{Use: "prog", RunE: func(*cobra.Command, []string) error { Printf(env.Stdout, "data\n"); return nil }}
	}
	if code := Run(t.Context(), careless, Env{Stdout: full{}, Stderr: &stderr}); code != Other || !strings.Contains(stderr.String(), "no space left") {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
}

func TestInterruptedSaysNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	build := func(Env) *cobra.Command {
		return &cobra.Command{Use: "prog", RunE: func(c *cobra.Command, _ []string) error {
			cancel() // as a signal does
			return fmt.Errorf("asking: %w", c.Context().Err())
		}}
	}
	if code := Run(ctx, build, Env{Stderr: &stderr}); code != Interrupted || stderr.Len() > 0 {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
	// Canceled by somebody else, it is a failure like others.
	failing := func(Env) *cobra.Command {
		return &cobra.Command{Use: "prog", RunE: func(*cobra.Command, []string) error { return context.Canceled }}
	}
	if code := Run(t.Context(), failing, Env{Stderr: &stderr}); code != Other || stderr.Len() == 0 {
		t.Errorf("exit code %d, %s", code, &stderr)
	}
}
