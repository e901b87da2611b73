package house

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/p8signet/signet/client"
	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/cmd/internal/daemon"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// composeFile is what deploy/compose.yaml may say: an unknown key, as a misspelt one is, fails.
type composeFile struct {
	Name     string `yaml:"name"`
	Signetd  any    `yaml:"x-signetd"`
	Node     any    `yaml:"x-node"`
	Tools    any    `yaml:"x-tools"`
	Services map[string]service
	Volumes  map[string]any
}

type service struct {
	Image string
	Build struct {
		Context    string
		Dockerfile string
		Inline     string `yaml:"dockerfile_inline"`
		Args       map[string]string
	}
	Command     []string
	Environment map[string]string
	Volumes     []string
	Ports       []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	ReadOnly    bool                                  `yaml:"read_only"`
	CapDrop     []string                              `yaml:"cap_drop"`
	CapAdd      []string                              `yaml:"cap_add"`
	SecurityOpt []string                              `yaml:"security_opt"`
	Restart     string
	StopGrace   string `yaml:"stop_grace_period"`
	Healthcheck struct {
		Test          []string
		Interval      string
		Timeout       string
		StartPeriod   string `yaml:"start_period"`
		StartInterval string `yaml:"start_interval"`
	}
}

// mount is a volume of a service: what is mounted, where, and whether it may be written.
type mount struct {
	from, to string
	readOnly bool
}

func (s service) mounts(t *testing.T) []mount {
	t.Helper()
	var all []mount
	for _, v := range s.Volumes {
		parts := strings.Split(v, ":")
		if len(parts) < 2 || len(parts) > 3 || len(parts) == 3 && parts[2] != "ro" {
			t.Fatalf("the volume %s is not SOURCE:TARGET or SOURCE:TARGET:ro", v)
		}
		all = append(all, mount{parts[0], parts[1], len(parts) == 3})
	}
	return all
}

const deployDir = "../../../deploy"

func readCompose(t *testing.T) composeFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployDir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// once are the services that end, in the order in which they run.
var once = []string{"tls", "setup", "init", "join-2", "join-3"}

// TestCompose looks for what does not fit together in deploy/compose.yaml.
func TestCompose(t *testing.T) {
	c := readCompose(t)
	used := make(map[string]bool)
	for name, s := range c.Services {
		if len(s.Command) == 0 || s.Image == "" {
			t.Errorf("%s: there is no command, or no image", name)
		}
		for _, m := range s.mounts(t) {
			switch _, known := c.Volumes[m.from]; {
			case strings.HasPrefix(m.from, "./"):
				if !m.readOnly || !fileExists(filepath.Join(deployDir, m.from)) {
					t.Errorf("%s: %s is not there, or may be written", name, m.from)
				}
			case !known:
				t.Errorf("%s: the volume %s is not declared", name, m.from)
			}
			used[m.from] = true
		}
		// Files on the command line are in something that is mounted.
		for _, a := range s.Command {
			a = a[strings.LastIndex(a, "=")+1:]
			if !strings.HasPrefix(a, "/") {
				continue
			}
			at, ok := find(s.mounts(t), a)
			if !ok {
				t.Errorf("%s: %s is not in a volume", name, a)
			} else if strings.HasPrefix(at, "./") && !fileExists(filepath.Join(deployDir, at)) {
				t.Errorf("%s: %s is not there", name, a)
			}
		}
		for on, d := range s.DependsOn {
			want := "service_started"
			if slices.Contains(once, on) {
				want = "service_completed_successfully"
			}
			if _, known := c.Services[on]; !known || d.Condition != want {
				t.Errorf("%s depends on %s, %s; want %s", name, on, d.Condition, want)
			}
		}
		if slices.Contains(once, name) != (s.Restart == "") {
			t.Errorf("%s: what ends is not started again, and what serves is: %q", name, s.Restart)
		}
		for key, value := range s.Environment {
			if regexp.MustCompile(`(?i)token|secret|password|unseal`).MatchString(key) || regexp.MustCompile(`^(hv[sbr]|s)\.`).MatchString(value) {
				t.Errorf("%s: %s in the environment may be a secret", name, key)
			}
		}
		if s.Image == "signetd" && (!s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"})) {
			t.Errorf("%s is not shut in as deploy/image says", name)
		}
		if f := s.Build.Dockerfile; f != "" && !fileExists(filepath.Join(deployDir, s.Build.Context, f)) {
			t.Errorf("%s: %s is not there, from %s", name, f, s.Build.Context)
		}
	}
	for v := range c.Volumes {
		if !used[v] {
			t.Errorf("nobody uses the volume %s", v)
		}
	}
	hcl, err := os.ReadFile(filepath.Join(deployDir, "compose", "vault.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`= "(/[^"]*)"`).FindAllStringSubmatch(string(hcl), -1) {
		if _, ok := find(c.Services["vault"].mounts(t), m[1]); !ok {
			t.Errorf("vault.hcl names %s, which is in no volume of vault", m[1])
		}
	}
	for n, made := range map[string]string{"node-1": "init", "node-2": "join-2", "node-3": "join-3"} {
		_, port, _ := strings.Cut(flagOf(c.Services[made], "--listen"), ":")
		if node := c.Services[n]; flagOf(c.Services[made], "--node") != n || !slices.Equal(node.Ports, []string{"127.0.0.1:" + port + ":" + port}) {
			t.Errorf("%s: its name is %s, its ports are %s, and it listens on %s", n, flagOf(c.Services[made], "--node"), node.Ports, port)
		}
	}
}

// find says what a path in a container is outside: of a directory of deploy its path there, of a volume its name and the rest.
func find(mounts []mount, path string) (string, bool) {
	for _, m := range mounts {
		if path == m.to || strings.HasPrefix(path, m.to+"/") {
			return m.from + strings.TrimPrefix(path, m.to), true
		}
	}
	return "", false
}

func flagOf(s service, name string) string {
	if i := slices.Index(s.Command, name); i >= 0 && i+1 < len(s.Command) {
		return s.Command[i+1]
	}
	return ""
}

// compose runs the services of deploy/compose.yaml on this machine: volumes are directories, the server's program is this process, and
// Vault is one of vaultrun's.
type compose struct {
	t    *testing.T
	file composeFile
	dir  string
	v    *vaultrun.Vault
}

// place turns a word of a service's into what it is on this machine.
func (c *compose) place(s service, word string) string {
	if at, ok := find(s.mounts(c.t), word); ok {
		if strings.HasPrefix(at, "./") {
			return filepath.Join(deployDir, at)
		}
		return filepath.Join(c.dir, at)
	}
	switch {
	case word == "https://vault:8200":
		return c.v.Address
	case strings.HasPrefix(word, "0.0.0.0:"):
		return "127.0.0.1:0"
	case word == "65532:65532", word == "100:1000":
		return fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	}
	return word
}

// run runs a service that ends, or the health check of one that does not, and answers what it said.
func (c *compose) run(ctx context.Context, name string, words []string) (code int, said string) {
	c.t.Helper()
	s := c.file.Services[name]
	args := make([]string, len(words))
	for i, w := range words {
		args[i] = c.place(s, w)
	}
	var out bytes.Buffer
	if s.Image == "signetd" {
		env := cli.Env{Args: args, Getenv: func(string) string { return "" }, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out, Now: time.Now, Version: "test"}
		return daemon.Run(ctx, env), out.String()
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = os.Environ()
	for key, value := range s.Environment {
		cmd.Env = append(cmd.Env, key+"="+c.place(s, value))
	}
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

func (c *compose) ok(name string) string {
	c.t.Helper()
	code, said := c.run(c.t.Context(), name, c.file.Services[name].Command)
	if code != 0 {
		c.t.Fatalf("%s: %d\n%s", name, code, said)
	}
	return said
}

// TestComposeUp brings up what deploy/compose.yaml describes, as far as that goes without containers, twice, the second time with a
// Vault that was restarted: it is unsealed, and nothing else happens.
func TestComposeUp(t *testing.T) {
	c := &compose{t: t, file: readCompose(t), dir: t.TempDir()}
	for v := range c.file.Volumes {
		if err := os.Mkdir(filepath.Join(c.dir, v), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if c.v, err = vaultrun.Launch(t.Context(), filepath.Join(c.dir, "hashicorp")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.v.Kill(); err != nil {
			t.Error(err)
		}
	})
	c.certificate()
	if code, said := c.run(t.Context(), "setup", c.file.Services["setup"].Command[:4]); code == 0 || !strings.Contains(said, "up.sh: give the directory") {
		t.Errorf("without its directories: %d, %s", code, said)
	}
	said := c.ok("setup")
	for _, part := range []string{"Vault is initialized", "Vault is unsealed", "Vault is set up"} {
		if !strings.Contains(said, part) {
			t.Errorf("setup does not say %q: %s", part, said)
		}
	}
	for _, name := range once[2:] {
		if said := c.ok(name); !strings.Contains(said, "Created ") {
			t.Errorf("%s says %s", name, said)
		}
	}
	conf, err := client.LoadConfig(filepath.Join(c.dir, "node-3", "vault", "operator", "client.yaml"))
	if err != nil || len(conf.Addresses) != 3 || len(conf.Logs) != 3 {
		t.Errorf("the operator of node-3 knows %v, %v, %v", conf.Addresses, conf.Logs, err)
	}
	for _, a := range conf.Addresses {
		if !strings.HasPrefix(a, "localhost:") {
			t.Errorf("the operator is sent to %s", a)
		}
	}
	before := c.files()
	if err := c.v.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.v.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said := c.ok("setup"); said != "up.sh: Vault is unsealed\n" {
		t.Errorf("setup says, the second time: %s", said)
	}
	for _, name := range once[2:] {
		if said := c.ok(name); !strings.Contains(said, "already; it was not touched") {
			t.Errorf("%s says, the second time: %s", name, said)
		}
	}
	if after := c.files(); !slices.Equal(before, after) {
		t.Errorf("what was there has become\n%s\nfrom\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
	}
	c.serve()
}

// serve serves every node and asks its health check.
func (c *compose) serve() {
	t := c.t
	for _, name := range []string{"node-1", "node-2", "node-3"} {
		s := c.file.Services[name]
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan string, 1)
		go func() {
			code, said := c.run(ctx, name, s.Command)
			ended <- fmt.Sprintf("%d\n%s", code, said)
		}()
		code, said := -1, ""
		for began := time.Now(); code != 0 && time.Since(began) < 20*time.Second; time.Sleep(50 * time.Millisecond) {
			code, said = c.run(t.Context(), name, s.Healthcheck.Test[2:])
		}
		stop()
		if code != 0 {
			t.Errorf("%s: its health check says %d, %s; it has ended with %s", name, code, said, <-ended)
		} else if said := <-ended; !strings.HasPrefix(said, "0\n") {
			t.Errorf("%s has ended with %s", name, said)
		}
	}
}

// certificate has tls.sh make what it makes, looks at it, and puts vaultrun's CA, whose certificate is for this machine, in its place.
func (c *compose) certificate() {
	c.t.Helper()
	ca := filepath.Join(c.dir, "seed", "ca.pem")
	if _, err := exec.LookPath("openssl"); err == nil {
		said := c.ok("tls")
		pool, leaf := x509.NewCertPool(), filepath.Join(c.dir, "vault-tls", "vault.pem")
		text, err := os.ReadFile(ca)
		if err != nil || !pool.AppendCertsFromPEM(text) {
			c.t.Fatalf("%v, %s: %s", err, said, text)
		}
		if text, err = os.ReadFile(leaf); err != nil {
			c.t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, name := range []string{"vault", "localhost"} {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: pool}); err != nil {
				c.t.Errorf("Vault's certificate: %v", err)
			}
		}
		key, err := os.Stat(filepath.Join(c.dir, "vault-tls", "vault.key"))
		if err != nil || key.Mode().Perm() != 0o600 {
			c.t.Errorf("Vault's key: %v, %v", key, err)
		}
		if said := c.ok("tls"); !strings.Contains(said, "there already") {
			c.t.Errorf("tls says, the second time: %s", said)
		}
	}
	text, err := os.ReadFile(c.v.CA)
	if err == nil {
		err = os.WriteFile(ca, text, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// files are the files of all volumes, with the hashes of their contents.
func (c *compose) files() []string {
	c.t.Helper()
	var all []string
	for v := range c.file.Volumes {
		root := filepath.Join(c.dir, v)
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all = append(all, fmt.Sprintf("%s %x", strings.TrimPrefix(path, c.dir), sha256.Sum256(text)))
			return err
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	slices.Sort(all)
	return all
}
