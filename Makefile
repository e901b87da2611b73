# Everything here needs Go, make and git, and nothing else; lint and proto also fetch their tools (proto's from npm).
GO      ?= go
BIN     := bin
TOOL    := $(GO) tool -modfile=.ci/tools/go.mod
VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
# Test-only modules of their own: other people's libraries never reach the product's go.mod.
# (store/vaultstore/vaulttest, a real Vault, is built by the tests that run it: once, into the user's cache.)
NESTED  := server/apple/oracle
FUZZTIME ?= 10s
# As in a release: cmd/internal/release/targets.go says why.
TAGS    := grpcnotrace
COMMITTED := $(shell git log -1 --format=%cI 2>/dev/null)
RELEASE := $(GO) run ./cmd/internal/release --version '$(VERSION)' --time '$(COMMITTED)'

.PHONY: help build demo demo-vault test test-flavours alerts release release-check lint proto proto-check fuzz bench clean

# What the flavours are tested with: the packages in which keys are held, opened, sealed and used, and the server over all of them.
# Not all of ./...: for each flavour Go compiles the standard library and every dependency anew, which costs minutes on two cores,
# and what parses, decides and prints does not know which flavour it is in.
# Storms over replicas do not either, and take as long as all the rest.
FLAVOURED := ./proto/sealed ./store ./store/envelope ./store/kek ./server ./server/apple ./server/authn ./server/internal/authority

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

build: ## both programs, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -ldflags '-X main.version=$(VERSION)' -o $(BIN)/ ./cmd/signet ./cmd/signetd

demo: build ## the main job, walked through with the real programs
	@$(GO) run ./cmd/internal/demo $(BIN)

demo-vault: build ## three replicas on a real Vault, one cut off, Vault killed (it is built the first time: minutes)
	@$(GO) run ./cmd/internal/demo vault $(BIN)

test: ## every test, with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...
	@for m in $(NESTED); do echo "== $$m"; (cd $$m && $(GO) test -timeout 10m ./...) || exit 1; done

alerts: ## what promtool says of alert rules, their tests and the dashboard (it is built the first time: minutes)
	@.ci/promtool check rules --lint=all --lint-fatal deploy/alerts/signet.rules.yaml
	@.ci/promtool test rules deploy/alerts/signet.test.yaml
	@SIGNET_PROMTOOL=1 $(GO) test -count=1 -run '^TestDashboardQueries$$' ./cmd/internal/house
test-flavours: ## the flavours that make release builds: FIPS 140, and erased key bytes
	GOFIPS140=v1.0.0 $(GO) test -timeout 20m -skip '^TestLinearizable' $(FLAVOURED)
	@# Under fips140=only that module cannot open an import; the server says so and does not start.
	GOFIPS140=v1.0.0 GODEBUG=fips140=only $(GO) test -run 'TestUsable$$' ./proto/sealed
	@# What FIPS 140 does not approve fails here instead of being allowed; needs the module of this Go, which is not certified yet.
	GOFIPS140=inprocess GODEBUG=fips140=only $(GO) test -timeout 20m -skip '^TestLinearizable' $(FLAVOURED)
	GOEXPERIMENT=runtimesecret $(GO) test -timeout 20m -skip '^TestLinearizable' $(FLAVOURED)

release: ## what is given out, into dist/: programs, SBOMs, the server's image, checksums
	$(RELEASE) --out dist

release-check: ## build the release for linux-amd64 twice, in two places, and compare
	$(RELEASE) --check --only linux-amd64

lint: ## gofmt, golangci-lint
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo 'run gofmt -w on these'; exit 1; }
	$(TOOL) golangci-lint run ./...

proto: ## lint the protos and regenerate their Go
	.ci/buf lint
	.ci/buf generate

proto-check: proto ## fail when the generated Go is not fresh
	@test -z "$$(git status --porcelain -- proto)" || { git status --porcelain -- proto; git diff --stat -- proto; echo 'generated code is stale: run make proto and commit'; exit 1; }

fuzz: ## every fuzz target for FUZZTIME
	@.ci/fuzz $(FUZZTIME)

bench: build ## the speed bars, one line a bar, beside a bare server and a Vault in the same run
	@$(GO) run ./cmd/internal/bench $(BIN)

clean: ## remove what was built
	rm -rf $(BIN) dist
