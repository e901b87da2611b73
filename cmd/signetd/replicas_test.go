package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/p8signet/signet/client"
	signetv1 "github.com/p8signet/signet/proto/signet/v1"
	"github.com/p8signet/signet/store"
	"github.com/p8signet/signet/store/lease/leasetest"
	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

// The scale of a storm of processes. SIGNET_STORM says another time for it, such as 10m.
const (
	crowdTime    = 50 * time.Second
	crowdNodes   = 3
	crowdCallers = 4 // at each node
	crowdOps     = 4 // operators
)

var crowdKeys = []string{"a", "b", "c"}

// TestReplicasOnVault: law 5 on three real servers on a real Vault. Each has its own way to Vault, on which requests and answers are
// lost, held up and doubled, and reads are stale; each is stopped, killed and started again under its name; and callers mint at all
// of them while operators change keys and the policy. What they were answered must have an explanation: see package leasetest.
func TestReplicasOnVault(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	program := filepath.Join(t.TempDir(), "signetd")
	build(t, program)
	c := newCrowd(t, program)
	c.storm(stormTime(t))
	c.checkAfter()
	ops := c.history.Ops()
	t.Logf("%d calls: %v", len(ops), leasetest.Summary(ops))
	if len(ops) < 1000 {
		t.Error("that was no storm")
	}
	if err := leasetest.Check(ops, time.Minute); err != nil {
		t.Error(err)
	}
	if t.Failed() {
		c.sayWhatTheySaid()
	}
}

// TestReplicasOnVaultBroken: whether TestReplicasOnVault would notice. Servers that lack a part of the protocol must be found out. It
// takes minutes, and is only run when SIGNET_BROKEN_REPLICAS is set: the same is tested faster in the core.
func TestReplicasOnVaultBroken(t *testing.T) {
	if os.Getenv("SIGNET_BROKEN_REPLICAS") == "" {
		t.Skip("SIGNET_BROKEN_REPLICAS is not set")
	}
	program := filepath.Join(t.TempDir(), "signetd")
	build(t, program, "-tags", "signet_broken")
	t.Setenv("TMPDIR", t.TempDir()) // for the histories
	for _, part := range []string{"lease", "fence", "members"} {
		t.Run(part, func(t *testing.T) {
			for range 5 {
				c := newCrowd(t, program, "SIGNET_BROKEN="+part)
				c.storm(stormTime(t))
				err := leasetest.Check(c.history.Ops(), time.Minute)
				t.Logf("%d calls: %v", len(c.history.Ops()), err)
				c.end()
				if errors.Is(err, leasetest.ErrViolation) {
					return
				}
			}
			t.Error("without that part of the protocol, nothing was found")
		})
	}
}

func stormTime(t *testing.T) time.Duration {
	s := os.Getenv("SIGNET_STORM")
	if s == "" {
		return crowdTime
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("SIGNET_STORM: %v", err)
	}
	return d
}

func build(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "go", slices.Concat([]string{"build", "-o", program}, args, []string{"."})...).CombinedOutput(); err != nil {
		t.Fatalf("building signetd: %v\n%s", err, out)
	}
}

// crowd is three nodes of a vault in Vault.
type crowd struct {
	t       *testing.T
	program string
	env     []string
	dir     string
	vault   *vaultrun.Vault
	nodes   []*node
	history leasetest.History
	over    atomic.Bool
}

// node is one of them: its directory, its way to Vault, and the process that serves it now.
type node struct {
	name, dir, address string
	proxy              *vaultrun.Proxy
	said               *os.File
	live               atomic.Pointer[running]
}

// running is a process that serves, and a client of it.
type running struct {
	cmd    *exec.Cmd
	client *client.Client
}

func newCrowd(t *testing.T, program string, env ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, program: program, env: append(os.Environ(), env...), dir: t.TempDir()}
	var err error
	c.vault, err = vaultrun.Start(t.Context(), filepath.Join(c.dir, "hashicorp"))
	c.check(err)
	t.Cleanup(func() { _ = c.vault.Kill() })
	connection := filepath.Join(c.dir, "vault.yaml")
	text, err := c.vault.SetUp(t.Context(), filepath.Join(c.dir, "secret-id"))
	c.check(err)
	c.check(os.WriteFile(connection, text, 0o600))

	for i := range crowdNodes {
		n := &node{name: fmt.Sprintf("node-%d", i+1)}
		n.dir = filepath.Join(c.dir, n.name)
		if i == 0 {
			c.run("init", "--dir", n.dir, "--vault", connection, "--listen", "127.0.0.1:0", "--lease", store.MinBound.String()) // as short as it can be
		} else {
			c.run("join", "--dir", n.dir, "--from", filepath.Join(c.nodes[0].dir, "signetd.yaml"), "--node", n.name, "--listen", "127.0.0.1:0")
		}
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		c.divert(n)
		c.check(c.start(n, 30*time.Second))
	}
	v := &victim{t: t}
	first := c.nodes[0].live.Load().client
	for i, key := range crowdKeys {
		v.importKey(first, key, fmt.Sprintf("CROWDKEY%02d", i))
	}
	_, err = first.ApplyPolicy(t.Context(), &signetv1.ApplyPolicyRequest{Document: crowdPolicy(crowdKeys)})
	c.check(err)
	return c
}

func (c *crowd) check(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *crowd) run(args ...string) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), c.program, args...)
	cmd.Env = c.env
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("signetd %s: %v\n%s", args[0], err, out)
	}
}

// divert puts a proxy between a node and Vault.
func (c *crowd) divert(n *node) {
	c.t.Helper()
	var err error
	n.proxy, err = vaultrun.NewProxy(c.vault, n.dir)
	c.check(err)
	c.t.Cleanup(n.proxy.Close)
	n.said, err = os.Create(filepath.Join(c.dir, n.name+".log"))
	c.check(err)
	c.t.Cleanup(func() { _ = n.said.Close() })

	config := filepath.Join(n.dir, "signetd.yaml")
	text, err := os.ReadFile(config)
	c.check(err)
	for old, replaced := range map[string]string{
		"address: " + c.vault.Address: "address: " + n.proxy.Address + "\n  timeout: 1s",
		"ca: " + c.vault.CA:           "ca: " + n.proxy.CA,
	} {
		if !bytes.Contains(text, []byte(old)) {
			c.t.Fatalf("%q is not in the config", old)
		}
		text = bytes.Replace(text, []byte(old), []byte(replaced), 1)
	}
	c.check(os.WriteFile(config, text, 0o600))
	n.address = string(regexp.MustCompile(`(?m)^listen: "?([^"\n]+)`).FindSubmatch(text)[1])
}

// start starts a node's server, and waits until it serves.
func (c *crowd) start(n *node, within time.Duration) error {
	cmd := exec.Command(c.program, "serve", "--config", filepath.Join(n.dir, "signetd.yaml"))
	cmd.Env = c.env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	serving := make(chan bool, 1)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			_, _ = fmt.Fprintln(n.said, s.Text())
			if strings.HasPrefix(s.Text(), "signetd: serving on ") {
				serving <- true
			}
		}
		close(serving)
	}()
	select {
	case ok := <-serving:
		if !ok {
			return fmt.Errorf("%s ended before it served: %w", n.name, cmd.Wait())
		}
	case <-time.After(within):
		return errors.Join(fmt.Errorf("%s does not serve after %s", n.name, within), end(cmd))
	}
	conf, err := client.LoadConfig(filepath.Join(c.nodes[0].dir, "operator", "client.yaml"))
	if err != nil {
		return errors.Join(err, end(cmd))
	}
	conf.Addresses = []string{n.address}
	cl, err := client.Dial(conf)
	if err != nil {
		return errors.Join(err, end(cmd))
	}
	r := &running{cmd, cl}
	n.live.Store(r)
	c.t.Cleanup(func() { _ = end(r.cmd); _ = r.client.Close() })
	return nil
}

// end ends a process as kill -9 does.
func end(cmd *exec.Cmd) error {
	err := cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// crowdPolicy has a profile of the name of every key, and grants some.
func crowdPolicy(granted []string) []byte {
	doc := "version: 1\nprofiles:\n"
	for _, key := range crowdKeys {
		doc += fmt.Sprintf("  %s: {key: %s, app_store_connect: {}, ttl: 10m}\n", key, key)
	}
	return fmt.Appendf(nil, "%sgrants:\n  - {id: load, to: [{mtls: spiffe://signet.local/operator}], mint: [%s], rate: none}\n", doc, strings.Join(granted, ", "))
}

// storm goes through a storm.
func (c *crowd) storm(d time.Duration) {
	var weather, operators, callers sync.WaitGroup
	for i, n := range c.nodes {
		weather.Go(func() { c.befall(n) })
		for j := range crowdCallers {
			callers.Go(func() { c.call(n, i*crowdCallers+j) })
		}
	}
	for i := range crowdOps {
		operators.Go(func() { c.operate(crowdNodes*crowdCallers + i) })
	}
	time.Sleep(d)
	c.over.Store(true)
	weather.Wait()
	operators.Wait()
	callers.Wait()
}

// checkAfter: when the storm is over, every node comes back by itself, and the vault is whole.
func (c *crowd) checkAfter() {
	for _, n := range c.nodes {
		for _, key := range crowdKeys {
			for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
				a := c.mint(n, 99, key)
				if slices.Contains([]leasetest.Answer{leasetest.Done, leasetest.Denied, leasetest.KeyDisabled, leasetest.KeyRevoked}, a) {
					break
				}
				if time.Since(began) > 20*time.Second {
					c.t.Errorf("after the storm %s answers %s", n.name, a)
					break
				}
			}
		}
		s, err := n.live.Load().client.GetStatus(c.t.Context(), &signetv1.GetStatusRequest{})
		if err != nil || !s.GetCanMint() || len(s.GetGaps()) > 0 {
			c.t.Errorf("after the storm %s has something to say: %v, %v, %v", n.name, s.GetReasons(), s.GetGaps(), err)
		}
	}
	c.end()
	for _, n := range c.nodes {
		c.run("fsck", "--config", filepath.Join(n.dir, "signetd.yaml"))
	}
}

// end ends all servers.
func (c *crowd) end() {
	for _, n := range c.nodes {
		_ = end(n.live.Load().cmd)
	}
}

func (c *crowd) sayWhatTheySaid() {
	for _, n := range c.nodes {
		text, _ := os.ReadFile(n.said.Name())
		c.t.Logf("%s said at last:\n%s", n.name, text[max(0, len(text)-4000):])
	}
}

// skies are what a way to Vault may be like: which fates befall which requests, and how long they take.
var skies = []struct {
	often float64
	fates []vaultrun.Fate
	root  bool // only reads of the root
	delay time.Duration
	last  time.Duration // at the least
}{
	{often: 1, fates: []vaultrun.Fate{vaultrun.Lost, vaultrun.Lost, vaultrun.Unavailable}, last: 2 * time.Second},
	{often: 0.3, fates: []vaultrun.Fate{vaultrun.Lost, vaultrun.ReplyLost, vaultrun.Twice, vaultrun.Late, vaultrun.Echo, vaultrun.FailedLate, vaultrun.Busy, vaultrun.Foreign, vaultrun.Stale}},
	{delay: 700 * time.Millisecond},
	{often: 0.1, fates: []vaultrun.Fate{vaultrun.ReplyLost, vaultrun.Late, vaultrun.Echo, vaultrun.Stale}, delay: 150 * time.Millisecond},
	{often: 0.9, fates: []vaultrun.Fate{vaultrun.Stale}, last: 3 * time.Second},
	{often: 1, fates: []vaultrun.Fate{vaultrun.Stale}, root: true, last: 7 * time.Second},
	{often: 1, fates: []vaultrun.Fate{vaultrun.Stale}, root: true, last: 7 * time.Second},
}

// cloud lets one of them come over a node, and calm clear it away.
func (n *node) cloud(i int) {
	s := skies[i]
	n.proxy.Plan(func(r *http.Request) vaultrun.Fate {
		reads := r.Method == http.MethodGet
		if s.root && (!reads || !strings.HasSuffix(r.URL.Path, "/root")) || mathrand.Float64() >= s.often {
			return vaultrun.Fine
		}
		return s.fates[mathrand.IntN(len(s.fates))]
	})
	if s.delay > 0 {
		n.proxy.Delay(func() (there, back time.Duration) { return upTo(s.delay), upTo(s.delay) })
	}
}

func (n *node) calm() {
	n.proxy.Plan(nil)
	n.proxy.Delay(nil)
}

func upTo(d time.Duration) time.Duration { return mathrand.N(d) }

// befall lets one thing after the other happen to a node.
func (c *crowd) befall(n *node) {
	for !c.over.Load() {
		switch i := mathrand.IntN(len(skies) + 6); {
		case i < len(skies):
			n.cloud(i)
			time.Sleep(skies[i].last + time.Second + upTo(4*time.Second))
		case i < len(skies)+2:
			process := n.live.Load().cmd.Process
			_ = process.Signal(syscall.SIGSTOP)
			time.Sleep(upTo(6 * time.Second))
			_ = process.Signal(syscall.SIGCONT)
		case i < len(skies)+3: // it takes leave
			cmd := n.live.Load().cmd
			_ = cmd.Process.Signal(syscall.SIGTERM)
			time.Sleep(time.Second + upTo(2*time.Second))
			c.restart(n)
		case i < len(skies)+4: // it is gone for so long that it is fenced and taken out
			_ = end(n.live.Load().cmd)
			time.Sleep(6 * time.Second)
			c.restart(n)
		default:
			c.restart(n)
		}
		n.calm()
		time.Sleep(upTo(4 * time.Second))
	}
	n.calm()
}

// restart kills a node's server, and starts it again as often as it takes.
func (c *crowd) restart(n *node) {
	_ = end(n.live.Load().cmd)
	if mathrand.IntN(2) == 0 {
		n.cloud(mathrand.IntN(len(skies)))
	}
	for tries := 0; ; tries++ {
		err := c.start(n, 10*time.Second)
		if err == nil {
			return
		}
		if tries > 5 {
			c.t.Errorf("%s does not start again: %v", n.name, err)
			c.over.Store(true)
			return
		}
		n.calm()
	}
}

// call mints at one node.
func (c *crowd) call(n *node, by int) {
	for !c.over.Load() {
		time.Sleep(upTo(100 * time.Millisecond))
		c.mint(n, by, crowdKeys[mathrand.IntN(len(crowdKeys))])
	}
}

func (c *crowd) mint(n *node, by int, key string) leasetest.Answer {
	return c.ask(n, leasetest.Op{Client: by, Kind: leasetest.Mint, Key: key}, time.Second+upTo(4*time.Second), func(ctx context.Context, cl *client.Client) error {
		_, err := cl.Mint(ctx, key, client.MintOptions{})
		return err
	})
}

// ask makes a call of a node.
func (c *crowd) ask(n *node, op leasetest.Op, within time.Duration, do func(context.Context, *client.Client) error) leasetest.Answer {
	op.Node = n.name
	return c.history.Do(op, func() leasetest.Answer {
		ctx, cancel := context.WithTimeout(c.t.Context(), within)
		defer cancel()
		err := do(ctx, n.live.Load().client)
		var e *client.Error
		switch {
		case err == nil:
			return leasetest.Done
		case errors.As(err, &e) && e.Reason() != "":
			if slices.Contains([]string{"INTERNAL", "MALFORMED", "GAP"}, e.Reason()) {
				c.t.Errorf("%s at %s: %v", op.Kind, n.name, err)
			}
			return leasetest.Answer(e.Reason())
		case errors.Is(err, client.ErrDenied):
			return leasetest.Denied
		default:
			return "NO_ANSWER"
		}
	})
}

// operate makes changes, each of which it repeats until it succeeds.
func (c *crowd) operate(by int) {
	for !c.over.Load() {
		op := leasetest.Op{Client: by, Key: crowdKeys[mathrand.IntN(len(crowdKeys))]}
		switch n := mathrand.IntN(60); {
		case n < 20:
			op.Kind = leasetest.Disable
		case n < 45:
			op.Kind = leasetest.Enable
		case n < 59:
			op.Kind, op.Key, op.Grants = leasetest.Apply, "", slices.Clone(crowdKeys)
			if without := mathrand.IntN(2 * len(crowdKeys)); without < len(crowdKeys) {
				op.Grants = slices.Delete(op.Grants, without, without+1)
			}
		default:
			op.Kind = leasetest.Revoke
		}
		c.insist(op)
		time.Sleep(upTo(time.Second))
	}
}

// insist makes a change at one node after the other, until one answers success, or that there is nothing to hope for.
func (c *crowd) insist(op leasetest.Op) {
	for range 200 {
		n := c.nodes[mathrand.IntN(len(c.nodes))]
		a := c.ask(n, op, 2*time.Second+upTo(10*time.Second), func(ctx context.Context, cl *client.Client) error { return change(ctx, cl, op) })
		if a == leasetest.Done || a == leasetest.KeyRevoked {
			return
		}
		time.Sleep(upTo(300 * time.Millisecond))
	}
	c.t.Errorf("%s does not come to an end", op.Kind)
}

func change(ctx context.Context, cl *client.Client, op leasetest.Op) error {
	var err error
	switch op.Kind {
	case leasetest.Disable:
		_, err = cl.DisableKey(ctx, &signetv1.DisableKeyRequest{Name: op.Key})
	case leasetest.Enable:
		_, err = cl.EnableKey(ctx, &signetv1.EnableKeyRequest{Name: op.Key})
	case leasetest.Revoke:
		_, err = cl.RevokeKey(ctx, &signetv1.RevokeKeyRequest{Name: op.Key, Reason: "storm"})
	case leasetest.Apply:
		_, err = cl.ApplyPolicy(ctx, &signetv1.ApplyPolicyRequest{Document: crowdPolicy(op.Grants)})
	case leasetest.Mint:
	}
	return err
}
