# What each target does: make help

GO      ?= go
TOOLS   := .tools
CHECKS  := local/checks
NPM     := npm install --ignore-scripts --no-audit --no-fund --package-lock=false --loglevel=error

.PHONY: help run demo test check check-long lint race fuzz conformance clients bench coldstart

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## serve everything on this machine, at http://localhost:8080/mcp
	$(GO) run ./local

test: ## everything that needs only Go
	$(GO) vet ./...
	$(GO) test ./...

check: lint test race clients conformance fuzz ## all that CI runs
check: FUZZTIME ?= 5s

lint: $(TOOLS)/staticcheck ## gofmt, go vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -d . | head -40; echo "run gofmt -w ." >&2; exit 1; }
	$(GO) vet ./...
	$(TOOLS)/staticcheck ./...
	cd $(CHECKS) && $(GO) vet ./... && $(CURDIR)/$(TOOLS)/staticcheck ./...

$(TOOLS)/staticcheck: $(CHECKS)/go.mod
	cd $(CHECKS) && $(GO) build -o $(CURDIR)/$@ honnef.co/go/tools/cmd/staticcheck

race: ## the tests under the race detector
	$(GO) test -race ./...

clients: ## real MCP clients against the server
	cd $(CHECKS) && $(GO) test ./clients/...

conformance: $(TOOLS)/suite/node_modules ## the official suite, against two instances in turn
	$(GO) build -o $(TOOLS)/conformance ./local/conformance
	$(GO) run ./local/conformance/suite -server $(TOOLS)/conformance -modules $(TOOLS)/suite

$(TOOLS)/suite/node_modules: local/conformance/suite/package.json
	mkdir -p $(TOOLS)/suite && cp $< $(TOOLS)/suite/ && cd $(TOOLS)/suite && $(NPM) && touch node_modules

FUZZTIME ?= 60s
FUZZ := mcp.FuzzValue mcp.FuzzMessage mcp.FuzzHeader catalog.FuzzFit

fuzz: ## each fuzz target for FUZZTIME
	for target in $(FUZZ); do \
		$(GO) test -run "^$$" -fuzz "^$${target#*.}$$" -fuzztime $(FUZZTIME) ./function/internal/$${target%.*} || exit 1; done
