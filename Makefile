# `make demo` and `make test` create .venv first if it does not exist.
PYTHON ?= python3
BIN := .venv/bin
# Waiting OpenMP threads spin. A short spin keeps a shared machine fast.
export GOMP_SPINCOUNT ?= 10000
# Hundreds of processes of the tests import this tree: they read it compiled, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check docs format install pins clean
demo: .venv/.installed            ## synthetic dump -> Arrow dataset -> seven recommenders -> one table
	$(BIN)/python benchmarks/demo.py --output demo

# One process per core and one more, because tests also wait (for clusters, browsers, killed processes); at most four, each
# with one thread. The tests of a file run in one process.
TESTERS = $(shell $(BIN)/python -c 'import os; print(min(len(os.sched_getaffinity(0)) + 1, 4))')
test: check                       ## what CI runs: lint, types, import contracts, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed            ## builds guides and reference: build/docs/index.html
	$(BIN)/sphinx-build -W -b html docs build/docs

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: .venv/.installed

# pip compiles on one core, for minutes; compileall uses all. Packages have files for other Pythons, which do not compile.
.venv/.installed: pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --no-compile --require-hashes --requirement requirements.txt
	$(BIN)/python -m pip install --no-compile --no-build-isolation --no-deps --editable .
	$(BIN)/python -W ignore -m compileall -qq -j 0 -x /tests/ .venv/lib || true
	touch $@

pins:                             ## after a change of dependencies; `make pins UPGRADE=--upgrade` takes the newest versions. Needs uv
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes --no-annotate $(UPGRADE) --output-file requirements.txt pyproject.toml

clean:                            ## removes everything that these commands wrote, and .venv
	rm -rf .venv demo build dist *.egg-info
