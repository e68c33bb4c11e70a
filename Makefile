# Two commands do everything: `make demo` and `make test`.
SHELL    := /bin/bash
GO       ?= go
BIN      := bin
GOFLAGS  += -buildvcs=false
export GOFLAGS

AGENTS   := internal/remote/agentbin/bin/llmhost-agent-linux-amd64.gz internal/remote/agentbin/bin/llmhost-agent-linux-arm64.gz

.PHONY: help build release test test-long test-deps demo bench bench-push generate lint clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## bin/llmhost and bin/pulumi-resource-llmhost
	@echo "== building llmhost (the first time compiles Pulumi's engine: some 4 minutes on 2 cores)"
	$(GO) build -o $(BIN)/llmhost ./cmd/llmhost
	$(GO) build -o $(BIN)/pulumi-resource-llmhost ./cmd/pulumi-resource-llmhost

release: $(AGENTS) ## binaries that carry their agents and need no Go at run time
	$(GO) build -trimpath -tags llmhost_release -ldflags '-s -w' -o $(BIN)/llmhost ./cmd/llmhost
	$(GO) build -trimpath -tags llmhost_release -ldflags '-s -w' -o $(BIN)/pulumi-resource-llmhost ./cmd/pulumi-resource-llmhost

internal/remote/agentbin/bin/llmhost-agent-linux-%.gz: FORCE
	@mkdir -p $(@D)
	CGO_ENABLED=0 GOOS=linux GOARCH=$* $(GO) build -trimpath -ldflags '-s -w' -o $(@:.gz=) ./cmd/llmhost-agent
	gzip -9 -n -f $(@:.gz=)

.PHONY: FORCE
FORCE:

test-deps:
	@$(GO) run ./test/deps

test: test-deps lint ## every test: unit, golden, scripts, architecture, end to end on a VM
	$(GO) test -timeout 80m ./...

test-long: test-deps ## the same with every kill point instead of a sample
	LLMHOST_TEST_LONG=1 $(GO) test -timeout 4h -count 1 ./...

lint:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "gofmt would change: $$bad"; exit 1; }
	$(GO) vet ./...

demo: build ## deploy a hardened inference server to a throwaway VM and look at it
	@test/demo.sh

bench: build test-deps ## the figures of docs/performance.md
	$(GO) run ./test/bench

bench-push: build test-deps ## how fast a model reaches a host, beside scp, rsync and sftp
	$(GO) run ./test/bench/push

generate: ## the SDK, the schema, the protocol and the generated docs
	$(GO) generate ./...

clean: ## what make built (never the state, never a VM)
	rm -rf $(BIN) internal/remote/agentbin/bin
