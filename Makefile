# Every target is self-sufficient on a fresh machine with Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv run test lint bench guests clean

venv: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	$(BIN)/python -m compileall -q kdsim # pip leaves an editable install uncompiled
	touch $@

run: venv
	$(BIN)/kdsim

test: venv
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check kdsim tests benchmarks targets
	$(BIN)/ruff format --check kdsim tests benchmarks targets
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv
	$(BIN)/python -m benchmarks

guests: venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[guests]'
	$(BIN)/python targets/build.py

clean:
	rm -rf $(VENV) build dist
