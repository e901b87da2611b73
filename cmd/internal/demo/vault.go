package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/p8signet/signet/store/vaultstore/vaultrun"
)

const (
	setupScript = "deploy/vault/setup.sh"

	// lease is shorter than anybody would have it, so that the walk need not wait for long, and long enough for a slow machine.
	lease = 8 * time.Second

	vaultPolicy = `version: 1
profiles:
  ios-release: {key: asc-release, app_store_connect: {}, ttl: 10m}
grants:
  - id: ios-ci
    to: [{mtls: spiffe://signet.local/ci/*}]
    mint: [ios-release]
    rate: none
tests:
  - {as: {mtls: spiffe://signet.local/ci/1},      mint: ios-release, expect: allow}
  - {as: {mtls: spiffe://signet.local/android/1}, mint: ios-release, expect: deny}
`
)

// nodes are the replicas, by name. The way of the last one to Vault can be cut.
var nodes = []string{"node-1", "node-2", "node-3"}

const cutOff = "node-3"

// onVault walks through what is different when the vault lies in HashiCorp Vault: several replicas, each of which mints from memory,
// and what becomes of that when Vault is away from one of them or from all.
func onVault(ctx context.Context, d *demo) error {
	setup, err := filepath.Abs(setupScript)
	if err != nil {
		return err
	}
	d.say("1. A real Vault. Its administrator sets it up for Signet: a mount, a transit key, the least policy that suffices, a way to sign in.")
	v, err := d.startVault(ctx)
	if err != nil {
		return err
	}
	defer v.Kill()
	if err := d.setUp(ctx, setup, v); err != nil {
		return err
	}
	way, err := vaultrun.NewProxy(v, filepath.Join(d.dir, "hashicorp"))
	if err != nil {
		return err
	}
	defer way.Close()

	d.say("2. Operations makes the vault there, and two further nodes of it. Each serves by itself.")
	if err := d.makeNodes(ctx, v, way); err != nil {
		return err
	}
	stop, err := d.serveAll(ctx)
	defer stop()
	if err != nil {
		return err
	}
	if err := d.mintAndTurnOff(ctx); err != nil {
		return err
	}
	if err := d.cutOneOff(ctx, way); err != nil {
		return err
	}
	if err := d.loseVault(ctx, v); err != nil {
		return err
	}
	if err := d.revokeAndVerify(ctx); err != nil {
		return err
	}
	if err := stop(); err != nil {
		return fmt.Errorf("not all nodes stopped in order: %w", err)
	}
	d.say("Held: off meant off on every replica when the command returned, minting needed no Vault within its lease and none was done beyond it, and every log is whole.")
	return nil
}

// serveAll starts all nodes, and answers how to stop those that were started.
func (d *demo) serveAll(ctx context.Context) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, s := range stops {
			errs = append(errs, s())
		}
		return errors.Join(errs...)
	}
	for _, n := range nodes {
		s, err := d.serve(ctx, n+"/signetd.yaml")
		if err != nil {
			return stop, err
		}
		stops = append(stops, s)
	}
	d.use(cutOff + "/operator/client.yaml")
	if err := d.showFile(d.config, "addresses:", "ca:"); err != nil {
		return stop, err
	}
	return stop, d.members(ctx, "current", len(nodes))
}

// mintAndTurnOff is what all replicas do together.
func (d *demo) mintAndTurnOff(ctx context.Context) error {
	d.say("3. A key and a policy are brought to one of them, and every one of them mints.")
	pub, err := d.sealedImport(ctx)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.dir, "policy.yaml"), []byte(vaultPolicy), 0o600); err != nil {
		return err
	}
	if _, err := d.must(ctx, "signet", "policy", "apply", "policy.yaml"); err != nil {
		return err
	}
	if err := d.makeCaller(ctx); err != nil {
		return err
	}
	tokens, err := d.mintEverywhere(ctx)
	if err != nil {
		return err
	}
	for _, t := range tokens {
		if err := d.check(t, pub); err != nil {
			return err
		}
	}

	d.say("4. The key is turned off while callers of every node ask for tokens without a pause. When the command returns, nobody mints.")
	if err := d.turnOff(ctx, "a drill", 0); err != nil {
		return err
	}
	return d.turnOn(ctx, "the drill is over")
}

// turnOn enables the key, with which every node mints again.
func (d *demo) turnOn(ctx context.Context, reason string) error {
	if _, err := d.must(ctx, "signet", "key", "enable", "asc-release", "--reason", reason); err != nil {
		return err
	}
	_, err := d.mintEverywhere(ctx)
	return err
}

// cutOneOff is what becomes of one replica that does not reach Vault, and of a change that it does not hear of.
func (d *demo) cutOneOff(ctx context.Context, way *vaultrun.Proxy) error {
	d.say("5. " + cutOff + " is cut off from Vault. It goes on minting, for " + lease.String() + " at most: that is its lease.")
	way.Plan(func(*http.Request) vaultrun.Fate { return vaultrun.Lost })
	d.note("the way from " + cutOff + " to Vault is cut")
	if _, err := d.mintAt(ctx, cutOff); err != nil {
		return err
	}

	d.say("6. The key is turned off meanwhile. The command says for whom it waits, and returns when the lease has run out.")
	if err := d.turnOff(ctx, "laptop lost, ticket 4711", lease); err != nil {
		return err
	}
	if err := d.refused(ctx, 6, "mint", "ios-release", "--config", caller(cutOff)); err != nil {
		return err
	}
	if err := d.members(ctx, "current", len(nodes)-1); err != nil {
		return err
	}

	d.say("7. The way is mended. " + cutOff + " joins anew by itself, and knows that the key is off.")
	way.Plan(nil)
	d.note("the way from " + cutOff + " to Vault is mended")
	if err := d.until(ctx, 3, "mint", "ios-release", "--config", caller(cutOff)); err != nil {
		return err
	}
	return d.turnOn(ctx, "the laptop was found")
}

// loseVault is what all replicas do without Vault, and what its administrator does to it when it is back.
func (d *demo) loseVault(ctx context.Context, v *vaultrun.Vault) error {
	d.say("8. Vault itself is killed. Minting goes on from memory; a change has to wait until Vault is back.")
	if err := v.Kill(); err != nil {
		return err
	}
	d.note("Vault is killed")
	if err := d.withoutVault(ctx, v); err != nil {
		return err
	}

	d.say("9. The administrator of Vault rotates the transit key; the root key is wrapped anew under it.")
	if _, err := v.Root.Logical().WriteWithContext(ctx, "transit/keys/signet/rotate", nil); err != nil {
		return err
	}
	d.note("transit/keys/signet is rotated")
	_, err := d.must(ctx, "signet", "system", "rewrap")
	return err
}

// revokeAndVerify ends the key on all replicas, and reads all of their logs.
func (d *demo) revokeAndVerify(ctx context.Context) error {
	d.say("10. The key is revoked. What is still out there is added up over the logs of all nodes.")
	if err := d.timed(ctx, "signet", "key", "revoke", "asc-release", "--reason", "the laptop was opened, ticket 4712", "--yes"); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := d.refused(ctx, 3, "mint", "ios-release", "--config", caller(n)); err != nil {
			return err
		}
	}

	d.say("11. Security reads one log of all nodes, and can prove that each is whole.")
	for _, args := range [][]string{{"audit", "list", "--key", "asc-release", "--limit", "9"}, {"audit", "verify"}} {
		if _, err := d.must(ctx, "signet", args...); err != nil {
			return err
		}
	}
	return nil
}

// note says what is done to the machines, by no command of ours.
func (d *demo) note(text string) { fmt.Fprintf(d.out, "# %s\n", text) }

// use makes a client.yaml that of the next commands.
func (d *demo) use(config string) {
	d.config = config
	fmt.Fprintf(d.out, "$ export SIGNET_CONFIG=%s\n", config)
}

// showFile shows the lines of a file from the one that begins with from to before the one that begins with to.
func (d *demo) showFile(name, from, to string) error {
	text, err := os.ReadFile(filepath.Join(d.dir, name))
	if err != nil {
		return err
	}
	_, rest, ok := bytes.Cut(text, []byte(from))
	part, _, end := bytes.Cut(rest, []byte("\n"+to))
	if !ok || !end {
		return fmt.Errorf("%s is not as it was to be", name)
	}
	fmt.Fprint(d.out, indent(from+string(part)))
	return nil
}

// startVault starts a Vault, which is built first where that was not done before.
func (d *demo) startVault(ctx context.Context) (*vaultrun.Vault, error) {
	dir := filepath.Join(d.dir, "hashicorp")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	began := time.Now()
	patience := time.AfterFunc(5*time.Second, func() {
		d.note("where no vault or bao is on the PATH, one is built: once, into the user's cache. It takes some minutes.")
	})
	v, err := vaultrun.Start(ctx, dir)
	if err != nil {
		return nil, err
	}
	if !patience.Stop() {
		d.note("that took " + time.Since(began).Round(time.Second).String())
	}
	d.note("a Vault serves at " + v.Address + ", with TLS, initialized and unsealed")
	return v, nil
}

// setUp runs setup.sh as an administrator of Vault does.
func (d *demo) setUp(ctx context.Context, script string, v *vaultrun.Vault) error {
	fmt.Fprintf(d.out, "$ export VAULT_ADDR=%s VAULT_CACERT=hashicorp/ca.pem VAULT_TOKEN=…\n$ %s secret-id > vault.yaml\n", v.Address, setupScript)
	cmd := exec.CommandContext(ctx, "sh", script, "secret-id")
	cmd.Dir = d.dir
	cmd.Env = append(os.Environ(), "VAULT_ADDR="+v.Address, "VAULT_CACERT=hashicorp/ca.pem", "VAULT_TOKEN="+v.Token, "VAULT_NAMESPACE=")
	var said bytes.Buffer
	cmd.Stderr = &said
	printed, err := cmd.Output()
	fmt.Fprint(d.out, indent(said.String()))
	if err != nil {
		return fmt.Errorf("%s: %w", setupScript, err)
	}
	return os.WriteFile(filepath.Join(d.dir, "vault.yaml"), printed, 0o600)
}

// makeNodes makes the directories of all nodes. The last one reaches Vault by a way that can be cut.
func (d *demo) makeNodes(ctx context.Context, v *vaultrun.Vault, way *vaultrun.Proxy) error {
	if _, err := d.must(ctx, "signetd", "init", "--dir", nodes[0], "--node", nodes[0], "--vault", "vault.yaml", "--listen", "127.0.0.1:0", "--lease", lease.String()); err != nil {
		return err
	}
	d.note("the lease is " + lease.String() + " instead of 30s, so that this need not take long")
	for i, n := range nodes[1:] {
		if _, err := d.must(ctx, "signetd", "join", "--dir", n, "--node", n, "--from", nodes[i]+"/signetd.yaml", "--listen", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	if err := errors.Join(d.edit(cutOff, regexp.QuoteMeta(v.Address), way.Address), d.edit(cutOff, `(?m)\bca: .*$`, "ca: "+way.CA)); err != nil {
		return err
	}
	d.note(cutOff + "/signetd.yaml: vault.address leads to Vault by way of a proxy, which can be cut")
	return nil
}

// edit replaces something in the config of a node.
func (d *demo) edit(node, pattern, with string) error {
	path := filepath.Join(d.dir, node, "signetd.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	re := regexp.MustCompile(pattern)
	if !re.Match(text) {
		return fmt.Errorf("%s is not as it was to be", path)
	}
	return os.WriteFile(path, re.ReplaceAllLiteral(text, []byte(with)), 0o600)
}

// caller is the client.yaml of a caller who asks one node alone.
func caller(node string) string { return "ci/" + node + ".yaml" }

// makeCaller makes a certificate for a CI job, and beside its client.yaml one for each node alone.
func (d *demo) makeCaller(ctx context.Context) error {
	if _, err := d.must(ctx, "signetd", "cert", "--dir", cutOff, "--uri", "spiffe://signet.local/ci/1", "--out", "ci"); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(d.dir, "ci", "client.yaml"))
	if err != nil {
		return err
	}
	_, rest, ok := bytes.Cut(text, []byte("\nlogs:"))
	if !ok {
		return errors.New("ci/client.yaml is not as it was to be")
	}
	for _, n := range nodes {
		conf, err := os.ReadFile(filepath.Join(d.dir, n, "signetd.yaml"))
		if err != nil {
			return err
		}
		listen := regexp.MustCompile(`(?m)^listen: (.*)$`).FindSubmatch(conf)
		if listen == nil {
			return fmt.Errorf("%s/signetd.yaml does not say where it listens", n)
		}
		one := fmt.Appendf(nil, "addresses: [%s]\nlogs:%s", listen[1], rest)
		if err := os.WriteFile(filepath.Join(d.dir, caller(n)), one, 0o600); err != nil {
			return err
		}
	}
	d.note("callers have all addresses in one client.yaml; ci/node-1.yaml and so on have one each, to ask that node and no other")
	return nil
}

// mintAt mints at one node, and shows the beginning of the token.
func (d *demo) mintAt(ctx context.Context, node string) (string, error) {
	args := []string{"mint", "ios-release", "--fresh", "--config", caller(node)}
	d.show("signet", args)
	began := time.Now()
	code, out, said := d.try(ctx, args...)
	if code != 0 {
		fmt.Fprint(d.out, indent(said))
		return "", fmt.Errorf("signet mint at %s: exit code %d", node, code)
	}
	fmt.Fprintf(d.out, "  %.24s…  (%s)\n", out, millis(time.Since(began)))
	return strings.TrimSpace(out), nil
}

func (d *demo) mintEverywhere(ctx context.Context) ([]string, error) {
	var tokens []string
	for _, n := range nodes {
		t, err := d.mintAt(ctx, n)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// try runs signet and answers how it ended, without showing anything.
func (d *demo) try(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, said bytes.Buffer
	cmd := d.command(ctx, "signet", args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return -1, "", err.Error()
	}
	return cmd.ProcessState.ExitCode(), out.String(), said.String()
}

// until repeats a command until it ends with this exit code, and shows how that went.
func (d *demo) until(ctx context.Context, want int, args ...string) error {
	d.show("signet", args)
	began, code, said := time.Now(), -1, ""
	for time.Since(began) < 30*time.Second {
		var again string
		if code, _, again = d.try(ctx, args...); again != "" {
			said = again
		}
		if code == want {
			if code != 0 {
				fmt.Fprint(d.out, indent(said))
			}
			fmt.Fprintf(d.out, "  (exit code %d, %s after that)\n", code, millis(time.Since(began)))
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("signet %s was to end with exit code %d; it ends with %d: %s", args[0], want, code, said)
}

// members waits until so many replicas, and no others, stand so, and shows them.
func (d *demo) members(ctx context.Context, state string, want int) error {
	args := []string{"system", "members"}
	d.show("signet", args)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		code, out, said := d.try(ctx, args...)
		if lines := strings.Count(out, "\n") - 1; code == 0 && lines == want && strings.Count(out, "  "+state) == want {
			fmt.Fprint(d.out, indent(out))
			return nil
		}
		if time.Since(began) > 30*time.Second {
			fmt.Fprint(d.out, indent(out), indent(said))
			return fmt.Errorf("there were to be %d members that are %s", want, state)
		}
	}
}

// timed runs a command that must succeed and says how long it took.
func (d *demo) timed(ctx context.Context, program string, args ...string) error {
	began := time.Now()
	if _, err := d.must(ctx, program, args...); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  (took %s)\n", millis(time.Since(began)))
	return nil
}

// turnOff disables the key while somebody mints at every node, and holds what came of it against the promise: no mint that began after
// the command had returned has succeeded, and every node has refused. With waits the command must have waited so long, and have said
// for whom.
func (d *demo) turnOff(ctx context.Context, reason string, waits time.Duration) error {
	crowd := d.crowd(ctx)
	args := []string{"key", "disable", "asc-release", "--reason", reason, "--yes"}
	d.show("signet", args)
	began := time.Now()
	code, out, said := d.try(ctx, args...)
	returned := time.Now()
	fmt.Fprint(d.out, indent(out), indent(said))
	fmt.Fprintf(d.out, "  (took %s)\n", millis(returned.Sub(began)))
	time.Sleep(500 * time.Millisecond)
	attempts := crowd()
	if code != 0 {
		return fmt.Errorf("signet key disable: exit code %d", code)
	}
	if waits > 0 && (returned.Sub(began) < waits || !strings.Contains(said, cutOff)) {
		return fmt.Errorf("the command did not wait for %s, or did not say so", cutOff)
	}
	for _, n := range nodes {
		if err := d.judge(n, attempts[n], began, returned); err != nil {
			return err
		}
	}
	return nil
}

// withoutVault has everybody mint while Vault is away, and a change refused; then it starts Vault again.
func (d *demo) withoutVault(ctx context.Context, v *vaultrun.Vault) error {
	if _, err := d.mintEverywhere(ctx); err != nil {
		return err
	}
	crowd := d.crowd(ctx)
	refused := d.refused(ctx, 6, "key", "disable", "asc-release", "--reason", "a drill", "--yes")
	time.Sleep(lease / 4)
	restarted := v.Restart(ctx)
	if restarted == nil {
		d.note("Vault is started again, and unsealed")
	}
	attempts := crowd()
	if err := errors.Join(refused, restarted); err != nil {
		return err
	}
	for _, n := range nodes {
		minted := 0
		for _, a := range attempts[n] {
			if a.code == 0 {
				minted++
			}
		}
		fmt.Fprintf(d.out, "  %s: asked %d times while Vault was away, minted %d times\n", n, len(attempts[n]), minted)
		if minted == 0 {
			return fmt.Errorf("%s did not mint without Vault", n)
		}
	}
	return d.members(ctx, "current", len(nodes))
}

// attempt is one mint: when it began, and how it ended.
type attempt struct {
	began time.Time
	ended time.Time
	code  int
}

// crowd mints at every node, over and over, until the function that it returns is called, which answers what came of it. Every node has
// been asked once when crowd returns, and is asked once more after that call.
func (d *demo) crowd(ctx context.Context) func() map[string][]attempt {
	within, cancel := context.WithCancel(ctx)
	var asked, ended sync.WaitGroup
	var mu sync.Mutex
	all := make(map[string][]attempt)
	asked.Add(len(nodes))
	for _, n := range nodes {
		ended.Go(func() {
			for first, last := true, false; !last; first = false {
				last = within.Err() != nil
				a := attempt{began: time.Now()}
				a.code, _, _ = d.try(ctx, "mint", "ios-release", "--fresh", "--config", caller(n))
				a.ended = time.Now()
				mu.Lock()
				all[n] = append(all[n], a)
				mu.Unlock()
				if first {
					asked.Done()
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	asked.Wait()
	return func() map[string][]attempt {
		cancel()
		ended.Wait()
		return all
	}
}

// judge says what one node did, and whether it kept the promise.
func (d *demo) judge(node string, attempts []attempt, began, returned time.Time) error {
	var last time.Time
	minted := 0
	for _, a := range attempts {
		if a.code != 0 {
			continue
		}
		if a.began.After(returned) {
			return fmt.Errorf("%s minted after the key had been turned off", node)
		}
		minted++
		last = a.ended
	}
	after := slices.DeleteFunc(slices.Clone(attempts), func(a attempt) bool { return a.began.Before(returned) })
	if minted == 0 || len(after) == 0 {
		return fmt.Errorf("%s was asked too little: %d minted, %d times after the command", node, minted, len(after))
	}
	when := "before the command"
	if at := last.Sub(began); at > 0 {
		when = millis(at) + " into the command"
	}
	fmt.Fprintf(d.out, "  %s: minted %d, the last %s; asked %d times after it returned, refused %d times\n", node, minted, when, len(after), len(after))
	return nil
}

func millis(t time.Duration) string {
	if t >= 10*time.Second {
		return t.Round(100 * time.Millisecond).String()
	}
	return t.Round(time.Millisecond).String()
}
