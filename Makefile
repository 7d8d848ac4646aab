# Commands: demo, test, test-lowest, lint, audit, results and clean. Environments are created when
# needed.
PYTHON ?= python3
DEMO := .venv-demo
DEV := .venv
LOWEST := .venv-lowest
SCRIPTS := tests/javascript

.PHONY: demo test test-lowest lint audit results clean

demo: $(DEMO)/.made
	$(DEMO)/bin/python demo.py

$(DEMO)/.made: pyproject.toml
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --upgrade pip
	$(DEMO)/bin/python -m pip install --quiet -e '.[demo]'
	touch $@

test: $(DEV)/.made $(SCRIPTS)/node_modules/.made lint
	$(DEV)/bin/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(DEV)/.made
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/ruff check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports

# Lists known vulnerabilities of the installed packages; needs access to the database of advisories.
audit: $(DEV)/.made
	$(DEV)/bin/python -m pip install --quiet pip-audit
	$(DEV)/bin/python -m pip_audit --skip-editable \
	  || { echo "Vulnerabilities, or the database cannot be reached; see above." >&2; exit 1; }

$(DEV)/.made: pyproject.toml
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --upgrade pip
	$(DEV)/bin/python -m pip install --quiet -e '.[lab,dev]'
	touch $@

# The tools that check the JavaScript. If they cannot be downloaded, its tests are skipped.
$(SCRIPTS)/node_modules/.made: $(SCRIPTS)/package.json $(DEV)/.made
	-PATH="$$PATH:$(CURDIR)/$(DEV)/bin" npm install --silent --prefix $(SCRIPTS) && touch $@

# The tests without torch, with the lowest version of each package that pyproject.toml allows and that
# has a wheel for this Python. Deprecation warnings are no errors here: old packages may cause them.
test-lowest: $(LOWEST)/.made
	$(LOWEST)/bin/python -m pytest -W default::DeprecationWarning \
	  -W default::PendingDeprecationWarning

$(LOWEST)/.made: pyproject.toml
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet uv
	$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python \
	  --resolution lowest-direct --only-binary :all: --no-binary mien -e '.[dev]'
	touch $@

# Exports and measures the packaged models again, from the runs in models/ and FER2013:
# `make results DATA=FOLDER`. `best` is only measured. Benchmarks that are not listed here (the
# server, videos, attacks, GPUs) are run one by one; the head of each file states the command.
WEIGHTS := src/mien/classification
MODELS := default default-int8 small best
RUNS := seventh-student
results: $(DEV)/.made
	$(DEV)/bin/mien export models/seventh-student $(WEIGHTS)/default.onnx --data $(DATA) \
	  --input-size 48 --label-head-weight 0.12 --precision float16
	$(DEV)/bin/mien export models/seventh-student $(WEIGHTS)/default-int8.onnx --data $(DATA) \
	  --input-size 48 --label-head-weight 0.12 --precision int8
	$(DEV)/bin/mien export models/small-averaged $(WEIGHTS)/small.onnx --data $(DATA) \
	  --input-size 48 --label-head-weight 0 --precision int8
	for model in $(MODELS); do \
	  $(DEV)/bin/mien evaluate $$model --data $(DATA) --out results/$$model-val.json || exit 2; done
	for run in $(RUNS); do for tta in none flip ten_crop; do \
	  $(DEV)/bin/mien evaluate models/$$run --data $(DATA) --input-size 48 --tta $$tta \
	    --out results/run-$$run-$$tta.json || exit 2; done; done
	$(DEV)/bin/python benchmarks/paper.py --data $(DATA)
	$(DEV)/bin/python benchmarks/pose.py measure --data $(DATA)
	$(DEV)/bin/python benchmarks/calibration.py --data $(DATA) --run models/seventh-student
	$(DEV)/bin/python benchmarks/other_domains.py --data $(DATA) --run models/seventh-student
	$(DEV)/bin/python benchmarks/geometry.py --data $(DATA)
	$(DEV)/bin/python benchmarks/flags.py --data $(DATA)
	$(DEV)/bin/python benchmarks/explaining.py --data $(DATA)
	$(DEV)/bin/python benchmarks/votes.py --data $(DATA)
	$(DEV)/bin/python benchmarks/speed.py
	$(DEV)/bin/python benchmarks/memory.py
	$(DEV)/bin/python benchmarks/tables.py

clean:
	rm -rf $(DEMO) $(DEV) $(LOWEST) $(SCRIPTS)/node_modules demo
