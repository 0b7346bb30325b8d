# Two commands matter: make demo, make test. The rest is for those who work on it.
SHELL      := /bin/bash
GO         ?= go
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT     ?= $(shell git rev-parse --short HEAD 2>/dev/null || echo unknown)
LDFLAGS    := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 5m
FUZZ       := wire:FuzzCanonical wire:FuzzHead wire:FuzzKey routes:FuzzMatch config:FuzzParse auth:FuzzToken auth:FuzzBasicPair auth/password:FuzzParse auth:FuzzIntrospection auth/introspect:FuzzAnswer auth/keyset:FuzzJWKS upstream:FuzzAnswer upstream/health:FuzzServingStatus answer:FuzzOpen dedup/spool:FuzzEntry ratelimit:FuzzQuota ratelimit:FuzzTokens edge:FuzzTwins

.PHONY: build demo test lint vuln secrets sbom fuzz fuzz-short bench chaos chaos-short fleet soak image clean

build: ## the static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o gateway ./cmd/gateway

demo: build ## gateway.yaml in front of sample services, with curl lines to try
	./gateway demo

test: ## installs what the tests need when it is missing, then runs every test
	@GO=$(GO) scripts/test-deps
	$(GO) test -race -count=1 -timeout 25m ./... # count: what builds the gateway itself would be taken from the cache although it changed
	$(GO) test -timeout 8m ./internal/ratelimit/leases ./internal/shed # their long simulations: under -race they take minutes
	$(GO) test -run Alloc ./internal/... # budgets of allocations: under -race pools forget, so they can't be counted there
	$(MAKE) --no-print-directory fuzz-short

lint: vuln secrets
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

vuln: ## known holes that our code reaches; ONCEGATE_VULNDB names a clone of the public database, ONCEGATE_VULN=strict demands it
	$(GO) run ./scripts/vuln

secrets: ## keys and tokens that were committed, now or ever
	@GO=$(GO) scripts/secrets

fuzz: ## every fuzz target there is, each for FUZZTIME
	@FUZZTIME=$(FUZZTIME) scripts/fuzz $$(cd internal && grep -rno --include=*_test.go '^func Fuzz[A-Za-z]*' . | sed -E 's#^\./(.*)/[^/]*:[0-9]+:func (.*)#\1:\2#')

fuzz-short:
	@FUZZTIME=4s scripts/fuzz $(FUZZ)

bench: ## ratios measured in one run, for docs/performance.md
	$(GO) run ./bench

chaos: ## proof of the promises: every kill point and fault, 100 failovers of each kind of fleet, known defects must be found
	ONCEGATE_CHAOS=full $(GO) test -count=1 -timeout 3h -v -run 'TestChaos$$|TestMutants' ./chaos
	ONCEGATE_CHAOS_FAILOVERS=100 $(GO) test -count=1 -timeout 1h -v -run TestChaosFailovers ./chaos
	ONCEGATE_CHAOS_ROUNDS=100 $(GO) test -count=1 -timeout 30m -run Chaos ./e2e

chaos-short: ## what make test does of it
	$(GO) test -count=1 -timeout 10m ./chaos

fleet: ## shared limits on real gateways and a real Redis: accuracy and every outage, for docs/rate-limits.md
	ONCEGATE_FLEET=full $(GO) test -count=1 -timeout 60m -v ./fleet

soak: ## steady load with reloads, memory must stay flat; random traffic against a misbehaving upstream; the long form of all fault injections; bodies of 5 GiB and thousands of WebSockets
	ONCEGATE_BULK_MIB=5120 ONCEGATE_WEBSOCKETS=4000 $(GO) test -count=1 -timeout 30m -run 'HugeBodies|WebSocketCrowd' ./e2e
	ONCEGATE_SOAK=10m $(GO) test -count=1 -timeout 30m -run Soak ./e2e
	ONCEGATE_SOAK=10m $(GO) test -count=1 -timeout 40m -v -run 'Injection|TestOutcome|TestU[0-9]' ./resilience
	ONCEGATE_STORM=2m $(GO) test -race -count=1 -timeout 30m -run Storm ./internal/gateway

sbom: build ## dist/sbom.cdx.json: what the binary is made of, with licences (CycloneDX)
	$(GO) run ./scripts/sbom -version $(VERSION) -o dist/sbom.cdx.json gateway

image: ## container image, with buildah or docker, and dist/sbom.cdx.json of the binary in it
	VERSION=$(VERSION) COMMIT=$(COMMIT) scripts/image

clean:
	rm -rf gateway dist
