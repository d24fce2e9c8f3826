# Two commands do all the set-up: `make demo` and `make test`. Both create .venv when it is absent.
PYTHON ?= python3
BIN := .venv/bin
# OpenMP threads that spin long while they wait make a machine that others use too many times slower.
export GOMP_SPINCOUNT ?= 10000

.PHONY: demo test check docs format install clean
demo: .venv/.installed            ## synthetic dump -> Arrow dataset -> five trained recommenders -> one table
	$(BIN)/python benchmarks/demo.py --output demo

# A file of tests is one process's, of which there are as many as cores, up to four; each computes with one thread.
test: check                       ## what CI runs: lint, types, import contract, tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed            ## guides and reference as pages: build/docs/index.html
	$(BIN)/sphinx-build -W -b html docs build/docs

format: .venv/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:                            ## removes what the commands above wrote, the environment included
	rm -rf .venv demo build dist *.egg-info
