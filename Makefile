# Everything a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-library test-modules test-slow bench format clean

demo: $(READY)
	$(BIN)/deeptranslate demo --output demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --jobs=2 test-library test-modules

test-library: $(READY)
	$(BIN)/python -m pytest Testing/library

test-modules: $(READY)
	$(BIN)/python -m pytest Testing/host Testing/modules

test-slow: $(READY)
	$(BIN)/python -m pytest -m "slow" Testing/library
	$(BIN)/python -m pytest -m "slow" Testing/host Testing/modules

bench: $(READY)
	$(BIN)/python -m Testing.benchmarks

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo

# torch first: packages that depend on it must find the pinned build.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[development]"
	touch $(READY)
