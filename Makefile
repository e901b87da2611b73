# Everything here needs Go, make and git, and nothing else; lint and proto also fetch their tools (proto's from npm).
GO      ?= go
BIN     := bin
TOOL    := $(GO) tool -modfile=.ci/tools/go.mod
VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)
# Test-only modules of their own: other people's libraries never reach the product's go.mod.
NESTED  := server/apple/oracle
FUZZTIME ?= 10s

.PHONY: help build demo test alerts lint proto proto-check fuzz bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

build: ## both programs, into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)/ ./cmd/signet ./cmd/signetd

demo: build ## the main job, walked through with the real programs
	@$(GO) run ./cmd/internal/demo $(BIN)

test: ## every test, with the race detector
	$(GO) vet ./...
	$(GO) test -race -timeout 20m ./...
	@for m in $(NESTED); do echo "== $$m"; (cd $$m && $(GO) test -timeout 10m ./...) || exit 1; done

alerts: ## what promtool says of alert rules, their tests and the dashboard (it is built the first time: minutes)
	@.ci/promtool check rules --lint=all --lint-fatal deploy/alerts/signet.rules.yaml
	@.ci/promtool test rules deploy/alerts/signet.test.yaml
	@SIGNET_PROMTOOL=1 $(GO) test -count=1 -run '^TestDashboardQueries$$' ./cmd/internal/house

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

bench: ## the speed bars, one line a bar, beside a bare server in the same run
	@$(GO) run ./cmd/internal/bench

clean: ## remove what was built
	rm -rf $(BIN)
