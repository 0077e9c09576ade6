# Every recipe with a `##` comment is listed by `make`; CI calls the same recipes.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
FANFARE_BIN := $(TARGET)/ci/fanfare
TOOLS := $(CURDIR)/.tools/bin

.DEFAULT_GOAL := help
.PHONY: help setup run build test test-full fuzz check bench api-reference code-map proto-export for-tests for-checks for-autobahn binary
.NOTPARALLEL:

help: ## List the recipes
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: for-tests for-checks ## Install what the tests and checks need (they do it themselves, too)

run: ## Serve on this machine for trying things out: http://127.0.0.1:8000/
	$(CARGO) run --release --bin fanfare -- serve --dev

build: ## Build the release binary, target/release/fanfare
	$(CARGO) build --release --bin fanfare

test: for-tests binary ## Run the tests, real clients and a real browser included
	FANFARE_BIN='$(FANFARE_BIN)' $(CARGO) test --profile ci --workspace --no-fail-fast

test-full: export FANFARE_AUTOBAHN := $(CURDIR)/.tools/autobahn
test-full: for-tests for-autobahn test fuzz ## Run the tests, the Autobahn suite for WebSockets and the fuzz targets

fuzz: ## Write what strangers might, for FANFARE_FUZZ_SECONDS (20) on each target of fuzz/
	scripts/fuzz

check: for-checks binary ## Check format, lints, documentation, the rules of the house, protos and licences
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --profile ci --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --profile ci --workspace --no-deps
	FANFARE_BIN='$(FANFARE_BIN)' $(CARGO) test --profile ci --package fanfare-tests --test tidy
	$(CARGO) metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 > /dev/null
	'$(TOOLS)/buf' lint
	'$(TOOLS)/cargo-deny' check bans licenses sources

# Where Redis cannot be had, the table says that it was not measured.
bench: build ## Measure this machine: deliveries per CPU-second, memory, latency
	scripts/setup-stores || true
	'$(TARGET)/release/fanfare' bench

api-reference: ## Write docs/api-reference.md anew from the comments of the protos
	FANFARE_WRITE_API_REFERENCE=1 $(CARGO) test --profile ci --package fanfare-tests --test tidy api_reference

code-map: ## Write docs/code-map.md anew from the first lines of the files
	FANFARE_WRITE_CODE_MAP=1 $(CARGO) test --profile ci --package fanfare-tests --test tidy code_map

proto-export: ## Write the .proto files that a backend needs to dist/proto (DIR=...), and an archive of them
	scripts/proto-export '$(or $(DIR),dist/proto)'

for-tests:
	scripts/setup-tests

for-checks:
	scripts/setup-checks

# Where the suite cannot be had, this says so and its test does, too.
for-autobahn:
	scripts/setup-autobahn

# The binary that the tests start: optimised, with every assertion on.
binary:
	$(CARGO) build --profile ci --workspace --bins
