PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --editable

.PHONY: help demo test sync docs bench clean
.DEFAULT_GOAL := help

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1@/p' $(MAKEFILE_LIST) | tr @ '\t'

demo: $(VENV)/.installed  ## serve the examples on a free local port
	@$(BIN)/python -m examples

test: $(VENV)/.developing tests/node_modules/.package-lock.json  ## run every check and all tests
	@$(BIN)/python tools/sync.py --check
	@$(BIN)/python tools/readme.py --check
	@$(BIN)/python tools/docs.py
	@$(BIN)/python tools/check_site.py
	@$(BIN)/python tools/check_wheel.py
	@$(BIN)/python -m pytest

sync: $(VENV)/.developing  ## write modules, saved outputs and README from the notebooks
	@$(BIN)/python tools/sync.py
	@$(BIN)/python tools/readme.py

docs: $(VENV)/.developing  ## build the site into _docs and check its links
	@$(BIN)/python tools/docs.py
	@$(BIN)/python tools/check_site.py

bench: .venv-bench/.benchmarking  ## compare with other libraries, in about half an hour
	@.venv-bench/bin/python -m benchmarks

clean:  ## remove all that was built or installed here
	rm -rf $(VENV) .venv-bench tests/node_modules _proc _docs build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache .coverage htmlcov
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
