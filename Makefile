# `make demo` shows what aptask does, `make test` tests it. Both make an environment in .venv first.

PYTHON ?= python3
# More words for pytest: make test ARGS="tests/parsers -x"
ARGS ?=

.PHONY: help demo test lint check docs clean

help:
	@echo "make demo    a daemon with a few tasks, and how they go"
	@echo "make test    all tests; some of them: make test ARGS=tests/parsers"
	@echo "make lint    ruff and mypy"
	@echo "make check   lint and test: what has to pass before a change is done"
	@echo "make docs    write the tables of docs/ anew"
	@echo "make clean   remove what any of these made"

demo: .venv/runs
	@.venv/bin/python -m aptask.cli.demo

test: .venv/installed
	.venv/bin/python -m pytest $(ARGS)

lint: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

check: lint test

# The tables of the pages, from the one place where each truth is written.
docs: .venv/installed
	.venv/bin/python tests/write_docs.py

# Made anew whenever what is to be installed changes.
.venv/runs: setup.cfg pyproject.toml
	@echo "Installing aptask in .venv ..."
	@test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/installed: .venv/runs
	@echo "Installing what tests and checks need in .venv ..."
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	@touch $@

clean:
	rm -rf .venv .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -r {} +
	rm -f twisted/plugins/dropin.cache aptask/plugins/dropin.cache
