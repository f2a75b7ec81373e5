# make demo    a wiki and its database in containers of this host, from nothing
# make test    every test; as root also those with real containers
# make check   what CI runs
# make bench   how long things take
# make simulate SEEDS=2000 FROM=1    random worlds; SEED=4711 tells one as it happens
# make fmt     formats the sources

.PHONY: demo test check bench simulate fmt build host-packages
.DEFAULT_GOAL := build

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
ENCANTO := $(TARGET)/release/encanto
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# As root, tests make real containers and virtual machines; otherwise they are skipped.
LXC := $(shell [ "$$(id -u)" = 0 ] && echo 1)

# Debian packages: what the program needs on its host, what building it needs, and what tests need besides.
HOST_PACKAGES := lxc mmdebstrap dnsmasq-base nftables uidmap iproute2
BUILD_PACKAGES := g++
TEST_PACKAGES := curl openssh-server openssh-client
LIBVIRT_PACKAGES := libvirt-daemon-system libvirt-daemon-driver-lxc libvirt-daemon-driver-qemu libvirt-clients \
	libvirt-dev pkg-config qemu-system-x86
# Machines by libvirt are built in where its headers are. The shell looks, when packages may have been installed.
FEATURES := $$(pkg-config --exists libvirt libvirt-qemu 2>/dev/null && echo --features libvirt)
WITH_LIBVIRTD := sh tests/support/with_libvirtd.sh
# What machines are made with by hand.
BENCH_PACKAGES := virtinst qemu-utils

build:
	$(CARGO) build --release --locked $(FEATURES)

# $(call installed,PACKAGES): installs those that are missing, and says so.
define installed
@missing=""; for package in $(1); do \
	[ "$$(dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null)" = installed ] || missing="$$missing $$package"; \
done; \
if [ -n "$$missing" ]; then \
	echo "installing$$missing"; \
	$(SUDO) apt-get update -q && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
fi
endef

host-packages:
	$(call installed,$(HOST_PACKAGES) $(BUILD_PACKAGES) $(TEST_PACKAGES))

test:
	$(call installed,$(BUILD_PACKAGES) $(TEST_PACKAGES) $(if $(LXC),$(HOST_PACKAGES) $(LIBVIRT_PACKAGES)))
	$(if $(LXC),ENCANTO_TEST_LXC=1 ENCANTO_TEST_LIBVIRT=1 $(WITH_LIBVIRTD)) \
		$(CARGO) test --locked --no-fail-fast $(FEATURES)

check:
	$(call installed,$(BUILD_PACKAGES) $(if $(LXC),$(LIBVIRT_PACKAGES)))
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets $(FEATURES) -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items $(FEATURES)
	$(MAKE) test

bench:
	$(call installed,$(HOST_PACKAGES) $(BUILD_PACKAGES) $(TEST_PACKAGES) $(LIBVIRT_PACKAGES) $(BENCH_PACKAGES))
	$(if $(LXC),$(WITH_LIBVIRTD)) $(CARGO) bench --locked --bench figures $(FEATURES) -- $(PARTS)

# `make test` runs 2,000 seeds unoptimised. Optimised, many are quick.
simulate:
	$(call installed,$(BUILD_PACKAGES))
	ENCANTO_SEED=$(SEED) ENCANTO_SEEDS=$(SEEDS) ENCANTO_FROM=$(FROM) \
		$(CARGO) test --release --locked --test simulation random_worlds -- --nocapture

fmt:
	$(CARGO) fmt

# A second run finds what the first made, and only shows it.
demo: host-packages build
	@set -e; \
	export ENCANTO_ENV=local; \
	root="$(SUDO) env $${ENCANTO_HOME:+ENCANTO_HOME=$$ENCANTO_HOME}"; \
	$(ENCANTO) switch >/dev/null 2>&1 || $(ENCANTO) init; \
	if ! $(ENCANTO) controller status >/dev/null 2>&1; then \
		$$root $(ENCANTO) doctor -e local --fix; \
		$$root $(ENCANTO) controller start -e local 2>/dev/null || $$root $(ENCANTO) bootstrap -e local --wait; \
	fi; \
	deployed() { $(ENCANTO) get $$1 >/dev/null 2>&1; }; \
	deployed mysql || $(ENCANTO) deploy mysql; \
	if ! deployed mediawiki; then \
		$(ENCANTO) deploy mediawiki; \
		$(ENCANTO) add-relation mediawiki mysql:db; \
		$(ENCANTO) expose mediawiki; \
	fi; \
	$(ENCANTO) wait --timeout 15m; \
	address=$$($(ENCANTO) status mediawiki --format yaml | sed -n 's/^ *public-address: //p' | head -n 1); \
	echo; echo "The wiki is at http://$$address/"; echo; \
	$(ENCANTO) status --format tabular
