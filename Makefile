# The same commands on a laptop and in CI. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# A change of Cargo.toml without its Cargo.lock fails; `make test LOCKED=` writes the lock file instead.
LOCKED ?= --locked
CASES ?= 20000

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

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
	cargo clippy $(LOCKED) --features internals --bench parts -- -D warnings

.PHONY: fmt
fmt: ## Format the sources
	cargo fmt --all

.PHONY: model
model: ## Check the coherence protocol's model at full bounds (minutes)
	cargo run --release $(LOCKED) -p tokenward-model

.PHONY: faults
faults: ## Check the running service under every fault (a quarter of an hour; FAULTS=NAME for some)
	cargo test $(LOCKED) --test it -- --ignored --nocapture --exact coherence::matrix::the_protocol_holds_under_every_fault

.PHONY: image-steps
image-steps: ## Do the steps of the image's recipe without a container engine (a quarter of an hour)
	cargo test $(LOCKED) --test it -- --ignored --nocapture --exact deploy::the_images_program_is_built_by_the_steps_of_its_recipe

.PHONY: pictures
pictures: ## Take the README's pictures of the status page, after two minutes of load
	cargo test $(LOCKED) --test it -- --ignored --nocapture --exact page::the_pictures_of_the_readme_are_taken

.PHONY: fuzz
fuzz: ## Run the property tests for long (CASES=20000 of each: a quarter of an hour)
	PROPTEST_CASES=$(CASES) cargo test $(LOCKED) --lib -- fuzz::
	PROPTEST_CASES=$(CASES) cargo test $(LOCKED) --test it -- --nocapture attacks::requests::

.PHONY: soak
soak: ## Kill Redis and PostgreSQL at random under load (SOAK=30m, SEED=NUMBER)
	cargo test $(LOCKED) --test it -- --ignored --nocapture --exact coherence::soak::a_long_soak

.PHONY: flood
flood: ## Measure valid tokens in a flood of unknown ones (FLOOD=10000 a second, BATCH=1 a call, SECONDS_OF_FLOOD=20)
	cargo test --release $(LOCKED) --test it -- --ignored --nocapture --exact \
		attacks::flood::measure::valid_tokens_in_a_flood_of_unknown_ones

.PHONY: secrets
secrets: ## Run the integration suite, but for floods, at log level trace: what is printed is searched for secrets
	TOKENWARD_TEST_LOG=trace cargo test $(LOCKED) --test it --no-fail-fast -- --skip flood

.PHONY: upgrade
upgrade: ## Run the version before the newest change of the schema and this one side by side (minutes)
	scripts/old-version target/upgrade
	TOKENWARD_OLD_BINARY=$(CURDIR)/target/upgrade/tokenward cargo test $(LOCKED) --test it -- --ignored --nocapture --exact \
		topology::upgrade::an_old_and_a_new_version_serve_side_by_side_through_a_change_of_the_schema

.PHONY: bench
bench: ## Measure everything in docs/performance.md (about 20 minutes; BENCH=--quick for about 6)
	benches/run $(BENCH)

.PHONY: proto
proto: ## Check the contract's style and compatibility with main (needs buf)
	scripts/proto

.PHONY: deps
deps: ## Look for what the tests need; as root on Debian, install what is missing
	scripts/deps
