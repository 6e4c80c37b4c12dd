.PHONY: drain deb package-test tarball tarball-test test setup flaky soak schemathesis links deny
RUNS ?= 100
MINUTES ?= 20

# Formatting, lints, then every test: Rust, sockets, client libraries, browsers. With a million rows at once where
# `cargo test` by itself is content with a hundred thousand.
test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features -- -D warnings
	ROWS=1000000 cargo test --workspace --all-features
	npm --prefix tests/browser test

# What the tests need beside Rust: Debian's packages, Python's, npm's.
setup:
	tests/setup

# Whether the tests of actors by probes, and those of streams over sockets, pass so many times in a row, eight at once.
# The exhaustive models are left out: they would go the same ways a hundred times.
PROBES = hub:: user_session:: poller:: tree:: watch::
SOCKETS = stream:: audience:: api:: api_alarms:: auth:: clients:: server:: cli::
flaky: setup
	for run in $$(seq $(RUNS)); do \
	  cargo test -q --workspace --all-features --lib -- --skip ::model:: && \
	  cargo test -q --workspace --all-features --test it -- $(PROBES) $(SOCKETS) --test-threads 8 || { echo "failed in run $$run"; exit 1; }; \
	done
	@echo "passed $(RUNS) times in a row"

# Requests that are made up from openapi.yaml, and what the hub answers.
schemathesis:
	tests/schemathesis.sh

# Where the links of the README and of docs/ lead, on the internet.
links:
	tests/links

# Licences, bans and sources of everything that is linked in; `cargo install cargo-deny --locked` brings the tool.
deny:
	cargo deny check licenses bans sources

# A thousand clients, writers in other processes and a fault a minute; what was lost or came twice is counted.
soak:
	cargo build --release
	python3 tests/soak/soak.py target/release/alarm-hub --minutes $(MINUTES)

-include bench/bench.mk

# A Debian package below target/debian; `cargo install cargo-deb --locked` brings the tool.
deb:
	cargo build --release
	target/release/alarm-hub generate target/generated
	cargo deb --no-build

# The package in a clean Debian: installed, upgraded under a client, purged. Needs root and debootstrap.
package-test: deb
	packaging/test "$$(ls -t target/debian/alarm-hub_*.deb | head -n 1)"

TARGET ?= $(shell uname -m)-unknown-linux-musl
NAME = alarm-hub-$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)-$(TARGET)

# One static binary with its papers, below target; it needs nothing of the system that it runs on.
tarball:
	@command -v musl-gcc >/dev/null || { echo "make tarball needs musl-gcc: apt-get install musl-tools" >&2; exit 1; }
	@[ -e "$$(rustc --print target-libdir --target $(TARGET))" ] || \
	  { echo "make tarball needs Rust's library for $(TARGET): rustup target add $(TARGET)" >&2; exit 1; }
	cargo build --release --target $(TARGET)
	rm -rf target/$(NAME) && mkdir -p target/$(NAME)/packaging target/$(NAME)/state
	cp -r target/$(TARGET)/release/alarm-hub LICENSE LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md schema.sql docs target/$(NAME)
	cp $(addprefix packaging/,$(SHIPPED)) target/$(NAME)/packaging
	target/$(NAME)/alarm-hub generate target/$(NAME)/completions
	mv target/$(NAME)/completions/man target/$(NAME)
	tar czf target/$(NAME).tar.gz --owner=0 --group=0 -C target $(NAME)
SHIPPED = Caddyfile Containerfile alarm-hub.logrotate alarm-hub.service alarm-hub.sysusers alarm-hub.toml alerts.yml grafana.json haproxy.cfg nginx.conf

# That binary alone in an empty directory, and in the image that its Containerfile makes. Needs buildah.
tarball-test: tarball
	packaging/test-tarball target/$(NAME).tar.gz

# How a hub ends under 2,000 clients: whether each is told, and how far their returns are spread.
drain:
	cargo build --release
	bench/drain.py target/release/alarm-hub 2000
