package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const server = "signetd"

var programs = []string{"signet", server}

// target is a platform, and how its programs differ from the ordinary ones.
type target struct {
	os, arch string
	flavour  string   // "" for the ordinary one
	env      []string // what makes the flavour
}

// flavours beside the ordinary one, which are for servers and so for Linux.
var flavours = []target{
	// The certified Go Cryptographic Module, in FIPS 140 mode unless GODEBUG says otherwise.
	{flavour: "fips", env: []string{"GOFIPS140=v1.0.0"}},
	// Key bytes are erased from stack, registers and heap; see store/envelope/secret_on.go.
	{flavour: "secret", env: []string{"GOEXPERIMENT=runtimesecret"}},
}

func targets() []target {
	all := []target{{os: "linux", arch: "amd64"}, {os: "linux", arch: "arm64"}, {os: "darwin", arch: "arm64"}}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, f := range flavours {
			f.os, f.arch = "linux", arch
			all = append(all, f)
		}
	}
	return all
}

// name is such as linux-amd64-fips.
func (t target) name() string {
	name := t.os + "-" + t.arch
	if t.flavour != "" {
		name += "-" + t.flavour
	}
	return name
}

// tags leave grpc-go's traces out. They are served by HTTP to whoever asks, and drawn by html/template, for whose sake the
// linker keeps every exported method of everything: a fifth of each program, and 5 MB of the memory that signetd takes.
const tags = "grpcnotrace"

// inherited are the variables that a build takes from its surroundings: none that could change a byte.
var inherited = []string{"PATH", "HOME", "GOPATH", "GOMODCACHE", "GOCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOTMPDIR", "TMPDIR", "GOROOT", "GOMAXPROCS"}

// compile builds one program. Nothing of the machine goes in: no path, no version control, no build id.
func (t target) compile(ctx context.Context, r release, program, out string) error {
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	version := r.version
	if t.flavour != "" {
		version += "+" + t.flavour // as signetd version and signet system status then have it
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", tags,
		"-ldflags", "-s -w -buildid= -X main.version="+version, "-o", out, "./cmd/"+program)
	cmd.Dir = r.source
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); slices.Contains(inherited, name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GOENV=off", "GOFLAGS=-mod=readonly", "GOWORK=off", "GOTOOLCHAIN=local",
		"CGO_ENABLED=0", "GOOS="+t.os, "GOARCH="+t.arch, "GOAMD64=v1", "GOARM64=v8.0")
	cmd.Env = append(append(cmd.Env, t.env...), r.env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s for %s: %w\n%s", program, t.name(), err, text)
	}
	return nil
}
