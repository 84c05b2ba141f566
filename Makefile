# Everything a fresh machine needs: Python >= 3.11 and make.
#   make demo     set up, compile and run the example, compare with BM25, answer a query
#   make test     set up and pass the tests        make parity   compare with torch, transformers, PEFT
#   make lint     format, lint, types, contracts   make clean    remove what these made
#   make test-slow, test-wheel, test-editor        what takes minutes; the installed wheel; the language server
#   make test-browser                              the report in headless Chromium
#   make test-newest NEWEST=python3.13             test-wheel on a newer Python with the newest jax that it takes

PYTHON ?= python3
VENV ?= .venv
WHEEL ?= .venv-wheel
NEWEST ?= python3.13
TOOLS ?= .tools
CONSTRAINTS ?= constraints.txt
PIP = -m pip --disable-pip-version-check install --quiet -c $(CONSTRAINTS)
# pip compiles what it installs, but not a checkout: without bytecode every command pays 40 ms for it.
COMPILE = $(VENV)/bin/python -m compileall -q spec compiler runtime specrun/*.py
DEMO = configs/examples/stdlib-search.yaml
QUERY ?= wrap a long text into lines of a given width

.PHONY: demo test test-slow test-wheel test-newest test-editor test-browser parity lint clean setup

demo: $(VENV)/.demo
	$(VENV)/bin/specrun compile $(DEMO) -o runs/stdlib-search.plan.json
	$(VENV)/bin/specrun run runs/stdlib-search.plan.json
	$(VENV)/bin/specrun baseline runs/stdlib-search.plan.json
	$(VENV)/bin/specrun search runs/stdlib-search "$(QUERY)"

# Files in order of their names: else those of few and long tests, such as the kills, come last, on one core alone.
test: $(VENV)/.test
	SPECRUN_TESTS_COMPILE=quickly $(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=15 -m "not parity and not editor and not slow and not browser and not as_built" tests
	$(VENV)/bin/python -m pytest -m as_built tests

test-slow: $(VENV)/.test
	$(VENV)/bin/python -m pytest -s -m "slow and not parity" tests

test-editor: $(VENV)/.test $(TOOLS)/yls/node_modules
	$(VENV)/bin/python -m pytest -m editor tests

test-browser: $(VENV)/.test
	@command -v chromium chromium-browser google-chrome > /dev/null || { echo "test-browser needs Chromium: install it (on Debian: apt-get install chromium)"; exit 1; }
	$(VENV)/bin/python -m pytest -m browser tests

test-wheel: $(VENV)/.test
	rm -rf dist $(WHEEL) && $(VENV)/bin/python -m build --outdir dist . > /dev/null
	$(PYTHON) -m venv $(WHEEL) && $(WHEEL)/bin/python $(PIP) "$$(ls dist/*.whl)[unit]"
	./tests/from_another_folder $(WHEEL)

test-newest: $(VENV)/.test
	$(MAKE) test-wheel WHEEL=.venv-newest PYTHON=$(NEWEST) CONSTRAINTS=constraints-newest.txt

parity: $(VENV)/.parity
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m parity tests

lint: $(VENV)/.test
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

setup: $(VENV)/.test

clean:
	rm -rf $(VENV) $(WHEEL) .venv-newest $(TOOLS) build dist *.egg-info runs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "specrun needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(PIP) -e .
	$(COMPILE)
	touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(VENV)/bin/python $(PIP) -e '.[test,lint]'
	$(COMPILE)
	touch $@ $(VENV)/.demo

$(VENV)/.parity: $(VENV)/.test
	$(VENV)/bin/python $(PIP) -e '.[parity]'
	touch $@

$(TOOLS)/yls/node_modules:
	mkdir -p $(TOOLS)/yls
	npm install --prefix $(TOOLS)/yls --no-audit --no-fund --loglevel=error yaml-language-server@2.0.0
