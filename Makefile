# The main job is `make verilog`, the tests are `make test`; both set up everything they need.
#
#   make verilog [MODEL=digits] [RATIO=8] [LANES=8] [DEVICE=ecp5-85k] [SEED=0]
#   make synth   [the same] [SEEDS=5]
#   make board   [the same, with BOARD=ulx3s-85f for its DEVICE]   a bitstream
#   make sweep   [MODEL=digits] [RATIO=8] [SWEEP_LANES=1,4,8,16] [SWEEP_BITS=4,8] [SWEEP_DEVICES=...], or [SWEEP=FILE.toml]
#   make test    [TESTS=tests/hw] [JOBS=2]
#   make thorough [the same]   long tests, which make test leaves out: it has a shorter one for each
#   make fuzz    [FUZZ_VERILATOR=300] [FUZZ_ICARUS=60] [FUZZ_MODELS=100]
#   make results           measure again what docs/results says of digits
#   make experiments       compare methods of pruning again (data: docs/tasks.md)
#   make engine            the engine against its limits: clock, area, memory, utilisation (data: docs/tasks.md)
#   make networks          real networks through the generated Verilog again (data: docs/tasks.md)
#   make mlperf            MLPerf Tiny's networks, dense and pruned, against their limits (data: docs/tasks.md)
#   make imports           MLPerf Tiny's networks from torch, ONNX and TFLite files, compared (data: docs/tasks.md)
#   make models            models that people bring, checked, pruned and simulated
#   make systems           units, partitions, merged tasks, block terms against DARB and dense networks (data: docs/tasks.md)
#   make formats           what sparsity formats cost on one skeleton of an engine (data: docs/tasks.md)
#   make estimates         designs that darb estimate is fitted on, synthesised, and the fit [ESTIMATES=150]
#   make peers             other generators on the same networks: alkaid, nngen [PEERS_TOOLS=darb] [PEERS_SEEDS=5]
#   make lint              ruff, import-linter, basedpyright; make format mends what ruff can mend
#   make docs              the docs as a site in build/site, with the Python reference; fails on a broken link
#
# MODEL is a built-in task (digits) or the path of a .darb file.

PYTHON ?= python3
MODEL  ?= digits
RATIO  ?= 8
LANES  ?= 8
DEVICE ?= ecp5-85k
SEED   ?= 0
SEEDS  ?= 5
TESTS  ?= tests
JOBS   ?= 2
FUZZ_VERILATOR ?= 300
FUZZ_ICARUS    ?= 60
FUZZ_MODELS    ?= 100
SWEEP_LANES   ?= 1,4,8,16
SWEEP_BITS    ?= 4,8
SWEEP_DEVICES ?= ice40-up5k,ice40-hx8k,ecp5-25k,ecp5-85k
SWEEP_SEEDS   ?= 3
ESTIMATES     ?= 150
PEERS_TOOLS   ?= darb,alkaid,nngen
PEERS_SEEDS   ?= 5
PEERS_LENET   ?= $(wildcard build/engine/lenet-300-100.darb)

VENV := .venv
DARB := $(VENV)/bin/darb
SETUP := $(VENV)/installed

ifneq ($(filter %.darb,$(MODEL)),)
  NETWORK := $(MODEL)
  NAME := $(basename $(notdir $(MODEL)))
  SWEEP_OF := $(MODEL)
else
  TRAINED := runs/$(MODEL)-s$(SEED)
  PRUNED := runs/$(MODEL)-s$(SEED)-$(RATIO)x
  NAME := $(MODEL)-s$(SEED)-$(RATIO)x
  NETWORK := build/$(NAME).darb
  SWEEP_OF := $(PRUNED)
endif
BUILD := build/$(NAME)-$(DEVICE)-$(LANES)
BOARD ?= ulx3s-85f

.PHONY: results experiments engine formats peers estimates networks mlperf imports models systems verilog sim synth board sweep test thorough fuzz lint format docs lock \
  setup iverilog chromium clean help
.DELETE_ON_ERROR:

help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

verilog: $(BUILD)/manifest.json
	@echo "$(BUILD): engine.v, rom/, vectors/ and manifest.json are up to date"

synth: $(BUILD)/manifest.json
	$(DARB) synth $(BUILD) --seeds $(SEEDS)

board: $(NETWORK) | $(SETUP)
	$(DARB) board $(NETWORK) --board $(BOARD) --lanes $(LANES) -o build/$(NAME)-$(BOARD)-$(LANES)

sim: iverilog $(BUILD)/manifest.json
	$(DARB) sim $(BUILD)

ifdef SWEEP
sweep: | $(SETUP)
	$(DARB) sweep $(SWEEP)
else
sweep: $(if $(PRUNED),$(PRUNED)/run.json,$(NETWORK)) | $(SETUP)
	$(DARB) sweep $(SWEEP_OF) --lanes $(SWEEP_LANES) $(if $(PRUNED),--weight-bits $(SWEEP_BITS)) \
	  --device $(SWEEP_DEVICES) --seeds $(SWEEP_SEEDS) -o build/sweep-$(NAME)
endif

test: iverilog chromium $(SETUP)
	$(VENV)/bin/pytest $(TESTS) -n $(JOBS) --dist loadgroup

thorough: iverilog $(SETUP)
	$(VENV)/bin/pytest $(TESTS) -m long -n $(JOBS) --dist loadgroup

# Random networks of every kind on random engines, on both simulators: about a quarter of an hour on two cores.
fuzz: iverilog $(SETUP)
	$(VENV)/bin/pytest tests/sim/test_fuzz.py -n $(JOBS) --verilator-networks $(FUZZ_VERILATOR) --icarus-networks $(FUZZ_ICARUS) \
	  --models $(FUZZ_MODELS)

lint: $(SETUP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/basedpyright

format: $(SETUP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# The variable silences an announcement of the theme.
docs: $(SETUP)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html: the docs are up to date"

setup: $(SETUP)

$(SETUP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@test -x $(VENV)/bin/pip || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "no venv for $(PYTHON): apt-get install python3-venv" >&2; exit 2; }; }
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# ccache spares half of the time of Verilator's C++ compiler; nothing needs it.
iverilog:
	@if [ "$$(id -u)" = 0 ]; then \
	  command -v iverilog >/dev/null && command -v ccache >/dev/null || { \
	  apt-get update -qq && apt-get install -y -qq iverilog ccache; }; \
	else command -v iverilog >/dev/null || { \
	  echo "Icarus Verilog is needed: sudo apt-get install iverilog" >&2; exit 2; }; fi

# For tests of the page of a sweep, which are skipped without it.
chromium:
	@if [ "$$(id -u)" = 0 ]; then \
	  command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
	  apt-get update -qq && apt-get install -y -qq chromium chromium-driver; } || \
	  echo "no Chromium: tests of the page of a sweep are skipped" >&2; fi

ifdef TRAINED
# A run folder is named after its options, so other options make another; `make clean` forgets them all. Targets
# are touched: a file that came out the same keeps its time stamp, and would be made again and again.
$(TRAINED)/run.json: | $(SETUP)
	$(DARB) train --task $(MODEL) --seed $(SEED) -o $(TRAINED)
	@touch $@

$(PRUNED)/run.json: $(TRAINED)/run.json | $(SETUP)
	$(DARB) prune $(TRAINED) --ratio $(RATIO) -o $(PRUNED)
	@touch $@

$(NETWORK): $(PRUNED)/run.json | $(SETUP)
	$(DARB) compile $(PRUNED) -o $@
	@touch $@
endif

$(BUILD)/manifest.json: $(NETWORK) $(shell find darb_hw -name '*.py' -o -name '*.v') | $(SETUP)
	$(DARB) verilog $(NETWORK) --lanes $(LANES) --device $(DEVICE) -o $(BUILD)
	@touch $@

lock: $(SETUP)
	{ echo "# Exact versions that make and CI install. Made with 'make lock'; torch is pinned without its build tag, so that"; \
	  echo "# any build of this version serves."; \
	  $(VENV)/bin/pip freeze --all --exclude-editable | grep -v -i -e '^pip==' -e '^wheel==' | sed 's/+cpu//'; } > requirements.lock

# What docs/results says, measured again.
RESULTS := docs/results
results: $(SETUP) $(NETWORK)
	for ratio in 8 13 25; do $(DARB) evaluate --task digits --seeds 5 --ratio $$ratio -o $(RESULTS)/digits-$${ratio}x.json || exit; done
	set -e; for point in ecp5-85k:16 ice40-hx8k:8 ice40-up5k:8; do device=$${point%:*}; lanes=$${point#*:}; \
	  $(DARB) verilog $(NETWORK) --lanes $$lanes --device $$device -o build/results/$$device-$$lanes; \
	  $(DARB) synth build/results/$$device-$$lanes --seeds 5; \
	  cp build/results/$$device-$$lanes/synth/report.json $(RESULTS)/synth-$$device-$$lanes.json; done
	$(MAKE) sweep
	cp build/sweep-$(NAME)/sweep.csv build/sweep-$(NAME)/sweep.png $(RESULTS)/
	$(VENV)/bin/python -m benchmarks.scale -o $(RESULTS)/scale.json
	$(VENV)/bin/python -m benchmarks.results

# DARB against its rivals, each with all that DARB gets; stopped, it goes on where it was.
EXPERIMENTS := digits mnist fashion-mnist-lenet5 cifar10 fsdd chars words
experiments: $(SETUP)
	for name in $(EXPERIMENTS); do $(DARB) experiment examples/experiments/$$name.toml --jobs $(JOBS) || exit; done
	$(VENV)/bin/python -m benchmarks.pruning

# Real networks, down to simulated Verilog: about an hour; stopped, it goes on where it was.
networks: iverilog $(SETUP)
	$(VENV)/bin/python -m benchmarks.networks

# MLPerf Tiny's networks, dense and pruned: hours with place and route; stopped, it goes on where it was.
mlperf: $(SETUP)
	$(VENV)/bin/python -m benchmarks.mlperf

# The same networks from files: floats against torch, integers against the interpreters of the files.
imports: $(SETUP)
	$(VENV)/bin/python -m benchmarks.imports

# Models that the project was not made for: accepted and exact, or refused with a remedy that helps.
models: $(SETUP)
	$(VENV)/bin/python -m benchmarks.models

# The other systems against dense networks, small ones and DARB, three seeds: hours; stopped, it goes on where it was.
systems: $(SETUP)
	$(VENV)/bin/python -m benchmarks.systems

# Every figure of the engine with its limit: about two hours; stopped, it goes on where it was. Fails if one falls short.
engine: iverilog $(SETUP)
	$(VENV)/bin/python -m benchmarks.engine

# Sparsity formats simulated, synthesised, placed: about two hours; stopped, it goes on where it was.
formats: $(SETUP)
	$(VENV)/bin/python -m benchmarks.formats

# Other generators on the same networks: hours; what docs/results/peers.json has of them is not measured again.
peers: iverilog $(SETUP) $(NETWORK)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[peers]'
	$(VENV)/bin/python -m benchmarks.peers ladder $(NETWORK) $(PEERS_LENET) --tools $(PEERS_TOOLS) --seeds $(PEERS_SEEDS)

# Designs that darb estimate is fitted on: hours of Yosys and nextpnr; stopped, it goes on where it was.
estimates: $(SETUP)
	$(VENV)/bin/python -m benchmarks.estimates --points $(ESTIMATES)

clean:
	rm -rf build runs
