# What can be done here. CI and README call these targets and nothing else.

SERVER    ?=
IAM       ?= emulator
KEEP      ?=
SEED      ?= 0
SOAK      ?= 2m
FAULT     ?=
FUZZTIME  ?= 10s
SAMPLE    ?= 0
MUTATE    ?=
KEYCLOAKS ?= 9.0.3 9.0.3-api 18.0.2 26.7.0
CLIENTS   ?=
OAUTH_SERVERS ?= authlib django-oauth-toolkit fosite oidc-provider
export SERVER IAM KEEP

# The releases of internal/iam/release.go, and those that the journeys run on too.
ALL_KEYCLOAKS     := 9.0.3 9.0.3-api 16.1.1 18.0.2 22.0.5 24.0.5 26.0.8 26.4.7 26.7.0
JOURNEY_KEYCLOAKS := 9.0.3 26.7.0

# A pipe fails with its first command.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

GO_TEST := go test -race -timeout 30m

# The search of the session engine for broken rules; it prints how much it tried.
SEARCHES := TestACrashAtEveryStep|TestRandomHistoriesKeepTheRules
SHOW_EXAMPLES := grep -E '^(example:|FAIL|panic)|--- FAIL|_test\.go|Error|README'
SHOW_COUNTS := grep -E '^(--- |FAIL|ok|panic)|crash points|random steps|_test\.go|Error'

# Where make mutate plants mistakes.
MUTATED := sessions/machine sessions configs providers/oauth2

.DEFAULT_GOAL := help
.PHONY: help build demo test test-keycloak test-openbao test-clients test-servers test-long release-check fuzz mutate bench chaos lint fmt examples compose release-snapshot clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the plugin into bin/, print its size and SHA256
	@scripts/build >/dev/null

demo: ## show the main job on a real Vault; IAM=keycloak, SERVER=openbao, KEEP=1 (leave it running)
	@scripts/with-server scripts/demo

test: ## unit tests and end-to-end tests on a real Vault and the IAM emulator
	@scripts/with-server $(GO_TEST) -skip '^($(SEARCHES)|TestExamples)$$' ./...
	@$(GO_TEST) -v -run '^($(SEARCHES))$$' ./sessions | $(SHOW_COUNTS)

test-keycloak: ## contract and end-to-end tests on real Keycloaks, and their table; KEYCLOAKS="16.1.1 24.0.5" (Java 17 or later)
	@REPORT=$$(mktemp); export REPORT; trap 'rm -f "$$REPORT"' EXIT; failed=0; \
	for release in $(KEYCLOAKS); do \
	  case " $(JOURNEY_KEYCLOAKS) " in *" $$release "*) journeys='|TestJourneys' ;; *) journeys= ;; esac; \
	  KEYCLOAK=$$release $(GO_TEST) ./test/contract && \
	  KEYCLOAK=$$release scripts/with-server $(GO_TEST) -run "^(TestIdentityServer$$journeys)$$" ./test/e2e || failed=1; \
	done; \
	go run ./test/report <"$$REPORT" && exit $$failed

test-openbao: ## the end-to-end tests on a real OpenBao
	@SERVER=openbao scripts/with-server $(GO_TEST) ./test/e2e ./test/servers

test-clients: ## real clients of Vault over three lives of a token, side by side, and their table; CLIENTS=agent: only those
	@scripts/with-server go run ./test/clients -only "$(CLIENTS)"

test-servers: ## real OAuth 2.0 servers of other makes, and their table; OAUTH_SERVERS="authlib oidc-provider" (two minutes)
	@REPORT=$$(mktemp); export REPORT; trap 'rm -f "$$REPORT"' EXIT; failed=0; \
	OAUTH_SERVERS="$(OAUTH_SERVERS)" scripts/with-server $(GO_TEST) -parallel 100 ./test/oauthservers || failed=1; \
	go run ./test/report <"$$REPORT" && exit $$failed

test-long: ## the session engine's crash points, and a million random steps
	@$(GO_TEST) -v -run '^($(SEARCHES))$$' ./sessions -rapid.checks=1000 | $(SHOW_COUNTS)

chaos: ## kill, cut off and starve real servers under load; SOAK=30m, SEED=…, FAULT=… (root, Linux; a quarter of an hour)
	@scripts/with-server go run ./test/chaos -seed $(SEED) -soak $(SOAK) -only "$(FAULT)" -doc docs/survival.md

mutate: ## plant mistakes in the heart of the code and list those that no test finds; SAMPLE=400, SEED=…, MUTATE="-v …"
	@go run ./tools/mutate -sample $(SAMPLE) -seed $(if $(filter 0,$(SEED)),1,$(SEED)) $(MUTATE) $(MUTATED)

release-check: ## what takes too long for each change: every Keycloak, and what it takes minutes to show
	@LONG=1 $(MAKE) test-keycloak KEYCLOAKS="$(ALL_KEYCLOAKS)"

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

bench: ## measure against a null plugin and the targets; BENCH=short: a smoke test
	@scripts/with-server go run ./test/bench

lint: ## check style, common mistakes and the direction of imports
	@lint=$$(scripts/golangci-lint) && $$lint run ./...

fmt: ## format the code
	@lint=$$(scripts/golangci-lint) && $$lint fmt ./...

examples: ## type every command of examples/, on a real Vault, and print one line for each
	@scripts/with-server go test -timeout 30m -v -run '^TestExamples$$' ./test/docs | $(SHOW_EXAMPLES)

compose: ## bring docker-compose.vault.yml up on a Docker engine of its own, and use it (root)
	@test/compose/run

release-snapshot: ## make a release into dist/ without publishing it, twice, and compare
	@scripts/release-snapshot

clean: ## remove what was built here; the cache outside of the checkout stays
	@rm -rf bin dist
