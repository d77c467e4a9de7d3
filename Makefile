# Two commands do everything on a machine with Python 3.11 or 3.12, git and make:
#
#   make demo    environment, phantom dataset, qperf-app on it, path of the report
#   make test    environment, linters, types, import rules, whole test suite
#
# `make help` lists the others. Each may be repeated and does only what is still to do.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV ?= .venv
BIN := $(VENV)/bin
export VENV PYTHON

DEMO := demo
NPROCS ?= 2
VERSION ?=
PYTEST_ARGS ?=
LOCK_ARGS ?=
# Tests run in processes beside each other, each file in one of them: what a file sets up once is made once.
PYTEST := $(BIN)/python -m pytest --numprocesses $(NPROCS) --dist loadfile

.PHONY: help
help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: environment environment-dev
environment:  ## the virtual environment that qperf-app runs in
	@.ci/environment runtime
environment-dev:  ## the same, with the tools for tests, linting and docs
	@.ci/environment dev

.PHONY: demo
demo: environment  ## phantom dataset, qperf-app on it, path of the report
	@if [ -d $(DEMO)/data ]; then \
	  echo "--> Phantom dataset is there: $(DEMO)/data"; \
	else \
	  echo "--> Simulating a patient with the digital perfusion phantom into $(DEMO)/data"; \
	  rm -rf $(DEMO)/partial && mkdir -p $(DEMO); \
	  $(BIN)/qperf phantom $(DEMO)/partial --participants 1 --seed 1 --nprocs $(NPROCS) >/dev/null; \
	  mv $(DEMO)/partial $(DEMO)/data; \
	  echo "--> Dataset: $(DEMO)/data, its truth in $(DEMO)/data/derivatives/truth"; \
	fi
	@echo "--> Running qperf-app: raw series to flow maps and a report, into $(DEMO)/out"
	@$(BIN)/qperf-app $(DEMO)/data $(DEMO)/out participant --work-dir $(DEMO)/work --nprocs $(NPROCS)
	@echo "--> Done. Open the report in a browser:"
	@ls -1 "$(CURDIR)"/$(DEMO)/out/sub-*.html

.PHONY: browser slurm dicom-tools
browser:  ## a Chromium for the tests that open the report in one, where it can be installed
	@.ci/browser
slurm:  ## a Slurm for the tests that run jobs on one, where it can be installed
	@.ci/slurm
dicom-tools:  ## an archive and a validator of DICOM for the tests of the export, where they can be installed
	@.ci/dicom-tools

.PHONY: lint
lint: environment-dev  ## ruff, mypy, import-linter
	@echo "--> Linting (ruff check)"
	@$(BIN)/ruff check
	@echo "--> Checking the format (ruff format)"
	@$(BIN)/ruff format --check
	@echo "--> Checking types (mypy)"
	@$(BIN)/mypy
	@echo "--> Checking which part imports which (import-linter)"
	@$(BIN)/lint-imports

.PHONY: check
check: environment-dev lint  ## within a minute: linters, types, import rules, fast tests
	@echo "--> Running the fast tests (pytest)"
	@$(PYTEST) -m "not slow" --quiet $(PYTEST_ARGS)

.PHONY: test
test: environment-dev browser slurm dicom-tools lint  ## everything that continuous integration runs
	@echo "--> Running the test suite (pytest)"
	@$(PYTEST) $(PYTEST_ARGS)

.PHONY: coverage
coverage: environment-dev browser slurm  ## which lines and branches the test suite runs; fails below the floor
	@echo "--> Running the test suite (pytest) with coverage"
	@$(PYTEST) --cov --cov-report=term:skip-covered --cov-report=html $(PYTEST_ARGS)

.PHONY: release
release: environment-dev  ## make release VERSION=1.2.3: version, changelog, tag and wheel; pushes nothing
	@$(BIN)/python .ci/release "$(VERSION)"

.PHONY: docs
docs: environment-dev  ## the documentation as web pages
	@echo "--> Building the documentation (sphinx)"
	@$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html
	@echo "--> Done: $(CURDIR)/docs/_build/html/index.html"

.PHONY: validation-tables
validation-tables: environment  ## tables of the documentation, from the records of the benchmarks
	@$(BIN)/python -m benchmarks.tables

.PHONY: boutiques
boutiques: environment  ## the Boutiques descriptor, from the parser
	@$(BIN)/python -m qperf_app.cli.boutiques >boutiques/qperf-app.json

.PHONY: lock
lock:  ## lock what setup.cfg asks for, with hashes (newest versions: make lock LOCK_ARGS=--upgrade)
	@[ -x .venv-lock/bin/uv ] || { echo "--> Installing uv into .venv-lock"; \
	  "$$(.ci/environment python)" -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv; }
	@echo "--> Resolving requirements.txt and requirements-dev.txt"
	@.venv-lock/bin/uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-header \
	  --quiet $(LOCK_ARGS) -o requirements.txt
	@.venv-lock/bin/uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-header \
	  --quiet $(LOCK_ARGS) --extra dev -c requirements.txt -o requirements-dev.txt

.PHONY: clean
clean:  ## remove what the other commands made, the environment included
	rm -rf $(VENV) .venv-lock $(DEMO) docs/_build build dist htmlcov .coverage* *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find qperf_app plugins bids_spec tests -name __pycache__ -type d -prune -exec rm -rf {} +
