# Every target does its own set-up: a virtual environment in .venv, its Python packages and, for tests and benchmarks,
# Debian packages where they may be installed.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DURATION ?=
CLIENTS ?= 500

.PHONY: help demo test test-servers check format docs bench bench-quick generate clean
help:
	@echo "make demo [DURATION=5]   an embedded PostgreSQL, the proxy and 500 clients"
	@echo "make test                checks, documentation and tests (under 15 minutes)"
	@echo "make test-servers        the slower matrix of servers and drivers"
	@echo "make check               format, lint, types, import contracts, generated pages, shape of the repository"
	@echo "make bench               against PgBouncer and a direct connection"
	@echo "make docs                the documentation, into docs/_build/html"

$(VENV)/.demo: pyproject.toml scripts/venv
	PYTHON=$(PYTHON) scripts/venv $(VENV) demo
	@touch $@

$(VENV)/.dev: pyproject.toml scripts/venv
	PYTHON=$(PYTHON) scripts/venv $(VENV) dev
	@touch $@ $(VENV)/.demo

$(VENV)/.debian: scripts/debian | $(VENV)/.dev
	scripts/debian postgresql-15 postgresql-client-15
	@touch $@

$(VENV)/.debian-bench: scripts/debian | $(VENV)/.dev
	scripts/debian postgresql-15 postgresql-client-15 pgbouncer
	@touch $@

demo: $(VENV)/.demo
	$(VENV)/bin/rdsp demo --clients $(CLIENTS) $(if $(DURATION),--duration $(DURATION))

check: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(PY) scripts/generate.py --check
	$(PY) -m pytest -q tests/repo

docs: $(VENV)/.dev
	$(VENV)/bin/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html

test: check docs $(VENV)/.debian
	$(PY) -m pytest -q -m "not matrix" tests

test-servers: $(VENV)/.debian
	$(PY) -m pytest -q -m matrix tests

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

generate: $(VENV)/.dev
	$(PY) scripts/generate.py --write

bench: $(VENV)/.debian-bench
	$(PY) -m benchmarks

bench-quick: $(VENV)/.debian-bench
	$(PY) -m benchmarks --quick

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
