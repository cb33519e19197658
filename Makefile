# CI runs the same targets. `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: help install demo test test-slow fmt lint types docs bench clean

help:
	@echo "make demo    install into $(VENV) and run the whole pipeline on scikit-learn's digits"
	@echo "make test    the quick tests          make test-slow   the slow tests"
	@echo "make docs    the pages and the API reference, as HTML in build/docs"
	@echo "make bench   the measurements of docs/performance.md"
	@echo "make fmt     format                   make lint    ruff        make types   pyright"

# A stamp per set of extras: pip runs again only when pyproject.toml has changed.
$(VENV)/.all: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e ".[all]"
	touch $@

$(VENV)/.dev: $(VENV)/.all
	$(BIN)/pip install --quiet -e ".[all,dev]"
	touch $@

install: $(VENV)/.dev

demo: $(VENV)/.all
	$(BIN)/medprobe demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=20 -m "not slow"

# Networks at full size, 200,000 rows, the real embeddings, several processes per test. By file, so that no two of the
# tests that fill the memory run at once; in the order of tests/conftest.py.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --durations=20 -m slow

fmt: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/.docs: $(VENV)/.all
	$(BIN)/pip install --quiet -e ".[docs]"
	touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx --fail-on-warning --keep-going -q -b html docs build/docs

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/pip install --quiet -e ".[bench]"
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/probe_engine.py
	$(BIN)/python benchmarks/logistic_path.py
	$(BIN)/python benchmarks/probe_scale.py --rows 50000
	$(BIN)/python benchmarks/extraction.py
	$(BIN)/python benchmarks/extraction_scale.py
	$(BIN)/python benchmarks/finetune.py
	$(BIN)/python benchmarks/manifest_check.py
	$(BIN)/python benchmarks/starts.py

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
