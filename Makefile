PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --editable

# So many tests run at a time; what measures time is kept together (tests/conftest.py)
WORKERS := 2
PYTEST := $(BIN)/python -m pytest --quiet --numprocesses $(WORKERS) --dist loadscope --no-loadscope-reorder --durations 10
DEVELOPING := $(VENV)/.developing tests/node_modules/.package-lock.json

# They take long, and run little that others do not
COVERING_LITTLE := workers proxies benchmarks queues models

.PHONY: help demo quick test test-all test-rest test-suite checks coverage mutations sync docs bench clean
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*  ## /  make \1@/p' $(MAKEFILE_LIST) | tr @ '\t'

demo: $(VENV)/.showing  ## serve the examples on a free local port
	@$(BIN)/python -m examples

quick: $(VENV)/.developing  ## run the tests that need no browser and no web server, with coverage, in half a minute
	@$(PYTEST) tests/unit -m 'not full' --cov --cov-report term

test: $(DEVELOPING)  ## run every check and the tests, in four minutes
	@$(MAKE) --no-print-directory --jobs 2 checks test-suite

test-all: test test-rest  ## the same, then every size, every htmx, and coverage

test-suite: $(DEVELOPING)
	@$(PYTEST) -m 'not full'

test-rest: $(DEVELOPING)
	@$(PYTEST) -m full
	@$(MAKE) --no-print-directory coverage

checks: $(DEVELOPING)  ## check style, types, notebooks, script, README, site and wheel
	@$(BIN)/ruff check --quiet
	@$(BIN)/mypy fasthtml_sse --no-error-summary
	@$(BIN)/python tools/script.py --check
	@$(BIN)/python tools/sync.py --check
	@$(BIN)/python tools/readme.py --check
	@$(BIN)/python tools/docs.py
	@$(BIN)/python tools/check_site.py
	@$(BIN)/python tools/check_wheel.py

coverage: $(VENV)/.developing  ## say what the tests run of the package, and each notebook of its module
	@$(PYTEST) tests/unit tests/process $(COVERING_LITTLE:%=--ignore tests/process/test_%.py) -m 'not full' --debug-loops --cov --cov-report=
	@$(BIN)/python tools/covered.py

mutations: $(DEVELOPING)  ## take out one safeguard after the other: a test has to notice
	@$(BIN)/python -m tests.mutations

sync: $(DEVELOPING)  ## write modules, saved outputs and README from the notebooks, and the script for pages
	@$(BIN)/python tools/script.py
	@$(BIN)/python tools/sync.py
	@$(BIN)/python tools/readme.py

docs: $(VENV)/.developing  ## build the site into _docs and check its links
	@$(BIN)/python tools/docs.py
	@$(BIN)/python tools/check_site.py

bench: .venv-bench/.benchmarking  ## compare with other libraries, in about half an hour
	@.venv-bench/bin/python -m benchmarks
	@.venv-bench/bin/python -m benchmarks.runs
	@.venv-bench/bin/python -m benchmarks.live

clean:  ## remove all that was built or installed here
	rm -rf $(VENV) .venv-bench tests/node_modules _proc _docs build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .coverage* htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +

# pip is what a half-made environment lacks
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3 ..." if sys.version_info < (3, 11) else 0)'
	@echo 'Making $(VENV)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/pip
	@echo 'Installing the package'
	@$(PIP_INSTALL) .
	@touch $@

$(VENV)/.showing: examples/requirements.txt $(VENV)/.installed
	@$(BIN)/pip install --quiet --disable-pip-version-check --requirement examples/requirements.txt
	@touch $@

$(VENV)/.developing: pyproject.toml | $(BIN)/pip
	@echo 'Installing the package and its development tools'
	@$(PIP_INSTALL) '.[dev]'
	@touch $@ $(VENV)/.installed

.venv-bench/.benchmarking: benchmarks/requirements.txt pyproject.toml
	@$(MAKE) --no-print-directory VENV=.venv-bench .venv-bench/.installed
	@echo 'Installing what it is compared with'
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	@touch $@

tests/node_modules/.package-lock.json: tests/package-lock.json
	@if command -v npm >/dev/null; then cd tests && npm ci --silent --no-audit --no-fund --ignore-scripts && touch node_modules/.package-lock.json; \
	else echo 'npm was not found: the browser tests have no htmx to load'; fi
