package daemon

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/p8signet/signet/cmd/internal/cli"
	"github.com/p8signet/signet/proto/auditlog"
	"github.com/p8signet/signet/server"
	"github.com/p8signet/signet/store/vaultstore"
)

// blueprint is what differs between vaults.
type blueprint struct {
	node, listen string
	hosts        []string   // further names of the server
	keks         []string   // file:kek when there is none
	hashicorp    *hashicorp // how Vault is reached; nil: it is not
	inVault      bool       // the store lies there
	lease        string     // for a store in Vault; empty for what is usual, or what the other node has
}

// choose says where store and KEKs are to be.
func (b *blueprint) choose(connection, place string) error {
	switch place {
	case "", "file", "vault":
	default:
		return cli.Malformedf("", "--store is file or vault")
	}
	if connection == "" {
		if place == "vault" {
			return cli.Malformedf("deploy/vault/setup.sh sets Vault up and prints that file", "--store vault wants --vault FILE, which says how Vault is reached")
		}
		return errors.Join(b.checkLease(), b.chooseKEKs())
	}
	var err error
	if b.hashicorp, err = loadHashicorp(connection); err != nil {
		return err
	}
	if b.inVault = place != "file"; b.inVault {
		at := b.hashicorp.place()
		b.hashicorp.Mount, b.hashicorp.Path = at.Mount, at.Path
	} else {
		b.hashicorp.Mount, b.hashicorp.Path = "", ""
	}
	return errors.Join(b.checkLease(), b.chooseKEKs())
}

// checkLease refuses a lease that the config could not have.
func (b *blueprint) checkLease() error {
	if b.lease == "" {
		return nil
	}
	if err := checkLease(b.lease, b.inVault); err != nil {
		return cli.Malformedf("", "--lease: %w", err)
	}
	return nil
}

func (b *blueprint) chooseKEKs() error {
	switch {
	case len(b.keks) > 0:
	case b.hashicorp != nil:
		b.keks = []string{defaultTransit}
	default:
		b.keks = []string{"file:" + kekFile}
	}
	transit := false
	for _, uri := range b.keks {
		if !strings.HasPrefix(uri, vaultstore.TransitScheme) {
			name, ok := strings.CutPrefix(uri, fileScheme)
			if !ok || name == "" {
				return cli.Malformedf("such as file:"+kekFile+" or "+defaultTransit, "--kek is file:PATH or vault-transit:MOUNT/KEY")
			}
			first, _, _ := strings.Cut(filepath.Clean(name), string(filepath.Separator))
			if slices.Contains([]string{".", configFile, storeFile, logDir, tlsDir, operatorDir}, first) {
				return cli.Malformedf("such as file:"+kekFile, "--kek names a file of the vault's own")
			}
			continue
		}
		transit = true
		if err := vaultstore.ValidTransit(uri); err != nil {
			return cli.Malformedf("such as "+defaultTransit, "--kek: %w", err)
		}
	}
	switch {
	case transit && b.hashicorp == nil:
		return cli.Malformedf("deploy/vault/setup.sh sets Vault up and prints that file", "--kek vault-transit: wants --vault FILE, which says how Vault is reached")
	case b.hashicorp != nil && !transit && !b.inVault:
		return cli.Malformedf("leave --vault out, or name a KEK in Vault", "--vault: neither the store nor a KEK is to be there")
	}
	return nil
}

// hostName is a DNS name without wildcards.
var hostName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

// checkHosts refuses what no certificate can be for, before there is anything that a certificate is for.
func checkHosts(hosts []string) error {
	for _, h := range hosts {
		if net.ParseIP(h) == nil && (len(h) > 253 || !hostName.MatchString(h)) {
			return cli.Malformedf("such as signet.acme.internal or 10.0.0.7", "--host is neither a DNS name nor an IP address")
		}
	}
	return nil
}

// checkNode refuses a name that no log can have, and the one that says that a vault is none for real keys.
func checkNode(name string) error {
	if strings.EqualFold(name, server.DevNode) {
		return cli.Malformedf("name another node, or make a vault for trying things out: signetd dev --dir DIR", "--node %s is kept for dev vaults", server.DevNode)
	}
	if err := (auditlog.Origin{Vault: "v", Node: name, Log: "l"}).Validate(); err != nil {
		return cli.Malformedf("such as node-1", "--node is not a name: 1 to %d of A-Z a-z 0-9 . _ - that begin with a letter or digit", auditlog.MaxNameLen)
	}
	return nil
}

// where names the place of a store in Vault.
func (b *blueprint) where() string {
	at := b.hashicorp.place()
	return fmt.Sprintf("mount %s, path %s of Vault at %s", at.Mount, at.Path, b.hashicorp.Address)
}

// Where port 0 looks: below the range from which systems take the ports of outgoing connections (32768 and up on Linux). The port
// is in the config for good, and in that range a stranger's connection could hold it when the server starts the next time.
const firstPort, lastPort = 20000, 32767

// pickPort puts a free port where the address has port 0.
func pickPort(ctx context.Context, listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", cli.Malformedf("", `--listen is not "host:port", such as 127.0.0.1:7443`)
	}
	if port == "0" {
		if listen, err = freePort(ctx, host); err != nil {
			return "", err
		}
	}
	if err := validListen(listen); err != nil {
		return "", cli.Malformedf("", "--listen: %w", err)
	}
	return listen, nil
}

func freePort(ctx context.Context, host string) (string, error) {
	var last error
	for range 100 {
		n := firstPort + rand.IntN(lastPort-firstPort+1)
		listen := net.JoinHostPort(host, strconv.Itoa(n))
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
		if err == nil {
			err = l.Close()
		}
		if err == nil {
			return listen, nil
		}
		last = err
	}
	return "", fmt.Errorf("looking for a free port: %w", last)
}

// everywhere says whether a server that listens there does so on every address of the machine, none of which is a name for callers.
func everywhere(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// reachable are the names of the server's certificate, this machine's own among them, and the address in its clients' configs: that
// of the first host, where one was named, or else where the server listens.
func reachable(listen string, hosts []string) (names []string, address string, err error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, "", fmt.Errorf("listen: %w", err)
	}
	if everywhere(listen) {
		host = "127.0.0.1"
	}
	names = append(slices.Clone(hosts), host, "localhost", "127.0.0.1", "::1")
	address = net.JoinHostPort(names[0], port)
	slices.Sort(names)
	return slices.Compact(names), address, nil
}
