# What each target does: make help

SHELL       := /bin/bash
.SHELLFLAGS := -o pipefail -c

GO      ?= go
# A compiler that seldom collects garbage takes a seventh less.
QUICK   := GOGC=400 $(GO)
TOOLS   := .tools
CHECKS  := local/checks

# How many times the CPU of a bare handler a call may take. Machines differ by a third in it, so these find what is much worse; what is a little
# worse shows in allocations, which are held as closely as anywhere.
BENCHFLAGS ?= -rounds 9 -calls 4000 -most 2 -together 2.6 -governed 1.5 -observed 1.4 -proxied 2
COSTROUNDS ?= 3

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Of the program, such as -sample=false.
FLAGS ?=
run: ## serve everything on this machine, at http://localhost:8080/mcp, and again when Go files change
	@$(GO) run ./local/watch ./local $(FLAGS)

demo: ## walk through a call, a question to the user and a refusal
	$(GO) run ./local/demo

PACKAGES ?= ./...
test: ## everything that needs only Go, whatever else is installed
	$(QUICK) vet $(PACKAGES)
	$(GO) test $(PACKAGES)

# By the names that they had up to erlmcp 0.6.
workspace-check: check
workspace-test: test
workspace-release: release

module: ## take NAME as the path of the module, in all files
	$(GO) run ./local/module "$(NAME)"

.PHONY: help run demo test module check check-long workspace-check workspace-test workspace-release deploy destroy release tagged packages tools lint race stores clients agents faults conformance traces receipts recovery infra \
	control declared fork kubernetes rollout oncall hostile docs observability judge catalog image fuzz coldstart bench simulate cover mutations flaky weigh shipper format

# Of steps: -keep-going tells of all that fails, in as many minutes as it takes.
STEPS ?=
check: ## all that CI runs, and what each step of it took: local/steps has the table
	@$(GO) build -o $(TOOLS)/steps ./local/steps
	@$(TOOLS)/steps $(STEPS)

check-long: ## check with twenty times the inputs for each fuzz target, figures to publish, and the tests held to account
	@$(MAKE) --no-print-directory check STEPS=-long FUZZTIMES=20 STRICT=-strict COSTROUNDS=15 SEEDS=20000 BAKES=300 TRIALS=3 ATTACK=60s \
		BENCHFLAGS="-rounds 15 -most 1.4 -together 1.7 -governed 1.15 -observed 1.15 -proxied 2"

# What runs without a cloud in its place may lie beside the checkout; else terraform, kwokctl, podman or Docker fetch what they need.
BESIDE   := $(abspath ../shared/tools)
PROVIDED := $(if $(wildcard $(BESIDE)/setup),export ERLMCP_TOOLS="$$($(CHECKS)/built)" && eval "$$($(BESIDE)/setup)" &&)
PODMAN   := $(if $(wildcard $(BESIDE)/containers),export ERLMCP_TOOLS="$$($(CHECKS)/built)" && eval "$$($(BESIDE)/containers)" &&)
export GCLOUD_LINT := $(wildcard $(BESIDE)/gcloud-lint)
export CLOUDBUILD_CHECK := $(wildcard $(BESIDE)/cloudbuild-check)

# Debian's programs, and those of the checks that are built once for all checkouts.
DEBIAN     := redis-server haproxy prometheus rsyslog-elasticsearch
CLUSTER    := $(if $(wildcard $(BESIDE)/kube),etcd)
CONTAINERS := $(if $(PODMAN),buildah podman runc podman-compose debootstrap)
BUILT      := $(addprefix $(TOOLS)/,staticcheck tflint otelcol ko crane)

packages: ## what the checks need of Debian and npm
	$(CHECKS)/debian $(DEBIAN) $(CLUSTER) $(CONTAINERS)
	$(CHECKS)/built clients && $(CHECKS)/built suite
	$(PROVIDED) $(PODMAN) true

tools: $(BUILT) ## what the checks need of others' Go; the collector takes minutes, once

.PHONY: $(BUILT) $(DEBIAN) emulator
$(BUILT):
	@$(CHECKS)/built $(@F)
$(DEBIAN):
	@$(CHECKS)/debian $@

# The emulator comes with the gcloud SDK: where that is installed, the emulator must be, too.
STORES = redis$(if $(shell command -v gcloud), firestore)
emulator:
	@command -v gcloud >/dev/null || echo "NOT TESTED: all that needs the Firestore emulator, as gcloud is not installed"

lint: $(TOOLS)/staticcheck ## gofmt, go vet, staticcheck, and what models' interfaces refuse of the tools
	@test -z "$$(gofmt -l .)" || { gofmt -d . | head -40; echo "run gofmt -w ." >&2; exit 1; }
	$(QUICK) vet ./...
	$(TOOLS)/staticcheck ./...
	cd $(CHECKS) && $(QUICK) vet ./... && $(CURDIR)/$(TOOLS)/staticcheck ./...
	$(GO) run ./function/cmd/erlmcp lint

format: ## format all files as lint wants them, and lint
	gofmt -w .
	$(if $(wildcard $(BESIDE)/setup),$(PROVIDED)) if command -v terraform >/dev/null; then terraform fmt -recursive infra; fi
	@$(MAKE) --no-print-directory lint

REDISDB := example.com/erlmcp/function/internal/store/redis
# On one processor: Go 1.26's race detector crashes where two goroutines of a bubble make timers at once that are due (a bubble has one
# context for both, runtime/time.go). It finds a race by what happens before what, however many processors there are.
race: redis-server ## the tests under the race detector, and on a real Redis
	$(QUICK) build -race ./function/...
	$(GO) test -race -short -cpu 1 $(filter-out $(REDISDB),$(shell $(GO) list ./function/...))
	ERLMCP_TEST_ON=redis $(GO) test -race -short $(REDISDB) # by itself: on a real Redis it measures time

stores: redis-server emulator ## the suites of the stores, on a real Redis and the Firestore emulator
	ERLMCP_TEST_ON=redis $(GO) test $(REDISDB)
	ERLMCP_TEST_ON="$(STORES)" $(GO) test -race ./function/internal/store/firestore

SEEDS ?= 300
DECLARATIONS ?= 1000
# Of each kind of fleet that a canary is judged in.
BAKES ?= 20
# Figures as they are published; without it a busy machine gets leeway.
STRICT ?=
simulate: ## the governor's protocol in SEEDS simulated fleets, the merging of directives in 10 000 schedules, canaries, healthy and not, and catalogs that change under calls
	$(GO) test -count=1 -run Simulation ./function/internal/governor -seeds $(SEEDS)
	$(GO) test -count=1 -run Directive ./function/internal/directives -schedules 10000
	$(GO) test -count=1 -run Declarations ./function -declarations $(DECLARATIONS)
	$(GO) test -count=1 -run 'Healthy|Level|Found' -timeout 40m ./function/internal/judge -bakes $(BAKES)

cover: ## how much of each package its own tests run
	$(GO) test -count=1 -cover ./function/... ./local

# These two hold the tests to account. Each tool's own tests run first: one that finds nothing would make any tests look good.
SEED ?= 1
# Of 30. Some make no difference, and another seed draws others: fewer than half say that tests have gone.
LEAST ?= 15
mutations: ## small faults in the product, one at a time: how many the tests find
	cd $(CHECKS) && $(GO) test ./mutations && $(GO) run ./mutations -seed $(SEED) -least $(LEAST)

N ?= 20
flaky: ## all tests N times, raced, in another order each time, beside busy loops: which fail now and then
	cd $(CHECKS) && $(GO) test ./flaky && $(GO) run ./flaky -n $(N)

clients: ## real MCP clients against the server, and the official one through a real authorization server
	cd $(CHECKS) && $(GO) test -count=1 ./clients/... ./oauth/...

# Their packages take minutes, once: too long for all that waits for the target packages.
agents: ## real agent frameworks against the server: what the model of each is given
	$(CHECKS)/built agents
	cd $(CHECKS) && $(GO) test -count=1 ./agents

TRIALS ?= 1
faults: redis-server haproxy ## four processes on a real Redis, while things break
	cd $(CHECKS) && $(GO) test -count=1 -v -timeout 30m ./faults -trials $(TRIALS) $(STRICT) | grep -v '^=== '

fork: ## the source with tools of someone else's in place of its own, tested, and built in every way
	cd $(CHECKS) && $(GO) test -count=1 -timeout 30m ./fork $(STRICT)

conformance: ## the official suite, against two instances in turn
	$(GO) build -o $(TOOLS)/conformance ./local/conformance
	modules=$$($(CHECKS)/built suite) && $(GO) run ./local/conformance/suite -server $(TOOLS)/conformance -modules "$$modules"

traces: $(TOOLS)/otelcol ## one trace from a client to what a tool calls, through a real collector, which is then taken away
	cd $(CHECKS) && $(GO) test -count=1 ./traces -collector $(CURDIR)/$(TOOLS)/otelcol

receipts: redis-server emulator ## the record of decisions, while processes are killed and the store is away
	cd $(CHECKS) && $(GO) test -count=1 -parallel 3 ./receipts

# Of recovery: -seeds 200 has more processes be killed.
RECOVERY ?=
recovery: redis-server emulator ## a store that is rolled back and restored: nothing revoked comes back, all that is missing is named
	$(GO) test -count=1 -timeout 20m ./function/internal/recovery ./function/internal/store/objects ./function/internal/receipt/verify ./function/internal/receipt/archive -whole
	cd $(CHECKS) && $(GO) test -count=1 -v -timeout 20m ./recovery $(RECOVERY) | grep -v '^=== '

shipper: rsyslog-elasticsearch redis-server ## the log that a real server writes, shipped by a real rsyslog to what takes what Elasticsearch takes
	cd $(CHECKS) && $(GO) test -count=1 ./shipper

weigh: redis-server emulator ## what a call weighs in log, store, metrics and traces, against what the cost table takes it to weigh
	cd $(CHECKS) && $(GO) test -count=1 -v ./weigh | grep -v '^=== '

control: redis-server emulator ## what an operator orders, in four processes, while Redis and the store are stopped, killed and emptied
	cd $(CHECKS) && $(GO) test -count=1 -v ./control | grep -v '^=== '

infra: $(TOOLS)/tflint ## Terraform: form, types, each combination of variables, plans against rules
	$(PROVIDED) cd $(CHECKS) && $(GO) test -count=1 -timeout 20m ./infra
	$(TOOLS)/tflint --chdir infra --recursive --config $(CURDIR)/infra/.tflint.hcl

observability: prometheus redis-server emulator $(TOOLS)/otelcol ## alerts and dashboard against a server that runs, a real collector, and a day on which things break
	cd $(CHECKS) && $(GO) test -count=1 ./observability

# LONG=-long bakes 20 healthy canaries in place of 3, in some four minutes.
LONG ?=
judge: haproxy prometheus ## canaries that are bad in one way each, and healthy ones: erlmcp judge must tell, behind a real balancer, by a real Prometheus
	cd $(CHECKS) && $(GO) test -count=1 -parallel 20 ./judge $(LONG)

kubernetes: ## the manifests on a real API server: accepted, rolled out, undone, drained, and released by canaries
	@$(CHECKS)/debian $(CLUSTER)
	$(PROVIDED) $(CHECKS)/kubernetes/run $(BESIDE)

image: haproxy redis-server emulator $(TOOLS)/ko $(TOOLS)/crane ## the image, locked down; a release of a tag; the composed fleet
	@$(CHECKS)/debian $(CONTAINERS)
	$(PODMAN) export PATH="$(CURDIR)/$(TOOLS):$$PATH" && cd $(CHECKS) && $(GO) test -count=1 -v ./image $(STRICT) | grep -v '^=== '

ATTACK ?= 4s
catalog: ## declared tools: public OpenAPI documents and requests read by other implementations, and questions that find tools
	cd $(CHECKS) && $(GO) test -count=1 -v ./openapi ./openapiwire ./search | grep -v '^=== '

declared: ## tools of public documents against mock servers of the same documents by Prism, and catalog files in an editor's language server
	cd $(CHECKS) && $(GO) test -count=1 -v ./prism ./editor | grep -v '^=== '

hostile: ## attacks on a server, each for ATTACK, while another tenant calls and the platform probes
	cd $(CHECKS) && $(GO) test -count=1 -v -timeout 20m ./hostile -for $(ATTACK) $(STRICT) | grep -v '^=== '

rollout: ## releases by gcloud over what Terraform plans, on a Cloud Deploy that is played
	$(PROVIDED) cd $(CHECKS) && $(GO) test -count=1 -timeout 20m ./rollout

oncall: ## gcloud's commands of the runbooks, by the real gcloud, with no other rights than who is on call gets
	$(PROVIDED) cd $(CHECKS) && $(GO) test -count=1 ./oncall

docs: ## every command of the documents, and cloudbuild.yaml
	cd $(CHECKS) && $(GO) test -count=1 ./docs

PLATFORM ?= cloudrun
deploy: ## plan, show and apply infra for ENV, on PLATFORM cloudrun or gke
	infra/deploy "$(ENV)" $(PLATFORM)

# The same source is the same image, so that a tag can be built again.
tagged: ## in a build: the image of TAG, pushed under the name IMAGE; its digest in /workspace/image
	@version=v$$($(GO) run ./function/cmd/erlmcp version); [ "$$version" = "$(TAG)" ] || \
	  { echo "the tag is $(TAG) and the source says $$version (Version in function/tools/tools.go, and else in function/function.go)" >&2; exit 1; }
	$(GO) install github.com/google/ko@v0.19.1
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) KO_DOCKER_REPO=$(IMAGE) ko build ./function/cmd/erlmcp --bare --tags "$(TAG)" --image-refs /workspace/image

destroy: ## say what stays, show what goes, and destroy ENV on PLATFORM
	infra/deploy -destroy "$(ENV)" $(PLATFORM)

release: $(TOOLS)/ko ## build what the tag at hand releases, list and verify it
	KO=$(CURDIR)/$(TOOLS)/ko local/release $(TAG)

# Each target and how many inputs it gets: some 3 s of work on 2 cores. Not a duration, at whose end Go 1.26 fails
# one run in some hundred (go.dev/issue/75804).
FUZZ := function:FuzzReading:300 $(addprefix function/internal/,mcp:FuzzValue:20000 mcp:FuzzMessage:20000 mcp:FuzzHeader:20000 value:FuzzCheck:20000 \
	value:FuzzType:1500 entitlement:FuzzEvent:20000 receipt:FuzzCanonical:20000 receipt:FuzzParse:20000 receipt/verify:FuzzExport:20000 receipt/verify:FuzzEdits:4000 backend/rest:FuzzPath:20000)
FUZZTIMES ?= 1

# To make an input shorter takes a minute else, of which nothing is learnt.
fuzz: ## each fuzz target with FUZZTIMES its number of inputs
	for target in $(FUZZ); do IFS=: read -r room name inputs <<< "$$target"; \
		$(GO) test -run "^$$" -fuzz "^$$name$$" -fuzztime $$((inputs * $(FUZZTIMES)))x -fuzzminimizetime 10x ./$$room || exit 1; done

coldstart: ## time from exec to the first answered call, and the binary's size
	CGO_ENABLED=0 $(GO) build -trimpath -tags grpcnotrace -ldflags '-s -w' -o $(TOOLS)/erlmcp ./function/cmd/erlmcp
	cd $(CHECKS) && $(GO) run ./coldstart -binary $(CURDIR)/$(TOOLS)/erlmcp $(if $(STRICT),,-most 150ms)

bench: redis-server emulator ## what a call costs, beside a bare handler and two other servers, what a decision does, and what receipts do
	cd $(CHECKS) && $(GO) build -o $(CURDIR)/$(TOOLS)/bench ./bench
	$(TOOLS)/bench $(BENCHFLAGS)
	ERLMCP_TEST_ON="$(STORES)" $(GO) test -count=1 -v -p 1 -run TestCost ./function/internal/store/redis ./function/internal/identity ./function/internal/policy ./function/internal/receipt/verify ./function/internal/store/firestore -cost $(COSTROUNDS) $(STRICT) | grep -v '^=== '
