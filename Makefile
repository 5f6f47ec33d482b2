# Five targets: demo, test, check, bench, backends. `make` alone says what each does.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed

help: ## what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP) ## watch two real services with real faults, and get a health report (about a minute)
	@$(PY) -m tickbird demo --for 40s

test: $(STAMP) check ## everything, with the real Collector, Prometheus, Loki, Jaeger, Alertmanager
	@if [ -t 0 ]; then $(PY) -m tickbird stack build || true; else $(PY) -m tickbird stack build --build; fi
	@$(PY) -m pytest -m "e2e or backends"

check: $(STAMP) ## lint, types, import rules, unit and contract tests; before every commit
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/yamllint -s .
	@$(PY) -m pytest -m "not e2e and not backends"

bench: $(STAMP) ## the numbers that the README quotes, against peers (hours; BENCH=logs for one of them)
	@$(PY) -m bench $(BENCH)

backends: $(STAMP) ## build the backends from source, once, into the cache (half an hour; then seconds)
	@$(PY) -m tickbird stack build --build

# Nothing is fetched when the lock has not changed, so a second run needs no network.
$(STAMP): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt-get install python3-venv"; exit 1; }
	@echo "installing the locked packages into $(VENV) (half a minute)"
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help demo test check bench backends
.DEFAULT_GOAL := help
