# make up      run everything on this machine, with sample content
# make test    create what the tests need, and pass them
.PHONY: up test test-reference check fix bench lock clean
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
# Where sentence-transformers' torch comes from; on Linux, PyPI's is the one for CUDA.
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

help:
	@sed -n 's/^# //p' Makefile

up: .venv/run
	@$(BIN)/cloister up --demo

test: .venv/dev
	@$(BIN)/pytest -n 2 $(ARGS)

check: .venv/dev
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && echo "ruff ok"
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

fix: .venv/dev
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

bench: .venv/dev
	@$(BIN)/python -m benchmarks.service

# The encoder against the sentence-transformers model it reproduces; needs torch.
test-reference: .venv-reference/ready
	@.venv-reference/bin/pytest -m reference tests/rag/embedding $(ARGS)

# pyproject.toml -> the lock files; needs uv.
lock:
	uv pip compile pyproject.toml --python-version 3.11 --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements.lock
	uv pip compile pyproject.toml --group dev --python-version 3.11 --universal --generate-hashes --no-header --no-emit-index-url -q -o requirements-dev.lock

clean:
	rm -rf .venv .venv-reference .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Cloister needs Python 3.11 or newer; try: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "could not make a virtual environment (on Debian: apt-get install python3-venv)"; rm -rf .venv; exit 1; }

.venv/run: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing the locked packages into .venv (a minute or so)"
	@$(PIP) install --no-deps -r requirements.lock
	@$(PIP) install --no-deps -q -e .
	@touch $@

.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "installing the locked packages into .venv (a minute or so)"
	@$(PIP) install --no-deps -r requirements-dev.lock
	@$(PIP) install --no-deps -q -e .
	@touch $@ .venv/run

.venv-reference/ready: requirements-dev.lock pyproject.toml
	@$(PYTHON) -m venv .venv-reference
	@.venv-reference/bin/python -m pip install --no-deps -q -r requirements-dev.lock
	@.venv-reference/bin/python -m pip install -q torch==2.13.0 $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@.venv-reference/bin/python -m pip install -q "sentence-transformers==6.2.0" "transformers==5.23.0" "scipy==1.17.1" "scikit-learn==1.9.1"
	@.venv-reference/bin/python -m pip install --no-deps -q -e .
	@touch $@
