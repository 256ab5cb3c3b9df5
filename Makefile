# Everything a newcomer or a developer runs. Each target makes its own environment; only Python >= 3.11 and make are needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test faults lint format protos bench clean

help: ## what there is
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "extauthz needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev --editable '.[demo]'
	@touch $@

demo: $(STAMP) ## the whole thing with a real Envoy (ARGS=--once goes through the tour by itself)
	$(BIN)/extauthz demo $(ARGS)

test: $(STAMP) ## every quality gate and every test
	$(BIN)/python scripts/test.py $(ARGS)

faults: $(STAMP) ## the long form of the fault suite, and its figures (ARGS go to pytest)
	$(BIN)/python scripts/faults.py $(ARGS)

lint: $(STAMP) ## ruff, mypy, import-linter, generated code up to date
	$(BIN)/python scripts/test.py --lint-only

format: $(STAMP) ## let ruff rewrite what it can
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

protos: $(STAMP) ## compile protos/ into extauthz/_gen
	$(BIN)/python scripts/generate.py

bench: $(STAMP) ## measure (needs h2load: Debian's nghttp2-client)
	$(BIN)/python scripts/bench $(ARGS)

clean: ## remove what the other targets made
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
