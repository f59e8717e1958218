# Everyday commands. Each first installs what it needs into .venv, unless that is up to date.

VENV := .venv
BIN := $(VENV)/bin
# Empty if .venv is missing, or the Python that it was made from is gone, as after an upgrade of the system.
WORKING := $(shell $(BIN)/python -ISc "print('$(BIN)/python')" 2>&-)
PYTHON := $(or $(PYTHON),$(WORKING),$(shell command -v python3),python3)
# Stages run `python`, so the environment's must come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# These would select another Python's packages, hide src, wait for input, or make dvc or hydra end with a traceback.
unexport PYTHONHOME PYTHONINSPECT PYTHONOPTIMIZE PYTHONPATH PYTHONSAFEPATH PYTHONWARNINGS
# DVC needs a user name; a container may have none.
export USER ?= $(shell id -u)

.PHONY: help repro verify reproduce report card experiments sweep sweep-report dashboard seeds push onnx test test-slow lint \
  bench gpu lock audit FORCE
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

repro: $(VENV)/installed ## run out-of-date stages: fetch, train, evaluate
	dvc repro
	@python -m src.mnist.card
	@python -m src.mnist.evaluate.summary
card: $(VENV)/installed ## write docs/model_card.md from the results
	python -m src.mnist.card
onnx: $(VENV)/installed-dev ## export the model to ONNX and compare it with PyTorch
	python -m src.mnist.export
push: $(VENV)/installed ## push data, models and all runs to the default DVC remote
	python -m src.share.push

verify: $(VENV)/installed ## hash outputs and cached objects, compare with dvc.lock
	python -m src.audit.verify
BASE ?= main
# Taken literally: neither make nor the shell expands anything in the name of a revision.
override BASE := $(value BASE)
export BASE
reproduce: $(VENV)/installed ## rerun the last commit in a fresh clone and compare; BASE=main
	python -m src.audit.reproduce "$$BASE"
report: $(VENV)/installed-report ## compare the working tree with another revision; BASE=main
	@python -m src.report "$$BASE"

experiments: $(VENV)/installed ## list this commit's experiments, best validation accuracy first
	@python -m src.sweep.listing
SPEC ?= sweep.yaml
SHARING := $(if $(WORKERS),--workers $(WORKERS)) $(if $(REMOTE),--remote $(REMOTE))
sweep: $(VENV)/installed ## run missing trials of a sweep; SPEC= WORKERS= REMOTE= STORAGE=
	@python -m src.sweep "$(SPEC)" $(SHARING)
sweep-report: $(VENV)/installed ## summarize the sweep, with plots in report/sweep.html; SPEC=
	@python -m src.sweep.summary "$(SPEC)"
dashboard: $(VENV)/installed ## show the sweeps in a browser, on 127.0.0.1; STORAGE=
	@python -m src.sweep.dashboard
N ?= 5
seeds: $(VENV)/installed ## measure how much the seed alone changes the results; N=5
	@python -m src.sweep.seeds $(N) $(SHARING)

test: $(VENV)/installed-dev ## run the tests
	python -m pytest -n 3 -m "not slow"
test-slow: $(VENV)/installed-dev ## run the slow tests: long runs, mounts, many kills
	python -m pytest -n 2 -m slow
lint: $(VENV)/installed-dev ## check format, style, types and workflows
	ruff format --check .
	ruff check .
	mypy
	zizmor --offline --quiet .github/workflows
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
bench: $(VENV)/installed ## time it against a conventional program: benchmarks/results.md
	python -m benchmarks.run
gpu: $(VENV)/installed-dev ## test and time the pipeline on a GPU: benchmarks/gpu.md
	python -m pytest -m gpu
	python -m benchmarks.gpu

COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
  --custom-compile-command "make lock"
lock: $(VENV)/installed-report ## write lock files from requirements*.txt; UPGRADE=--upgrade
	$(COMPILE) $(UPGRADE) requirements-dev.txt --output-file requirements-dev.lock
	$(COMPILE) --constraint requirements-dev.lock requirements.txt --output-file requirements.lock
	$(COMPILE) --constraint requirements-dev.lock requirements-report.txt --output-file requirements-report.lock
audit: $(VENV)/installed-report ## check the locked packages for known vulnerabilities
	uv tool run pip-audit@2.10.1 --strict --requirement requirements-dev.lock --no-deps --disable-pip

$(VENV)/installed: requirements.lock
# Small, and enough for the report.
$(VENV)/installed-report: requirements-report.lock
$(VENV)/installed-dev: requirements-dev.lock
# Install again if the folder was renamed: scripts in .venv contain the path they were created in.
$(VENV)/installed $(VENV)/installed-report $(VENV)/installed-dev: \
  $(if $(and $(WORKING),$(shell grep -sF "$$(pwd -P)/$(BIN)" $(BIN)/pip)),,FORCE)
	@$(PYTHON) install.py $(filter %.lock,$^)
	@touch $@
