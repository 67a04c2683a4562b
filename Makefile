# Everything sets itself up in .venv; nothing else on the machine is touched. `make help` lists the targets.
# uv makes the environment if it is on the PATH, else venv and pip do. Another Python: make demo PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 && echo $$p && break; done)
BIN := .venv/bin
# As many processes as there are cores, at most four; with more than one thread each they would slow each other down.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

.PHONY: help demo results dashboard test test-all lint types unit format clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 16

demo: .venv/ready  ## train LeNet-5 on the built-in handwritten digits, and predict with one that comes along
	$(BIN)/cnnlab train experiment=demo
	$(BIN)/cnnlab predict checkpoint=lenet5-digits images=test limit=6 output=null gallery=null

results: .venv/ready  ## run or continue an experiment and write its result: EXPERIMENT=NAME ARGS="data.path=FOLDER"
	$(BIN)/python experiments/publish.py $(EXPERIMENT) $(ARGS)

dashboard: .venv/ready  ## open TensorBoard on all runs, or on those in RUNS=FOLDER; PORT=6006
	$(BIN)/cnnlab dashboard runs='$(or $(RUNS),runs)' port=$(or $(PORT),null)

# The type check runs beside the tests: it needs one core for a short time.
test: lint  ## run lint, format and type checks and the tests
	@$(MAKE) --no-print-directory -j2 types unit

test-all: lint types  ## the same with the tests marked slow
	$(PYTEST) -m ""

lint: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready-dev
	$(BIN)/basedpyright

unit: .venv/ready-dev
	$(PYTEST)

format: .venv/ready-dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and caches; runs/ stays
	rm -rf .venv .uv .pytest_cache .ruff_cache build dist

# If only other Pythons are there (Hydra 1.3 does not run on 3.14), one of them installs uv into .uv, and uv brings Python 3.13.
.venv/python:
	@uv=$$(command -v uv); \
	if [ -z "$$uv" ] && [ -n "$(PYTHON)" ]; then \
		$(PYTHON) -m venv .venv; \
	else \
		if [ -z "$$uv" ]; then \
			echo "No Python 3.11, 3.12 or 3.13 was found; uv brings 3.13."; \
			{ python3 -m venv .uv && .uv/bin/python -m pip install uv || python3 -m pip install --target .uv uv; } >/dev/null 2>&1; \
			uv=.uv/bin/uv; \
		fi; \
		[ -x "$$uv" ] && "$$uv" venv --quiet --allow-existing --seed --python "$(or $(PYTHON),3.13)" .venv; \
	fi || { echo "cnnlab needs Python 3.11, 3.12 or 3.13 with venv: install one (Debian, Ubuntu: apt install python3.12-venv;" \
		"macOS: brew install python@3.13), or install uv." >&2; exit 2; }
	@touch $@

# pip compiles nothing beforehand: most files of the packages are never imported, and the others are compiled then.
define install
	@uv=$$(command -v uv || echo .uv/bin/uv); \
	if [ -x "$$uv" ]; then "$$uv" pip install --quiet --python $(BIN)/python -e '$(1)'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '$(1)'; fi
endef

.venv/ready: .venv/python pyproject.toml
	$(call install,.)
	@touch $@

.venv/ready-dev: .venv/python pyproject.toml
	$(call install,.[dev])
	@touch $@ .venv/ready
