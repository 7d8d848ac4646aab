# The two commands: `make demo` and `make test`. Each makes its own environment first.
PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv

.PHONY: demo test lint clean

demo: $(DEMO)/.made
	$(DEMO)/bin/python demo.py

$(DEMO)/.made: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO)/bin/python -m pip install --quiet -e '.[demo]'
	touch $@

test: $(DEV)/.made lint
	$(DEV)/bin/python -m pytest

lint: $(DEV)/.made
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

$(DEV)/.made: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --upgrade pip
	$(DEV)/bin/python -m pip install --quiet -c constraints.txt -e '.[lab,dev]'
	touch $@

clean:
	rm -rf $(DEMO) $(DEV) demo
