.PHONY: drain deb package-test tarball test setup flaky soak schemathesis deny
RUNS ?= 100
MINUTES ?= 20

# Formatting, lints, then every test: Rust, sockets, client libraries, browsers.
test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	cargo test --workspace --all-features
	npm --prefix tests/browser test

# What the tests need beside Rust: Debian's packages, Python's, npm's.
setup:
	tests/setup

# Whether the tests of actors and sockets pass so many times in a row, eight at once. The exhaustive models are left
# out: they would go the same ways a hundred times.
flaky: setup
	for run in $$(seq $(RUNS)); do \
	  cargo test -q --workspace --all-features -- --skip ::model:: --test-threads 8 || { echo "failed in run $$run"; exit 1; }; \
	done
	@echo "passed $(RUNS) times in a row"

# Requests that are made up from openapi.yaml, and what the hub answers.
schemathesis:
	tests/schemathesis.sh

# Licences, bans and sources of everything that is linked in; `cargo install cargo-deny --locked` brings the tool.
deny:
	cargo deny check licenses bans sources

# A thousand clients, writers in other processes and a fault a minute; what was lost or came twice is counted.
soak:
	cargo build --release
	python3 tests/soak/soak.py target/release/alarm-hub --minutes $(MINUTES)

-include bench/bench.mk

MUSL = $(shell uname -m)-unknown-linux-musl

# A Debian package below target/debian; `cargo install cargo-deb --locked` brings the tool.
deb:
	cargo build --release
	target/release/alarm-hub generate target/generated
	cargo deb --no-build

# The package in a clean Debian: installed, upgraded under a client, purged. Needs root and debootstrap.
package-test: deb
	packaging/test "$$(ls -t target/debian/alarm-hub_*.deb | head -n 1)"

# One static binary with its papers; `rustup target add` and musl-tools bring what it needs.
tarball:
	cargo build --release --target $(MUSL)
	target/$(MUSL)/release/alarm-hub generate target/generated
	tar czf target/alarm-hub-$(MUSL).tar.gz LICENSE LICENSE-MIT LICENSE-APACHE README.md schema.sql docs packaging \
	  -C $(CURDIR)/target generated -C $(CURDIR)/target/$(MUSL)/release alarm-hub

# How a hub ends under 2,000 clients: whether each is told, and how far their returns are spread.
drain:
	cargo build --release
	bench/drain.py target/release/alarm-hub 2000
