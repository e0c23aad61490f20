# What each target does: make help

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

GO      ?= go
TOOLS   := .tools
CHECKS  := local/checks
NPM     := npm install --ignore-scripts --no-audit --no-fund --package-lock=false --loglevel=error

BENCHFLAGS ?= -rounds 3 -calls 10000 -most 1.7 -together 2.2 -governed 1.5 -observed 1.4
COSTROUNDS ?= 3

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## serve everything on this machine, at http://localhost:8080/mcp
	$(GO) run ./local

demo: ## walk through a call, a question to the user and a refusal
	$(GO) run ./local/demo

test: ## everything that needs only Go
	$(GO) vet ./...
	$(GO) test ./...

# What CI runs, in this order.
CHECKED := lint race clients faults conformance traces together observability image fuzz coldstart bench
# Of that, what waits more than it works and measures no time.
TOGETHER := receipts infra control fork kubernetes rollout docs

.PHONY: help run demo test check check-long deploy destroy release $(CHECKED) $(TOGETHER)

check: $(CHECKED) ## all that CI runs

check-long: FUZZTIME = 60s
check-long: BENCHFLAGS = -rounds 15 -most 1.4 -together 1.7 -governed 1.15 -observed 1.15
check-long: STRICT = -strict
check-long: COSTROUNDS = 15
check-long: SEEDS = 20000
check-long: TRIALS = 3
check-long: $(CHECKED) simulate ## check with a minute for each fuzz target, and figures to publish

lint: $(TOOLS)/staticcheck ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -d . | head -40; echo "run gofmt -w ." >&2; exit 1; }
	$(GO) vet ./...
	$(TOOLS)/staticcheck ./...
	cd $(CHECKS) && $(GO) vet ./... && $(CURDIR)/$(TOOLS)/staticcheck ./...

$(TOOLS)/staticcheck: $(CHECKS)/go.mod
	cd $(CHECKS) && $(GO) build -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

# Packages that measure time have the machine for themselves.
ALONE := example.com/erlmcp/function example.com/erlmcp/function/internal/governor example.com/erlmcp/function/internal/redisdb
race: redis-server ## the tests under the race detector, and on a real Redis
	$(GO) test -race -short $(filter-out $(ALONE),$(shell $(GO) list ./function/...))
	ERLMCP_REQUIRE_REDIS=1 $(GO) test -p 1 -race -short $(ALONE)

# Debian's programs, where they are not installed.
.PHONY: redis-server haproxy prometheus simulate
redis-server haproxy prometheus:
	@command -v $@ >/dev/null || { apt-get update -qq && apt-get install -y -qq $@ >/dev/null && { service $@ stop >/dev/null 2>&1 || true; }; }

SEEDS ?= 1000
# Figures as they are published; without it a busy machine gets leeway.
STRICT ?=
simulate: ## the governor's protocol in SEEDS simulated fleets
	$(GO) test -count=1 -run Simulation ./function/internal/governor -seeds $(SEEDS)

clients: ## real MCP clients against the server, and the official one through a real authorization server
	cd $(CHECKS) && $(GO) test ./clients/... ./oauth/...

TRIALS ?= 1
faults: redis-server haproxy ## four processes on a real Redis, while things break
	cd $(CHECKS) && $(GO) test -count=1 -v -timeout 30m ./faults -trials $(TRIALS) $(STRICT) | grep -v '^=== '

fork: ## the source with three tools of someone else's, built in every way
	cd $(CHECKS) && $(GO) test ./fork/...

conformance: $(TOOLS)/suite/node_modules ## the official suite, against two instances in turn
	$(GO) build -o $(TOOLS)/conformance ./local/conformance
	$(GO) run ./local/conformance/suite -server $(TOOLS)/conformance -modules $(TOOLS)/suite

$(TOOLS)/suite/node_modules: local/conformance/suite/package.json
	mkdir -p $(TOOLS)/suite && cp $< $(TOOLS)/suite/ && cd $(TOOLS)/suite && $(NPM) && touch node_modules

traces: $(TOOLS)/otelcol ## one trace from a client to what a tool calls, through a real collector, which is then taken away
	cd $(CHECKS) && $(GO) test -count=1 ./traces -collector $(CURDIR)/$(TOOLS)/otelcol

together: redis-server ## receipts, infra, control, fork, kubernetes, rollout and docs, two at a time
	@$(MAKE) --no-print-directory -j 2 -O $(TOGETHER)

receipts: redis-server ## the record of decisions, while processes are killed and the store is away
	cd $(CHECKS) && $(GO) test -count=1 -parallel 3 ./receipts

control: redis-server ## what an operator orders, in four processes, while Redis and the store are stopped, killed and emptied
	cd $(CHECKS) && $(GO) test -count=1 -v ./control | grep -v '^=== '

# What runs without a cloud in its place may lie beside the checkout; else terraform, kwokctl, podman or Docker fetch what they need.
BESIDE   := $(abspath ../shared/tools)
PROVIDED := $(if $(wildcard $(BESIDE)/setup),eval "$$($(BESIDE)/setup)" &&)
export GCLOUD_LINT := $(wildcard $(BESIDE)/gcloud-lint)
export CLOUDBUILD_CHECK := $(wildcard $(BESIDE)/cloudbuild-check)

infra: $(TOOLS)/tflint ## Terraform: form, types, each combination of variables, plans against rules
	$(PROVIDED) cd $(CHECKS) && $(GO) test -count=1 ./infra
	$(TOOLS)/tflint --chdir infra --recursive --config $(CURDIR)/infra/.tflint.hcl

$(TOOLS)/tflint $(TOOLS)/ko $(TOOLS)/crane $(TOOLS)/builder: $(CHECKS)/tools
	GOBIN=$(CURDIR)/$(TOOLS) $(GO) install $$(grep /$(@F)@ $<) && touch $@

observability: prometheus $(TOOLS)/otelcol ## alerts and dashboard against a server that runs, and a real collector
	cd $(CHECKS) && $(GO) test -count=1 ./observability

# Some four minutes, once.
$(TOOLS)/otelcol: $(CHECKS)/otelcol.yaml | $(TOOLS)/builder
	$(TOOLS)/builder --config $< --skip-compilation
	cd $(TOOLS)/otelcol.src && CGO_ENABLED=0 $(GO) build -o ../otelcol . && rm -rf $(CURDIR)/$(TOOLS)/otelcol.src

kubernetes: ## the manifests on a real API server: accepted, rolled out, undone, drained
	$(PROVIDED) $(CHECKS)/kubernetes/run $(BESIDE)

image: haproxy redis-server $(TOOLS)/ko $(TOOLS)/crane ## the image, locked down; a release of a tag; the composed fleet
	$(if $(wildcard $(BESIDE)/containers),@command -v podman-compose debootstrap buildah >/dev/null || \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq buildah podman runc podman-compose debootstrap >/dev/null 2>&1; })
	$(if $(wildcard $(BESIDE)/containers),eval "$$($(BESIDE)/containers)" &&) export PATH="$(CURDIR)/$(TOOLS):$$PATH" && \
		cd $(CHECKS) && $(GO) test -count=1 -v ./image $(STRICT) | grep -v '^=== '

rollout: ## the steps of a release, on a cloud that is played
	cd $(CHECKS) && $(GO) test -count=1 ./rollout

docs: ## every command of the documents, and cloudbuild.yaml
	cd $(CHECKS) && $(GO) test -count=1 ./docs

PLATFORM ?= cloudrun
deploy: ## plan, show and apply infra for ENV, on PLATFORM cloudrun or gke
	infra/deploy "$(ENV)" $(PLATFORM)

destroy: ## say what stays, show what goes, and destroy ENV on PLATFORM
	infra/destroy "$(ENV)" $(PLATFORM)

release: $(TOOLS)/ko ## build what the tag at hand releases, list and verify it
	KO=$(CURDIR)/$(TOOLS)/ko local/release $(TAG)

FUZZTIME ?= 3s
FUZZ := mcp.FuzzValue mcp.FuzzMessage mcp.FuzzHeader catalog.FuzzFit tenant.FuzzEvent \
	receipt.FuzzCanonical receipt.FuzzParse receipt.FuzzExport receipt.FuzzEdits

# To make an input shorter takes a minute else, of which nothing is learnt.
fuzz: ## each fuzz target for FUZZTIME
	for target in $(FUZZ); do \
		$(GO) test -run "^$$" -fuzz "^$${target#*.}$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x ./function/internal/$${target%.*} || exit 1; done

coldstart: ## time from exec to the first answered call, and the binary's size
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags '-s -w' -o $(TOOLS)/erlmcp ./function/cmd/erlmcp
	cd $(CHECKS) && $(GO) run ./coldstart -binary $(CURDIR)/$(TOOLS)/erlmcp $(if $(STRICT),,-most 150ms)

bench: redis-server ## what a call costs, beside a bare handler and two other servers, what a decision does, and what receipts do
	cd $(CHECKS) && $(GO) build -o $(CURDIR)/$(TOOLS)/bench ./bench
	$(TOOLS)/bench $(BENCHFLAGS)
	$(GO) test -count=1 -v -p 1 -run TestCost ./function/internal/redisdb ./function/internal/identity ./function/internal/policy ./function/internal/receipt ./function/internal/firestoredb -cost $(COSTROUNDS) $(STRICT) | grep -v '^=== '
