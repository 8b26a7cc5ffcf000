# The same commands on a laptop and in CI. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A change of Cargo.toml without its Cargo.lock fails; `make test LOCKED=` writes the lock file instead.
LOCKED ?= --locked

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: ## Run the service: SQLite file and in-process cache, 127.0.0.1:50051
	cargo run --release $(LOCKED) -- serve

.PHONY: test
test: deps lint ## Everything that CI checks; the tests come last
	RUSTDOCFLAGS="-D warnings" cargo doc $(LOCKED) --workspace --no-deps --document-private-items
	scripts/deny
	scripts/test $(LOCKED)

.PHONY: lint
lint: ## Format check, and clippy with warnings denied
	cargo fmt --all --check
	cargo clippy $(LOCKED) --workspace --all-targets -- -D warnings

.PHONY: fmt
fmt: ## Format the sources
	cargo fmt --all

.PHONY: model
model: ## Check the coherence protocol's model at full bounds (minutes)
	cargo run --release $(LOCKED) -p tokenward-model

.PHONY: faults
faults: ## Check the running service under every fault (a quarter of an hour; FAULTS=NAME for some)
	cargo test $(LOCKED) --test it -- --ignored --nocapture --exact coherence::matrix::the_protocol_holds_under_every_fault

.PHONY: bench
bench: ## Measure everything in docs/performance.md (a quarter of an hour; BENCH=--quick for three minutes)
	benches/run $(BENCH)

.PHONY: proto
proto: ## Check the contract's style and compatibility with main (needs buf)
	buf lint
	buf breaking --against '.git#branch=main,subdir=proto'

.PHONY: deps
deps: ## Look for what the tests need; as root on Debian, install what is missing
	scripts/deps
