# agentrisk: `make help` says what there is.
SHELL := /bin/bash
GO ?= go
DIR ?= .cache/stack
export CGO_ENABLED = 0
COMMIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: help
help: ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: build
build: ## bin/agentrisk
	@$(GO) build -trimpath -ldflags "-X main.commit=$(COMMIT)" -o bin/agentrisk ./cmd/agentrisk

.PHONY: devstack
devstack: ## bin/devstack: Kafka and ClickHouse for this machine
	@$(GO) build -C cmd/devstack -trimpath -o ../../bin/devstack .

.PHONY: up
up: devstack ## start Kafka and ClickHouse in DIR
	@bin/devstack up $(DIR)

.PHONY: down
down: devstack ## stop the servers of DIR
	@bin/devstack down $(DIR)
