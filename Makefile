# Everything sets itself up in .venv; nothing else on the machine is touched. `make help` lists the targets.
# Another Python than the first suitable one of PATH: make demo PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
# As many processes as there are cores, at most four; with more than one thread each they would slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: help demo results dashboard test test-all lint types unit format clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 16

demo: .venv/ready  ## train LeNet-5 on the built-in handwritten digits; the first call installs the packages
	$(BIN)/cnnlab train experiment=demo

results: .venv/ready  ## run an experiment to its end, or on: EXPERIMENT=NAME ARGS="data.path=FOLDER"; writes experiments/results/
	$(BIN)/python experiments/publish.py $(EXPERIMENT) $(ARGS)

dashboard: .venv/ready  ## open TensorBoard on all runs, or on others: RUNS=FOLDER PORT=6006
	$(BIN)/cnnlab dashboard runs='$(or $(RUNS),runs)' port=$(or $(PORT),null)

# The types take one core, and the tests leave some of theirs.
test: lint  ## the checks: lint, format, types, tests
	@$(MAKE) --no-print-directory -j2 types unit

test-all: lint types  ## the same, and further cases that take some minutes more
	$(PYTEST) -m ""

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready-dev
	$(BIN)/basedpyright

unit: .venv/ready-dev
	$(PYTEST)

format: .venv/ready-dev  ## bring the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache build dist

.venv/python:
	@test -n "$(PYTHON)" || { echo "cnnlab needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

# Nothing is compiled beforehand: most files of the packages are never imported, and the others are compiled then.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.venv/ready: .venv/python pyproject.toml
	$(PIP) -e .
	@touch $@

.venv/ready-dev: .venv/python pyproject.toml
	$(PIP) -e '.[dev]'
	@touch $@ .venv/ready
