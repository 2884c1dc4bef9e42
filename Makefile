# `make` alone prints the targets. Everything runs in .venv, which `make setup` makes from pyproject.toml; what only tests and
# linters need is added to it by the first of them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROFILE ?= quick
JOBS ?=
VENV := .venv
# Python compiles what it imports, once, even where the environment says otherwise; to compile all that is installed would cost
# nearly half of the set-up's time.
unexport PYTHONDONTWRITEBYTECODE
# Whether .venv was made for this path: a copied or moved one is not.
OWN := $(shell test "$$(cat $(VENV)/.ready 2>/dev/null)" = "$$(pwd -P)" && echo yes)
RUN := $(VENV)/bin/adagp
REPRODUCE_FLAGS := --profile $(PROFILE) $(if $(JOBS),--jobs $(JOBS))

.DEFAULT_GOAL := help
.PHONY: help setup reproduce lint test test-all lab book paper check record bench validate rtl compat dist lock clean elsewhere

help:  ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## install the pinned dependencies into .venv (the other targets call it)

$(VENV)/.ready: pyproject.toml constraints.txt $(if $(OWN),,elsewhere)
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit(0 if (3, 11, 5) <= sys.version_info < (3, 13) else "adagp needs Python 3.11 (from 3.11.5) or 3.12, found %s: make setup PYTHON=python3.11" % sys.version.split()[0])'
	@$(PYTHON) .ci/setup.py

$(addprefix $(VENV)/.,test lab paper release): $(VENV)/.%: $(VENV)/.ready
	@$(PYTHON) .ci/setup.py $*

reproduce: setup  ## train, model the accelerator, execute the notebooks, build the book, print the claims
	@$(RUN) reproduce $(REPRODUCE_FLAGS)

lint: $(VENV)/.test  ## ruff and mypy, as pyproject.toml configures them
	@$(VENV)/bin/ruff check src tests benchmarks examples validation .ci
	@$(VENV)/bin/mypy src/adagp

test: $(VENV)/.test  ## what a change is likely to break
	@$(VENV)/bin/python -m pytest -n auto --dist loadgroup -m "not slow"

test-all: $(VENV)/.test  ## everything a change can break, as CI runs it
	@$(VENV)/bin/python -m pytest -n auto --dist loadgroup

lab: $(VENV)/.lab  ## open the notebooks in JupyterLab
	@$(VENV)/bin/jupyter lab notebooks

book: setup  ## build the book from the notebooks executed last
	@$(RUN) book --profile $(PROFILE)

paper: $(VENV)/.paper  ## write the project as a paper, a PDF under artifact/output/paper, from the recorded results
	@$(RUN) paper

check: setup  ## compare the claims with what was recorded and with the last run
	@$(RUN) check --profile $(PROFILE)

record: setup  ## make the next runs of the full plan and keep them under artifact/recorded (TIME=25m)
	@$(RUN) record --time-budget $(or $(TIME),25m)

bench: setup  ## time the engine, the loaders and the accelerator model; kill runs twenty times
	@# The settings of workers that train (src/adagp/_memory.py): without them page faults are what is timed.
	@export MALLOC_MMAP_THRESHOLD_=34359738368 MALLOC_TRIM_THRESHOLD_=34359738368 GLIBC_TUNABLES=glibc.malloc.hugetlb=1; \
	for file in benchmarks/*.py; do $(VENV)/bin/python $$file || exit 1; done

validate: $(VENV)/.test  ## run SCALE-Sim, ZigZag, ONNX, counters of multiply-accumulates, and other libraries' optimizers, networks and training loops
	@$(VENV)/bin/python validation/run_scalesim.py
	@$(VENV)/bin/python validation/run_zigzag.py
	@$(VENV)/bin/python validation/run_onnx.py
	@OMP_NUM_THREADS=1 $(VENV)/bin/python validation/run_counters.py
	@$(VENV)/bin/python validation/run_crossing.py
	@OMP_NUM_THREADS=1 PYTHONPATH=src $(VENV)/bin/python validation/run_loops.py

rtl: setup  ## synthesize, place and route the RTL in an environment of its own, and train on it; needs iverilog, verilator, opensta
	@$(VENV)/bin/python validation/run_hardware.py
	@$(VENV)/bin/python validation/run_clock.py
	@OMP_NUM_THREADS=1 $(VENV)/bin/python validation/run_training_hardware.py

compat: $(VENV)/.release  ## test the library with its lowest and newest packages, on each Python found, in environments of their own
	@$(VENV)/bin/nox

dist: $(VENV)/.release  ## build the sdist and the wheel into dist, and check what they hold
	@$(VENV)/bin/python .ci/dist.py

lock:  ## write constraints.txt, with hashes, and the licences in NOTICE from pyproject.toml and environment.yml
	@$(PYTHON) .ci/lock.py

clean:  ## remove what runs have written; recorded results and .venv stay
	@rm -rf artifact/runs artifact/output book/_build
