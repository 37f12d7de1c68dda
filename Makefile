# agentrisk: `make help` says what there is.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
GO ?= go
DIR ?= .cache/stack
DATA ?=
FUZZTIME ?= 20s
# CI puts deploy/retest.sh here, which runs a failed test once more and says so.
GOTEST ?= $(GO) test
export CGO_ENABLED ?= 0
COMMIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help
help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: tools
tools:
	@command -v $(GO) >/dev/null || { echo "Go is missing: see https://go.dev/dl, version 1.26 or later; nothing here works without it" >&2; exit 1; }

.PHONY: build
build: tools ## bin/agentrisk
	@$(GO) build -trimpath -ldflags "-X main.commit=$(COMMIT)" -o bin/agentrisk ./cmd/agentrisk

.PHONY: devstack
devstack: tools ## bin/devstack: Kafka and ClickHouse for this machine
	@$(GO) build -C cmd/devstack -trimpath -o ../../bin/devstack .

.PHONY: demo
demo: build devstack ## the whole system at work, in a minute (KEEP=1 leaves it up, SAMPLE=file streams recorded events)
	@exec bin/devstack demo bin/agentrisk

.PHONY: test
test: tools ## every test, with real servers
	@$(GOTEST) -timeout 30m -parallel 3 ./...
	@$(GO) test -C cmd/devstack ./...

.PHONY: race
race: tools ## the race detector on what is concurrent
	@CGO_ENABLED=1 $(GOTEST) -race ./ingest ./ingest/file ./sink/... ./scoring ./rules
	@CGO_ENABLED=1 AGENTRISK_RACE=1 $(GOTEST) -count=1 -run 'TestEveryEventOnceThoughAProcessIsKilled|TestKafkaAwayAndBack' ./cmd/agentrisk

.PHONY: outage
outage: tools ## ClickHouse away for OUTAGE (3m) under load: flat memory, nothing lost
	@AGENTRISK_OUTAGE=$(or $(OUTAGE),3m) $(GO) test -count=1 -v -run TestClickHouseAwayAndBack ./cmd/agentrisk

.PHONY: lint
lint: tools ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not gofmt'ed: $$out"; exit 1; }
	@$(GO) vet ./...
	@$(GO) vet -C cmd/devstack ./...
	@$(GO) run $(STATICCHECK) ./...

.PHONY: vuln
vuln: tools ## known vulnerabilities that the code reaches
	@deploy/vulncheck.sh

.PHONY: bench
bench: build devstack ## a table per stage and end to end (DATA=dir adds the recorded feed)
	@$(GO) test -run '^$$' -bench . -benchmem ./scoring ./rules ./ingest ./ingest/kafka ./sink/clickhouse
	@AGENTRISK_BENCH_DATA=$(DATA) $(GO) test -run '^$$' -bench Stages ./cmd/agentrisk | awk -f deploy/stages.awk
	@DATA=$(DATA) deploy/bench.sh

.PHONY: producers
producers: tools ## what a real Collector and the CloudEvents SDK write to Kafka is read (the first build takes minutes)
	@$(GO) vet -C deploy/producertest ./...
	@$(GO) test -C deploy/producertest -count=1 ./...

.PHONY: docs
docs: tools ## write the documents that are made from the code
	@$(GO) test ./cmd/agentrisk -count=1 -run TestTablesInDocuments -update >/dev/null
	@$(GO) test ./ingest -count=1 -run TestTablesOfFormats -update >/dev/null
	@git --no-pager diff --stat -- deploy cmd/agentrisk

.PHONY: fuzz
fuzz: tools ## every fuzz target for FUZZTIME each
	@deploy/fuzz.sh $(FUZZTIME)

.PHONY: spine
spine: build devstack ## recorded events from DATA=dir through two processes, killed ten times: every one exactly once
	@[ -n "$(DATA)" ] || { echo "want DATA=dir with *.events.ndjson.gz" >&2; exit 1; }
	@deploy/spine.sh "$(DATA)"

.PHONY: chaos
chaos: tools ## break everything around the pipeline on purpose: a million events, 80 faults drawn from SEED=1
	@AGENTRISK_CHAOS=$(or $(SEED),1) $(GO) test -count=1 -v -timeout 2h -run TestChaos ./deploy/chaos

.PHONY: chaos-all
chaos-all: tools ## the same for ten seeds, SEED=1 and the nine after it
	@for s in $$(seq $(or $(SEED),1) $$(($(or $(SEED),1) + 9))); do \
		AGENTRISK_CHAOS=$$s $(GO) test -count=1 -v -timeout 2h -run TestChaos ./deploy/chaos; done

.PHONY: self-proof
self-proof: tools ## switch one mechanism off at a time: each must be missed by a test (MECHANISM=regexp)
	@AGENTRISK_SELFPROOF='$(or $(MECHANISM),.)' $(GO) test -count=1 -timeout 2h -run TestSelfProof -v ./deploy/chaos

.PHONY: soak
soak: tools ## SOAK=60m of load with a fault a minute: memory, goroutines and parts stay flat
	@AGENTRISK_SOAK=$(or $(SOAK),60m) AGENTRISK_SOAK_RATE=$(or $(RATE),1000) $(GO) test -count=1 -v -timeout 4h -run TestSoak ./deploy/chaos

.PHONY: alerts
alerts: tools ## Prometheus rules and dashboards, checked and tested with promtool (PROMTOOL=build makes one)
	@deploy/alerts.sh

.PHONY: image
image: tools ## the container image, around a binary built here (IMAGE=name, PLATFORM=amd64)
	@deploy/image.sh

.PHONY: compose-test
compose-test: tools ## docker-compose.yml really brought up, and looked at (KAFKA_IMAGE, CLICKHOUSE_IMAGE name other images)
	@deploy/compose-test.sh

.PHONY: release
release: tools ## static binaries with checksums and SBOMs in bin/release (VERIFY=1 builds twice and compares)
	@deploy/release.sh bin/release

.PHONY: up
up: devstack ## start Kafka and ClickHouse in DIR
	@bin/devstack up $(DIR)

.PHONY: down
down: devstack ## stop the servers of DIR
	@bin/devstack down $(DIR)
