# What this repository can do. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# kubectl's code and the API server say which Kubernetes they are by this.
KUBERNETES := v1.37.2
LDFLAGS := -s -w -X main.version=$(VERSION) \
	-X k8s.io/component-base/version.gitVersion=$(KUBERNETES) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37
# The same settings for programs and tests, so that the libraries are compiled once.
export CGO_ENABLED := 0
BUILD := go build -buildvcs=false -ldflags '$(LDFLAGS)'
PROGRAMS := apiserver controller-manager scheduler nodeagent proxy pause machine-init skiff
# Flags for `go test`, for example TESTFLAGS='-run TestNewcomer -v'.
TESTFLAGS ?=
# What `make conformance` runs: regular expressions on names, FAILED=1 for what failed last, and how many tests at a time.
FOCUS ?=
SKIP ?=
FAILED ?=
PROCS ?= 5
export FOCUS SKIP
# Whether clusters of `make up` reach the outside.
export SKIFF_EGRESS ?= true

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build all programs into bin/
	@echo "build: $(PROGRAMS) -> $(BIN)/ ($(VERSION), speaks Kubernetes $(KUBERNETES))"
	@mkdir -p $(BIN)
	@$(BUILD) -o $(BIN)/ $(addprefix ./cmd/,$(PROGRAMS))
	@$(BUILD) -tags cri -o $(BIN)/nodeagent-cri ./cmd/nodeagent

.PHONY: images
images: ## Build the images that clusters bring along into bin/images, without any registry
	@echo "images: CoreDNS, busybox, stand-ins for nginx and the tests' tool -> $(BIN)/images/"
	@hack/need.sh busybox:busybox-static
	@mkdir -p $(BIN)/.images $(BIN)/images
	@cd cmd/dns && go build -buildvcs=false -ldflags '-s -w' -o ../../$(BIN)/.images/coredns .
	@go build -buildvcs=false -ldflags '-s -w' -o $(BIN)/.images/ ./deploy/images/web ./deploy/images/tool
	@go run ./deploy/images -programs $(BIN)/.images -out $(BIN)/images

.PHONY: up
up: ## Start a cluster on this machine, run a demo on it and say how to go on
	@hack/up.sh

.PHONY: down
down: ## End that cluster; nothing of it is left
	@if [ -x $(BIN)/skiff ]; then $(BIN)/skiff down; else echo "down: $(BIN)/skiff is not built, so nothing can be up"; fi

.PHONY: test
test: ## All tests: packages, integration with real etcd, end to end on machines
	@hack/test.sh all

.PHONY: test-unit
test-unit: ## The packages' own tests (real etcd and real kernel among them), without end-to-end tests
	@hack/test.sh unit

.PHONY: e2e
e2e: build images e2e-kubectl ## End-to-end tests on machines
	@hack/test.sh e2e

.PHONY: e2e-kubectl
e2e-kubectl:
	@$(BUILD) -o $(BIN)/ ./e2e/kubectl

.PHONY: test-vm
test-vm: build images ## Boot Debian's kernel in an emulated machine (cgroup v2) and run the demo and some end-to-end tests there
	@hack/test-vm.sh

.PHONY: peers
peers: ## Build upstream's programs, from modules of their own, into out/peers (some 15 minutes the first time)
	@hack/need.sh gcc:gcc runc conmon iptables nft:nftables ip:iproute2
	@[ -x /usr/lib/cni/ptp ] || hack/need.sh /usr/lib/cni/ptp:containernetworking-plugins
	@e2e/bench/peers/build.sh out/peers

.PHONY: bench
bench: build images peers ## Measure Skiff beside upstream [ONLY=regexp] [RUNS=3] [SIZE=5000,20000] [DOCS=docs]
	@$(BUILD) -o $(BIN)/ ./e2e/bench
	@$(BIN)/bench --skiff $(BIN) --peers out/peers --runs $(or $(RUNS),3) --sizes $(if $(SIZE),$(SIZE),5000,20000) --json out/bench.json \
		$(if $(ONLY),--only '$(ONLY)') $(if $(DOCS),--docs $(DOCS)) $(BENCHFLAGS)

.PHONY: conformance
conformance: conformance-build ## Run the official conformance suite [FOCUS=regexp] [SKIP=regexp] [PROCS=5] [FAILED=1]
	@$(BIN)/conformance/run run --focus "$$FOCUS" --skip "$$SKIP" --procs $(PROCS) $(if $(FAILED),--failed)

.PHONY: conformance-build
conformance-build: build images
	@echo "conformance: the official suite and its images -> $(BIN)/conformance/ (the first time takes minutes)"
	@hack/need.sh runc conmon iptables diff:diffutils gcc make tar bzip2 xz:xz-utils /usr/include/stdio.h:libc6-dev \
		/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
	@mkdir -p $(BIN)/conformance
	@go build -buildvcs=false -ldflags '-s -w' -o $(BIN)/.images/ ./cmd/pause
	@cd e2e/conformance && go build -buildvcs=false -o ../../$(BIN)/conformance/run .
	@$(BIN)/conformance/run build

.PHONY: conformance-slice
conformance-slice: conformance-build
	@$(BIN)/conformance/run slice --commit "$$(git rev-parse HEAD)" --procs $(PROCS)

.PHONY: clients
clients: ## Programs of client-go and controller-runtime against the API server
	@cd e2e/clients && go test ./...

.PHONY: interchange
interchange: build images peers ## Run each upstream component in place of ours, and ours in place of upstream's [ONLY=regexp] [FOR=1m] [DOCS=docs]
	@$(BUILD) -o $(BIN)/ ./e2e/interchange
	@$(BIN)/interchange --skiff $(BIN) --peers out/peers $(if $(ONLY),--only '$(ONLY)') $(if $(FOR),--for $(FOR)) $(if $(DOCS),--docs $(DOCS))

.PHONY: golden
golden: ## Compare our API server's answers with recorded ones of upstream's [ONLY=regexp] [RECORD=1]
	@mkdir -p $(BIN) && $(BUILD) -o $(BIN)/golden ./e2e/golden
	@$(BIN)/golden --only '$(ONLY)' $(if $(RECORD),--record)

.PHONY: lint
lint: ## Format, vet and staticcheck, by the rules in staticcheck.conf
	@hack/lint.sh

.PHONY: generate
generate: ## Make generated files anew
	@echo "generate: go generate ./..."
	@go generate ./...

.PHONY: verify
verify: ## The gate: lint, generated files unchanged, unit tests
	@hack/verify.sh
