# `make bench` measures the hub side by side with Nchan and with the floor; `make bench QUICK=1` takes under two minutes.
# The server has core 0, the generator core 1: nothing else should run meanwhile. A whole run writes the tables into
# docs/benchmarks.md and README.md and draws docs/benchmarks.svg, all from the same figures.
NCHAN := /usr/lib/nginx/modules/ngx_nchan_module.so
TIMES ?=

.PHONY: bench
bench: $(NCHAN)
	cargo build --release -p alarm-hub -p alarm-hub-bench
	taskset -c 1 target/release/alarm-hub-bench run $(if $(QUICK),--quick,--into docs/benchmarks.md --into README.md) \
	  $(TIMES:%=--runs %) $(ONLY:%=--only %)

# Two hubs on a Redis of their own: takeovers, alarms and connects over it, each figure beside its goal.
.PHONY: bench-cluster
bench-cluster:
	cargo build --release -p alarm-hub -p alarm-hub-bench
	taskset -c 1 target/release/alarm-hub-bench cluster $(if $(QUICK),--quick) $(ONLY:%=--only %)

$(NCHAN):
	apt-get install -y nginx libnginx-mod-nchan valgrind
