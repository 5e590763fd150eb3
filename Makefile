# Leasehold. `make help` lists the targets; CI runs `make test` and nothing else.
SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory

# local: build with the Go that is installed, or say so; never download another.
export GOTOOLCHAIN := local

GO       ?= go
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
TOOL     := $(GO) tool -modfile=tools.mod
FUZZTIME ?= 10s
BENCH_N  ?= 10
FAILOVER_N ?= 30
BENCH_EMBEDDED_N ?= 20
QUIET_FOR ?= 1h
TESTFLAGS ?=
SEEDS    ?= 100000
FIRST    ?= 1

# Packages whose tests boot machines and measure times. They run one after the
# other, after the rest, so that they do not steal the CPU from each other.
TIMED    := ^leasehold/(deploy|internal/bench|internal/cases|internal/chaos|internal/demo|internal/interop|internal/sdlab)(/|$$)

DEMO_CMD  ?= bin/leasehold demo
CASES_CMD ?= $(GO) test ./internal/cases -run '^TestCases$$' -v -count=1 -timeout 20m

# Each world has one goroutine, and the detector makes it ten times slower: run
# without it.
SINGLE   := ^leasehold/internal/sim(/|$$)

# The race detector is linked through cgo; without a C compiler the tests run bare.
RACE := $(if $(shell command -v gcc 2>/dev/null),-race)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install the Debian packages that the tests need (as root; nothing to do when they are there)
	@.ci/setup

.PHONY: build
build: ## the static binary: bin/leasehold
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/leasehold ./cmd/leasehold

.PHONY: vet
vet: ## go vet, and gofmt's opinion
	$(GO) vet ./...
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt: run make fmt:"; echo "$$out"; exit 1; fi

.PHONY: test
test: setup build vet ## everything CI asks: build, vet, gofmt, every test under the race detector
	@rc=0; all=$$($(GO) list ./...); \
	$(GO) test $(RACE) -shuffle=on -timeout 6m $(TESTFLAGS) $$(grep -vE '$(TIMED)|$(SINGLE)' <<<"$$all") || rc=1; \
	$(GO) test -shuffle=on -timeout 6m $(TESTFLAGS) $$(grep -E '$(SINGLE)' <<<"$$all") || rc=1; \
	$(GO) test $(RACE) -shuffle=on -timeout 20m -p 1 $(TESTFLAGS) $$(grep -E '$(TIMED)' <<<"$$all") || rc=1; \
	exit $$rc

.PHONY: cases
cases: setup build ## the operator's cases as one table, with what was measured
	$(CASES_CMD)

.PHONY: demo
demo: setup build ## two MySQL hosts, a witness and a VIP that moves, live on this machine
	$(DEMO_CMD)

.PHONY: sim
sim: ## SEEDS=100000 clusters in virtual time under every fault, from seed FIRST on
	$(GO) run ./internal/sim/leasehold-sim -coverage -first $(FIRST) -seeds $(SEEDS)

DURATION ?= 10m
SEED     ?= 0

.PHONY: chaos
chaos: setup build ## random faults on the wire, judged from outside (DURATION=10m SEED=n, 0 draws one)
	$(GO) run ./internal/chaos/leasehold-chaos -binary bin/leasehold -duration $(DURATION) -seed $(SEED) $(CHAOSFLAGS)

.PHONY: interop
interop: setup build ## keepalived and Leasehold in one VRRP router, every pair and the migrations, two tables (6 minutes; INTEROPFLAGS='-only "v2, AH"')
	$(GO) run ./internal/interop/leasehold-interop -binary bin/leasehold $(INTEROPFLAGS)

.PHONY: bench
bench: setup ## Leasehold and keepalived side by side, the fence per packet, every benchmark (40 minutes; BENCH_N=10 FAILOVER_N=30 rounds)
	$(GO) build -o bin/leasehold-bench ./internal/bench/leasehold-bench
	bin/leasehold-bench compare -n $(BENCH_N)
	bin/leasehold-bench packets
	bin/leasehold-bench failover -n $(FAILOVER_N)
	bin/leasehold-bench embedded -n $(BENCH_EMBEDDED_N)
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: quiet
quiet: setup ## what happens in QUIET_FOR (1h) in which nothing goes wrong: idle, CPU, compaction, etcd's leader
	$(GO) run ./internal/bench/leasehold-bench quiet -for $(QUIET_FOR)

.PHONY: embedded
embedded: setup ## hosts lost and stopped that run etcd's members besides, and what a witness costs (12 minutes; BENCH_EMBEDDED_N=20 rounds)
	$(GO) run ./internal/bench/leasehold-bench embedded -n $(BENCH_EMBEDDED_N)

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (10s)
	@$(GO) list -f '{{.ImportPath}}' ./... | while read -r pkg; do \
		$(GO) test -list '^Fuzz' "$$pkg" | { grep '^Fuzz' || true; } | while read -r f; do \
			echo "== $$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x "$$pkg"; \
		done; done

.PHONY: lint
lint: ## golangci-lint, pinned in tools.mod (two minutes to build the first time)
	$(TOOL) golangci-lint run

.PHONY: fmt
fmt: ## format the code
	$(TOOL) golangci-lint fmt

.PHONY: vuln
vuln: ## known vulnerabilities; needs vuln.go.dev, so a notice and not a gate
	@$(GO) run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./... || echo "vuln: findings above, or the database could not be reached"

# A version that dpkg accepts: it begins with a digit.
DEB_VERSION := $(patsubst v%,%,$(if $(filter v%,$(VERSION)),$(VERSION),0.0.0~$(VERSION)))
ARCH        := $(shell $(GO) env GOARCH)
DEB         := dist/leasehold_$(DEB_VERSION)_$(ARCH).deb

.PHONY: package
package: setup build ## the Debian package in dist/, installed, upgraded and removed in a booted systemd
	mkdir -p dist
	VERSION=$(DEB_VERSION) ARCH=$(ARCH) $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0 package -f deploy/nfpm.yaml -t $(DEB)
	LEASEHOLD_DEB=$(DEB) $(GO) test -count=1 -run '^TestPackage$$' ./deploy

.PHONY: check
check: lint test ## what to run before a commit is proposed: lint and test

.PHONY: clean
clean: ## remove what was built
	rm -rf bin dist
