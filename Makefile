# One-word commands. Everything needed beyond Python 3.11, pip, make and git comes from requirements/.
PYTHON ?= python3.11
BIN := .venv/bin
PART ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url pyproject.toml --extra server --extra embedded

.PHONY: demo up test coverage drill mutants check format generate bench lock clean

demo: .venv/run
	$(BIN)/python -m synccash.local.demo

up: .venv/run
	$(BIN)/synccash up

test: .venv/dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Which lines and branches the tests run, in all their processes too; those that are killed leave no record.
# PART=tests/client runs only these tests. The report is also in htmlcov/index.html.
coverage: .venv/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PART); code=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report; exit $$code

# Real processes under real trouble. In the first one a payment is debited twice on purpose, to try the audit.
DRILL := $(BIN)/synccash drill --faults
drill: .venv/run
	$(DRILL) none --payments 1 --sabotage | grep "and the audit found it"
	$(DRILL) kill,pause,valkey --payments 200
	$(DRILL) rows --payments 200
	$(DRILL) records --payments 300
	$(DRILL) http_500 --payments 400

# The engine with one rule broken at a time: the simulation has to tell each from the right one.
mutants: .venv/dev
	cd tests && ../$(BIN)/python -m sim.kill_mutants --jobs 2

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/basedpyright -p bench
	$(BIN)/lint-imports
	$(BIN)/python tools/sync_client.py --check

format: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is generated and checked in; a test and `make check` compare.
generate: .venv/dev
	$(BIN)/python tools/sync_client.py

bench: .venv/bench
	$(BIN)/python -m bench $(PART)

# For a developer who changes dependencies; needs uv, which nobody else does.
lock:
	$(COMPILE) --group build -o requirements/run.txt
	$(COMPILE) --group dev -c requirements/run.txt -o requirements/dev.txt
	$(COMPILE) --group peers -c requirements/dev.txt -o requirements/bench.txt

clean:
	rm -rf .venv .synccash

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python requirements/run.txt pyproject.toml
	$(PIP) --require-hashes --no-deps -r requirements/run.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/dev: .venv/run requirements/dev.txt
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	touch $@

.venv/bench: .venv/dev requirements/bench.txt
	$(PIP) --require-hashes --no-deps -r requirements/bench.txt
	touch $@
