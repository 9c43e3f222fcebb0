# Herald. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VERSION ?= v0.1.0
GO      ?= go
# Debian's packages that the lab needs: the container runtime, packet filters, routers.
PACKAGES := runc iproute2 nftables conntrack frr bird2
TOOLS    := runc ip nft conntrack bird /usr/lib/frr/bgpd

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the two programs into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: image
image: ## build both programs into one image, without a registry; says where its archive is
	@$(GO) -C test run ./cmd/lab image herald-lb.io/herald:$(VERSION)

.PHONY: demo
demo: tools ## a cluster on this machine, Services that answer on the LAN and behind a router, nodes that fail
	$(GO) -C test run ./cmd/demo

.PHONY: test
test: tools ## unit, network namespaces, end to end on a real cluster; says what it skips
	@cd test && ./run-tests.sh

.PHONY: test-faults
test-faults: tools ## the same with the faults that take minutes: a quarter of an hour more
	@HERALD_TEST_FAULTS=1 ./test/run-tests.sh

.PHONY: test-unit
test-unit: ## tests that need neither root nor a cluster
	$(GO) test -race ./...

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@./test/lint.sh

.PHONY: bench
bench: tools ## the figures of this machine, beside the alternative, into test/results/
	$(GO) -C test run ./cmd/bench

.PHONY: soak
soak: tools ## an hour of load and random faults (SOAK=10m for less)
	$(GO) -C test run ./cmd/soak -for $(or $(SOAK),1h)

.PHONY: fuzz
fuzz: ## every fuzz target for a minute (FUZZTIME=10s for less)
	@set -e; for f in $$(grep -rlE '^func Fuzz' --include=*_test.go cmd pkg); do \
	  for t in $$(grep -oE '^func Fuzz[A-Za-z0-9]+' $$f | cut -c6-); do \
	    echo "$$t in $$(dirname $$f)"; $(GO) test ./$$(dirname $$f) -run '^$$' -fuzz "^$$t$$" -fuzztime $(or $(FUZZTIME),1m); done; done

.PHONY: lab
lab: tools ## a cluster to play with; `make down` ends it
	$(GO) -C test run ./cmd/lab up

.PHONY: down
down: ## end the demo's or the lab's cluster
	$(GO) -C test run ./cmd/lab down
	$(GO) -C test run ./cmd/lab down --name demo

.PHONY: tools
tools:
	@[ "$$(id -u)" = 0 ] || { echo "make: network namespaces and containers need root: run it again with sudo"; exit 1; }
	@missing=; for t in $(TOOLS); do command -v $$t >/dev/null || missing="$$missing $$t"; done; \
	 if [ -n "$$missing" ]; then \
	   command -v apt-get >/dev/null || { echo "make:$$missing not found; install them with your distribution's packages"; exit 1; }; \
	   echo "installing $(PACKAGES) (not found:$$missing)"; \
	   ./test/install-packages.sh $(PACKAGES); fi
