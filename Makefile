# Dizuo (底座). `make help` lists the targets. Everything is built from Go modules and Debian packages.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# GO may hold words before the command, for example one that waits its turn: make GO="flock /tmp/build.lock go" test-unit
GO ?= go
# IMAGE of the operator, the data plane and the CLI, for the local cluster.
IMAGE ?= dizuo/dizuo:dev
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

CACHE := $(or $(DIZUO_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dizuo)
TOOLS := $(CACHE)/bin
KIT := hack/cluster.sh
BINARIES := operator node edge dizuo
# Packages with unit tests: all but those that need a cluster or an API server, which carry build tags.
UNIT ?= ./...
# Packages with tests that need a real API server.
ENVTEST ?= $(shell grep -rl --include=*_test.go '^//go:build envtest' . 2>/dev/null | xargs -r -n1 dirname | sort -u)
export DIZUO_GO := $(GO)

##@ General

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ See it

.PHONY: up
up: ## Start a local cluster with Dizuo and the ten pilot communities, and tell the story (root)
	@hack/up.sh

.PHONY: down
down: ## Stop and remove exactly what `make up` started (root)
	@$(KIT) down

.PHONY: install
install: ## As `up`, without the sample and the story: cluster, cert-manager, Dizuo
	@hack/up.sh --install-only

.PHONY: story
story: build ## Tell the story on the cluster that is there
	@eval "$$($(KIT) env)" && $(GO) run ./test/e2e/cmd/story

##@ Develop

.PHONY: generate
generate: $(TOOLS)/controller-gen $(TOOLS)/oapi-codegen ## Write deep copies of the API types, the OpenAPI documents of grid service and gateway, and the grid service's Go client
	$(TOOLS)/controller-gen object paths=./api/...
	mkdir -p api/openapi
	$(GO) run ./hack/openapi grid api/openapi/grid.yaml
	$(GO) run ./hack/openapi gateway api/openapi/gateway.yaml
	$(TOOLS)/oapi-codegen -config pkg/client/grid/oapi-codegen.yaml api/openapi/grid.yaml

.PHONY: generate-exhook
generate-exhook: $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc ## Write the gRPC code of EMQX's ExHook; needs protoc
	PATH="$(TOOLS):$$PATH" protoc --go_out=paths=source_relative:. --go-grpc_out=paths=source_relative:. internal/node/ingest/exhook/exhook.proto

.PHONY: manifests
manifests: $(TOOLS)/controller-gen $(TOOLS)/helm ## Write the CRDs, copy them into the chart, and render the chart into config/default
	$(TOOLS)/controller-gen crd paths=./api/... output:crd:dir=config/crd
	mkdir -p charts/dizuo/crds
	rm -f charts/dizuo/crds/*.yaml
	cp config/crd/*.yaml charts/dizuo/crds/
	@# Labels that tell of Helm are not true of what kubectl applies.
	echo '# Made by `make manifests` from charts/dizuo with its defaults.' >config/default/dizuo.yaml
	$(TOOLS)/helm template dizuo charts/dizuo --namespace dizuo-system | sed -e '/^# Source: /d' -e '/ helm\.sh\/chart: /d' \
	-e 's,\(app\.kubernetes\.io/managed-by:\) Helm$$,\1 kustomize,' >>config/default/dizuo.yaml

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Lint Go (with the import rules), the Rego policies and the chart
	$(GO) vet -tags envtest,e2e ./...
	$(TOOLS)/golangci-lint run ./...
	@$(KIT) build opa helm >/dev/null
	$(TOOLS)/opa check --strict policies
	$(TOOLS)/helm lint --quiet charts/dizuo

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## Format Go
	$(TOOLS)/golangci-lint fmt ./...

GENERATED := api config/crd charts/dizuo/crds config/default pkg/client
.PHONY: verify
verify: ## Generate everything again; fail if that changed a file, and in CI also if the tree is dirty
	@before=$$(find $(GENERATED) -type f | sort | xargs sha256sum); \
	$(MAKE) --no-print-directory generate manifests; \
	after=$$(find $(GENERATED) -type f | sort | xargs sha256sum); \
	if [ "$$before" != "$$after" ]; then { diff <(echo "$$before") <(echo "$$after") || true; } | awk '{print $$3}' | sort -u; \
	echo "generated files were not up to date: commit what 'make generate manifests' wrote"; exit 1; fi; \
	if [ -n "$${CI:-}" ] && [ -n "$$(git status --porcelain)" ]; then git status --short; echo "the tree is dirty"; exit 1; fi

.PHONY: build
build: ## Build the static binaries into bin/
	@mkdir -p bin
	@for b in $(BINARIES); do echo "build bin/$$b"; \
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w -X github.com/dizuo/dizuo/internal/cli.Version=$(VERSION)" -o bin/$$b ./cmd/$$b; done

.PHONY: image
image: build ## Make the image of the local cluster and load it (the cluster must be up)
	$(KIT) image --name $(IMAGE) $(BINARIES:%=--bin bin/%) --user 65532

##@ Test

.PHONY: test
test: lint verify test-unit test-envtest test-e2e ## All of it: lint, generated files, unit, envtest, the story on a real cluster

.PHONY: test-unit
test-unit: ## Unit, golden and Rego tests with real NATS and PostgreSQL, under the race detector
	$(GO) test -race -shuffle=on -short -timeout 20m -parallel 6 $(UNIT)

.PHONY: test-envtest
test-envtest: ## Tests against a real kube-apiserver
	@$(KIT) build envtest helm cert-manager
	eval "$$($(KIT) env)"; env -u KUBECONFIG $(GO) test -tags envtest -count=1 -short -timeout 20m -parallel 6 $(ENVTEST)

.PHONY: test-e2e
test-e2e: install ## The story and the killing of pods, on the local cluster (root)
	eval "$$($(KIT) env)"; $(GO) test -tags e2e -count=1 -v -timeout 20m -skip 'ProfilesChange|Upgrade' ./test/e2e/...

# FAULT_RUN selects the fault tests; FAULT_COUNT repeats them, each time with other moments of the crash.
FAULT_RUN ?= Crash|Kill|Oracle|Bounded|LostVolume|Disorder|Million|LetThrough|Remember
FAULT_COUNT ?= 1
FAULT_CRASH ?= Killed|Lagging
# FAULT_ORACLES run at length without the race detector, which would make them a matter of hours; test-unit runs them with it, shorter.
FAULT_ORACLES = DecisionsAgainstOracle|OracleFindsMutants
# FAULT_PAIRS is how many decisions the oracle is asked about.
FAULT_PAIRS ?= 1000000
FAULT_PACKAGES ?= ./internal/node/... ./internal/apply/... ./internal/compile/... ./internal/bundle/... ./internal/cli/... ./controllers/... ./test/chaos/cases
# UPGRADE_FROM is the commit to upgrade from.
UPGRADE_FROM ?= HEAD^
.PHONY: test-change
test-change: install ## Under load, on the local cluster (root): from one profile to the other and back, and from a former commit to this one
	eval "$$($(KIT) env)"; DIZUO_UPGRADE_FROM="$$(git rev-parse $(UPGRADE_FROM))" $(GO) test -tags e2e -count=1 -v -timeout 30m -run 'ProfilesChange|Upgrade' ./test/e2e

.PHONY: test-fault
test-fault: ## Crash tests and random oracles at length: of the parts, and of the operator after every single write
	DIZUO_KILLS=20 $(GO) test -race -count=$(FAULT_COUNT) -timeout 30m -run '$(FAULT_RUN)' -skip '$(FAULT_ORACLES)' $(FAULT_PACKAGES)
	DIZUO_PAIRS=$(FAULT_PAIRS) $(GO) test -v -count=1 -timeout 60m -run '$(FAULT_ORACLES)' ./internal/node/gateway
	@$(KIT) build envtest helm cert-manager
	eval "$$($(KIT) env)"; env -u KUBECONFIG $(GO) test -tags envtest -count=$(FAULT_COUNT) -timeout 40m -parallel 6 -run '$(FAULT_CRASH)' ./test/crash

# CUT_SECONDS is how long the line of the edge node is cut.
CUT_SECONDS ?= 60
# CUT_KILLS is how often the agent is killed meanwhile; without, the connection to the hub is the one from before.
CUT_KILLS ?= 2
.PHONY: chaos-edge
chaos-edge: build ## An edge node whose line is cut, agent killed, disk filled and store torn, beside a real hub (root, Linux)
	@mkdir -p test/bench/out
	DIZUO_CUT_SECONDS=$(CUT_SECONDS) DIZUO_CUT_KILLS=$(CUT_KILLS) DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/edge.json $(GO) test -v -count=1 -timeout 60m ./test/chaos/edge

# SIGNALS is how many are sent, in hundreds, KILLS how often a part is killed meanwhile, SEED the number that an earlier run printed.
SIGNALS ?= 10000
KILLS ?= 20
SEED ?=
.PHONY: chaos-cases
chaos-cases: ## kill -9 of grid service, broker and PostgreSQL at random while devices speak: every signal in one case, every message out, no time lost
	DIZUO_SIGNALS=$(SIGNALS) DIZUO_CASE_KILLS=$(KILLS) DIZUO_SEED=$(SEED) $(GO) test -v -count=1 -timeout 60m ./test/chaos/cases

# FUZZ_TIME is how long each fuzz test runs.
FUZZ_TIME ?= 60s
.PHONY: fuzz
fuzz: ## Every fuzz test for FUZZ_TIME each; what one finds goes into testdata/fuzz beside it
	@set -e; grep -rlE '^func Fuzz' --include='*_test.go' internal | while read -r file; do \
	for name in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$$file"); do \
	echo "$$name"; $(GO) test "./$$(dirname "$$file")" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME); done; done

##@ Measure

BENCHMARKS := policy auth presence decisionlog
bench-policy: BENCH_PACKAGE = ./internal/node/gateway
bench-auth: BENCH_PACKAGE = ./internal/node/auth
bench-presence: BENCH_PACKAGE = ./internal/node/grid
bench-decisionlog: BENCH_PACKAGE = ./internal/node/gateway/decisionlog

.PHONY: bench $(BENCHMARKS:%=bench-%)
bench: bench-rules $(BENCHMARKS:%=bench-%) bench-reconcile bench-devices bench-access ## All benchmarks
bench-policy: ## Time of a decision at 100 and at 100,000 agreements
bench-auth: ## Admissions a second
bench-presence: ## Time to count a million devices, and to note one that was heard
bench-decisionlog: ## Records a second of the decision log
.PHONY: bench-rules
bench-rules: ## Evaluations a second of the scenario engine and its memory by key, and from message to case on a running centre
	@mkdir -p test/bench/out
	$(GO) test -run '^$$' -bench . -benchtime 1s -timeout 20m ./internal/node/rules ./test/bench/rules | tee test/bench/out/rules.txt
	$(GO) run ./test/bench/cmd/figures -in test/bench/out/rules.txt -out test/bench/out/rules.json
	DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/rules.json $(GO) test -v -count=1 -timeout 20m -run TestBenchStack ./test/bench/rules

.PHONY: bench-reconcile
bench-reconcile: ## Writes, pace and memory of the control plane at 2,000 communities, beside a null controller
	@$(KIT) build envtest helm
	@mkdir -p test/bench/out
	eval "$$($(KIT) env)"; env -u KUBECONFIG DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/reconcile.json \
	$(GO) test -v -tags envtest -count=1 -timeout 60m -run TestBenchReconcile ./test/bench/reconcile

.PHONY: bench-access
bench-access: ## What agreements cost by their number (bundle, memory, decision, revocation), and reading beside a bare handler
	@mkdir -p test/bench/out
	DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/access.json $(GO) test -v -count=1 -timeout 40m -run "TestBench(Access|Throughput)" ./internal/node/gateway

.PHONY: bench-access-scale
bench-access-scale: ## 10,000 agreements on a real API server: writes, time, memory, and revocation to the lease
	@mkdir -p test/bench/out
	eval "$$($(KIT) env)"; env -u KUBECONFIG DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/access.json \
	$(GO) test -v -tags envtest -count=1 -timeout 60m -run TestBenchScale ./test/bench/access

.PHONY: bench-access-cluster
bench-access-cluster: install ## 10,000 agreements on the local cluster (root): revocation until the gateway refuses
	@mkdir -p test/bench/out
	eval "$$($(KIT) env)"; DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/access.json \
	$(GO) test -v -tags e2e -count=1 -timeout 60m -run TestBenchCluster ./test/bench/access

.PHONY: bench-devices
bench-devices: ## What devices cost by their number: compile, connects, publishes, idle memory, revocation
	@mkdir -p test/bench/out
	DIZUO_BENCH_OUT=$(CURDIR)/test/bench/out/devices.json $(GO) test -v -count=1 -timeout 40m -run TestBench ./test/bench/devices

$(BENCHMARKS:%=bench-%): bench-%:
	@mkdir -p test/bench/out
	$(GO) test -run '^$$' -bench . -benchtime 1s -timeout 20m $(BENCH_PACKAGE) | tee test/bench/out/$*.txt
	$(GO) run ./test/bench/cmd/figures -in test/bench/out/$*.txt -out test/bench/out/$*.json

# Tools come from the modules under hack/, where their versions are pinned.
$(TOOLS)/%: hack/tools/go.mod hack/lint/go.mod
	@$(KIT) build $*
	@touch $@
