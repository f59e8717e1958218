# The everyday commands. Each installs what it needs into .venv when that is missing or out of date.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Stages run as `python -m ...`, so the environment's python has to come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help repro report verify reproduce test test-slow lint format bench lock audit clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(VENV)/installed ## fetch, train and evaluate whatever is out of date
	dvc repro

verify: $(VENV)/installed ## hash every output, and its objects in the cache, and compare with dvc.lock
	python -m src.audit.verify

reproduce: $(VENV)/installed ## run the last commit again in a clone with an empty cache and compare with dvc.lock
	python -m src.audit.reproduce

BASE ?= main
report: $(VENV)/installed-report ## compare the working tree with another revision: make report BASE=main
	@python -m src.report "$(BASE)"

test: $(VENV)/installed-dev ## run the tests
	python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/installed-dev ## run the tests that take minutes, mounts or many kills
	python -m pytest -n 2 -m slow

lint: $(VENV)/installed-dev ## check format, style, types and workflows
	ruff format --check .
	ruff check .
	mypy
	zizmor --offline --quiet .github/workflows
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

format: $(VENV)/installed-dev ## format the code and mend what ruff can mend
	ruff format .
	ruff check --fix .

lock: $(VENV)/installed-dev ## write requirements.lock: every package with its hashes, for pip install --require-hashes
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  requirements.txt --output-file requirements.lock

audit: lock ## look the locked packages up among the known vulnerabilities
	uv tool run pip-audit@2.10.1 --strict --requirement requirements.lock --no-deps --disable-pip

bench: $(VENV)/installed ## time the pipeline against the conventional program, write benchmarks/results.md
	python -m benchmarks.run

clean: ## remove the environment and what tools left behind, not data, models or DVC's cache
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis logs report

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); use: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

# Light, and enough for the report alone; beside the whole environment it adds one package.
$(VENV)/installed-report: requirements-report.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -r requirements-report.txt
	@touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-report.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@
