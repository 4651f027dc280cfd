# `make` alone lists the targets. Each makes .venv itself when needed; nothing is installed again while
# pyproject.toml stays as it is.
SUITE ?= suites/quick.yaml suites/mnist.yaml
PROFILE ?=
DEVICE ?= auto
PYTHON ?= python3
MICRO ?=
RACE ?=
TABLES ?= results
BIN := .venv/bin

# The checksum in the stamps' names makes an install follow the file's content, not its date.
SUM := $(shell cksum < pyproject.toml | cut -d ' ' -f 1)
RUN := .venv/installed-$(SUM)
DEV := .venv/installed-dev-$(SUM)
DOCS := .venv/installed-docs-$(SUM)

export OMP_WAIT_POLICY = passive

.DEFAULT_GOAL := help
.PHONY: help bench test test-slow lint micro race report docs notebook clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10
	@echo 'variables: SUITE=$(SUITE) PROFILE=$(PROFILE) DEVICE=$(DEVICE) PYTHON=$(PYTHON) MICRO=$(MICRO) RACE=$(RACE) TABLES=$(TABLES)'

bench: $(RUN) ## run SUITE in PROFILE on DEVICE, print the answers, and compare them with the published ones
	@$(BIN)/bench run $(SUITE) $(if $(PROFILE),--profile $(PROFILE)) --device $(DEVICE)
	@status=0; for suite in $(SUITE); do \
	  $(BIN)/bench compare $$suite $(if $(PROFILE),--profile $(PROFILE)) || status=1; done; exit $$status

report: $(RUN) ## write every report again from stored records, the published ones too, and the README's tables
	@$(BIN)/bench report --results results/published --embed README.md
	@if ls results/*/suite.json > /dev/null 2>&1; then $(BIN)/bench report; fi

test: $(DEV) ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m 'not long'

test-slow: $(DEV) ## run those that are too long for every change
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m long --durations 15

lint: $(DEV) ## check format, rules, types and import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

micro: $(DEV) ## measure the speed of the inner loops beside bare ones and others' libraries; TABLES/micro.md
	@mkdir -p build
	$(BIN)/pytest tests/micro --benchmark-only --benchmark-json build/micro.json $(MICRO)
	@$(BIN)/python tests/race/tables.py micro build/micro.json --into $(TABLES)

race: $(DEV) ## do quick's grid here, by hand and as tutorials do, in turn; TABLES/race.md
	@$(BIN)/python tests/race/tables.py race --into $(TABLES) $(RACE)

docs: $(DOCS) ## build the documentation into build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'open build/docs/index.html'

notebook: $(DEV) ## execute docs/own_data.ipynb anew
	rm -rf build/notebook && mkdir -p build/notebook
	$(BIN)/python -c "import nbclient, nbformat; file, where = 'docs/own_data.ipynb', {'metadata': {'path': 'build/notebook'}}; \
	  book = nbformat.read(file, 4); nbclient.NotebookClient(book, record_timing=False, resources=where).execute(); \
	  nbformat.write(book, file)"

clean: ## remove the virtual environment, the store and caches; generated results stay
	rm -rf .venv results/store .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	rm -rf build *.egg-info

# pip compiles every module, of tests too, on one core: most of an install's time. What is left out here, of which
# ours import hardly any, is compiled when it is imported.
UNUSED := tests?|testing|_inductor|onnx|physics|pip|setuptools|pygments|fontTools|_pytest|fsspec
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile
COMPILE := @$(BIN)/python -m compileall -qq -j 0 -x '/($(UNUSED))/' .venv/lib || true

$(RUN):
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -e .
	$(COMPILE)
	@rm -f .venv/installed-*
	@touch $@

$(DEV): $(RUN)
	$(PIP) -e '.[dev,peers,ray,slurm]'
	$(COMPILE)
	@touch $@

$(DOCS): $(RUN)
	$(PIP) -e '.[docs]'
	@touch $@
