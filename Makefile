# What can be done here. CI and README call these targets and nothing else.

SERVER    ?=
IAM       ?= emulator
KEEP      ?=
SEED      ?= 0
SOAK      ?= 2m
KILLS     ?= 100
FAULT     ?=
FUZZTIME  ?= 10s
SAMPLE    ?= 0
MUTATE    ?=
KEYCLOAKS ?= 9.0.3 18.0.2 26.7.0
LONG      ?=
CLIENTS   ?=
OAUTH_SERVERS ?= authlib django-oauth-toolkit fosite oidc-provider
export SERVER IAM KEEP LONG

# The releases of internal/iam/release.go, and those that the journeys run on too.
ALL_KEYCLOAKS     := 9.0.3 9.0.3-api 16.1.1 18.0.2 22.0.5 24.0.5 26.0.8 26.4.7 26.7.0
JOURNEY_KEYCLOAKS := 9.0.3 26.7.0

# A pipe fails with its first command.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

GO_TEST := scripts/go-test

# The search of the session engine for broken rules; it prints how much it tried.
SEARCHES := TestACrashAtEveryStep|TestRandomHistoriesKeepTheRules
INTERLEAVINGS := TestEveryInterleavingKeepsTheRules
SHOW_COUNTS := SHOW='^(--- |FAIL|ok|panic)|crash points|random steps|states: |_test\.go|Error'

# What types the commands of the documents, and needs what they need.
DOCUMENTS := TestEveryCommandIsExecuted|TestExamples
SHOW_DOCUMENTS := SHOW='^(example:|document:|FAIL|panic)|--- FAIL|_test\.go|Error|README'
# What needs Prometheus.
PROMETHEUS := TestPrometheus.*

# Where make mutate plants mistakes.
MUTATED := sessions/machine sessions configs providers/oauth2

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.* \#\# .*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the plugin into bin/, print its size and SHA256
	@scripts/build >/dev/null

demo: ## show the main job on a real Vault; IAM=keycloak, SERVER=vault, KEEP=1 (leave it running)
	@scripts/with-server scripts/demo

# What is said in documents is said of Vault.
bench chaos examples test-clients test-docs test-servers test-vault: override SERVER := $(or $(SERVER),vault)
test-openbao: override SERVER := openbao

test: ## unit tests and end-to-end tests, on a real server and the IAM emulator
	@scripts/with-server $(GO_TEST) -skip '^($(SEARCHES)|$(DOCUMENTS)|$(PROMETHEUS))$$' ./...
	@$(SHOW_COUNTS) $(GO_TEST) -v -run '^($(SEARCHES))$$' ./sessions
	@$(SHOW_COUNTS) $(GO_TEST) -v -run '^$(INTERLEAVINGS)$$' ./sessions/machine -size 2

test-vault: ## the end-to-end tests on a real Vault
	@scripts/with-server $(GO_TEST) ./test/e2e ./test/servers

test-keycloak: ## contract and end-to-end tests on real Keycloaks, and their table; KEYCLOAKS="16.1.1 24.0.5" (Java 17 or later)
	@REPORT=$$(mktemp); export REPORT; trap 'rm -f "$$REPORT"' EXIT; failed=0; \
	for release in $(KEYCLOAKS); do \
	  case " $(JOURNEY_KEYCLOAKS) " in *" $$release "*) journeys='|TestJourneys' ;; *) journeys= ;; esac; \
	  KEYCLOAK=$$release $(GO_TEST) ./test/contract || failed=1; \
	  for tests in "TestIdentityServer|TestAKeycloakVerifiesTheAssertionsOfAClient$$journeys" $(if $(LONG),TestClocksThatDiffer); do \
	    KEYCLOAK=$$release scripts/with-server $(GO_TEST) -run "^($$tests)$$" ./test/e2e || failed=1; \
	  done; \
	done; \
	go run ./test/report <"$$REPORT" && exit $$failed

soak: ## readers, people, rotation and kills on real Keycloaks; KEYCLOAKS=26.7.0 SOAK=30m
	@REPORT=$$(mktemp); export REPORT; trap 'rm -f "$$REPORT"' EXIT; failed=0; \
	for release in $(KEYCLOAKS); do \
	  KEYCLOAK=$$release SOAK=$(SOAK) scripts/with-server $(GO_TEST) -timeout 0 -run '^TestIdentityServer$$/./^people' ./test/e2e || failed=1; \
	done; \
	go run ./test/report <"$$REPORT" && exit $$failed

test-openbao: ## the end-to-end tests on a real OpenBao
	@scripts/with-server $(GO_TEST) ./test/e2e ./test/servers

compatibility: ## the journeys on several versions of Vault and OpenBao, into docs/compatibility.md (an hour; VERSIONS="vault-1.19.5 openbao-2.7.2")
	@scripts/compatibility $(VERSIONS)

test-docs: ## type every command of README.md and docs/, on a real Vault (curl, unzip)
	@$(SHOW_DOCUMENTS) scripts/with-server $(GO_TEST) -v -run '^TestEveryCommandIsExecuted$$' ./test/docs

dashboard: ## make examples/prometheus/dashboard.json, and draw it over a load of 100 s into docs/dashboard.svg (prometheus)
	@cd tools/dashboard && GOWORK=off go run . >../../examples/prometheus/dashboard.json
	@scripts/with-server go test -run '^TestPrometheusAnswers' ./test/alerts -draw 100s

test-prometheus: ## alert rules and dashboard, on a real Prometheus (Debian: prometheus)
	@scripts/with-server $(GO_TEST) -run '^$(PROMETHEUS)$$' ./test/alerts

test-clients: ## real clients of Vault over three lives of a token, side by side, and their table; CLIENTS=agent: only those
	@scripts/with-server go run ./test/clients -only "$(CLIENTS)" -doc docs/clients.md

test-servers: ## real OAuth 2.0 servers of other makes, and their table; OAUTH_SERVERS="authlib oidc-provider" (two minutes)
	@REPORT=$$(mktemp); export REPORT; trap 'rm -f "$$REPORT"' EXIT; failed=0; \
	OAUTH_SERVERS="$(OAUTH_SERVERS)" scripts/with-server $(GO_TEST) -parallel 100 ./test/oauthservers || failed=1; \
	go run ./test/report <"$$REPORT" && exit $$failed

test-kubernetes: ## the manifests of examples/kubernetes on a real kube-apiserver (etcd, kubectl; 6 minutes more to build it once)
	@test/kubernetes/run

test-long: ## the session engine's crash points, and a million random steps
	@$(SHOW_COUNTS) $(GO_TEST) -v -run '^($(SEARCHES))$$' ./sessions -rapid.checks=1540

chaos: ## kill, cut off and starve real servers under load; SOAK=30m, KILLS=1000, SEED=…, FAULT=… (root, Linux; a quarter of an hour)
	@scripts/with-server go run ./test/chaos -seed $(SEED) -soak $(SOAK) -kills $(KILLS) -only "$(FAULT)" -doc docs/survival.md

mutate: ## plant mistakes in the heart of the code and list those that no test finds; SAMPLE=400, SEED=…, MUTATE="-v …"
	@go run ./tools/mutate -sample $(SAMPLE) -seed $(if $(filter 0,$(SEED)),1,$(SEED)) $(MUTATE) $(MUTATED)

release-check: ## what takes too long for each change: every Keycloak, every other OAuth 2.0 server, and what it takes minutes to show
	@$(MAKE) test-keycloak LONG=1 KEYCLOAKS="$(ALL_KEYCLOAKS)"
	@$(MAKE) test-clients test-kubernetes test-servers

fuzz: ## run each fuzz target for FUZZTIME (10s)
	@scripts/fuzz $(FUZZTIME)

bench: ## measure against a null plugin and the targets; BENCH=short: a smoke test
	@scripts/with-server go run ./test/bench

lint: ## check style, common mistakes and the direction of imports
	@lint=$$(scripts/golangci-lint) && $$lint run ./...

fmt: ## format the code
	@lint=$$(scripts/golangci-lint) && $$lint fmt ./...

examples: ## type every command of examples/, on a real Vault, and print one line for each
	@$(SHOW_DOCUMENTS) scripts/with-server $(GO_TEST) -v -run '^TestExamples$$' ./test/docs

compose: ## bring docker-compose.vault.yml up on a Docker engine of its own, and use it (root)
	@test/compose/run

release-snapshot: ## make a release into dist/ without publishing it, twice, and compare
	@scripts/release-snapshot

clean: ## remove what was built here; the cache outside of the checkout stays
	@rm -rf bin dist
