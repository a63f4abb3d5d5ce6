# One-word commands. Everything needed beyond Python 3.11, pip, make and git comes from requirements/.
PYTHON ?= python3.11
BIN := .venv/bin
PART ?=
PICTURES ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url
RUNTIME := pyproject.toml --extra server --extra embedded
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
SUPPLY := .venv/supply/bin
# The tests start some thousand processes: each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo up test test-slow test-browser test-bare test-prometheus coverage drill mutants check format generate bench audit sbom lock clean

demo: .venv/run
	$(BIN)/python -m synccash.local.demo

up: .venv/run
	$(BIN)/synccash up

test: .venv/dev
	$(PYTEST) -m "not slow"

# Every fault at every rail, fuzzed bodies for each call, the types of the toolkit's uses, a run of a bench.
test-slow: .venv/dev
	$(PYTEST) -m slow

# The console in Debian's Chromium: every page and action, with axe-core (tests/browser/axe). Says loudly where no
# Chromium is installed. PICTURES=folder keeps a picture of each page.
test-browser: .venv/dev
	SYNCCASH_TEST_BROWSER=1 SYNCCASH_PICTURES=$(PICTURES) $(BIN)/python -m pytest tests/browser

# The toolkit, the middleware and the client as `pip install synccash` alone gives them, the examples with their
# frameworks, and the suites of both packages after they were copied under another name.
test-bare: .venv/dev
	$(BIN)/python tools/bare_install.py

# Alert rules and dashboards with Debian's Prometheus, which it installs as root: a rail breaks, and an alert fires.
test-prometheus: .venv/dev
	cd tests && PYTHONPATH=. ../$(BIN)/python -m monitoring.run_prometheus

# Which lines and branches the tests run, in all their processes too; those that are killed leave no record.
# PART=tests/client runs only these tests. The report is also in htmlcov/index.html.
coverage: .venv/dev
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PART); code=$$?; \
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
	$(BIN)/python tools/metrics_page.py

bench: .venv/bench
	$(BIN)/python -m bench $(PART)

# Known vulnerabilities of everything that runs. Asks PyPI, so it needs the internet; a package that could not
# be looked up fails it.
audit: .venv/supply/done
	$(SUPPLY)/pip-audit --strict --disable-pip --require-hashes -r requirements/run.txt

# A CycloneDX list of everything that runs, with versions, licences and what needs what: sbom.json. It reads an
# environment that holds the run lock alone.
sbom: .venv/supply/done
	$(PYTHON) -m venv --clear --without-pip .venv/runtime
	$(SUPPLY)/python -m pip --python .venv/runtime install --quiet --disable-pip-version-check \
		--require-hashes --no-deps -r requirements/run.txt
	$(SUPPLY)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file sbom.json .venv/runtime/bin/python
	$(BIN)/python tools/check_sbom.py sbom.json requirements/run.txt

# For a developer who changes dependencies; needs uv, which nobody else does.
lock:
	$(COMPILE) $(RUNTIME) -o requirements/run.txt
	$(COMPILE) --group build -c requirements/run.txt -o requirements/build.txt
	$(COMPILE) $(RUNTIME) --group dev -c requirements/run.txt -c requirements/build.txt -o requirements/dev.txt
	$(COMPILE) $(RUNTIME) --group peers -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) --group supply -o requirements/supply.txt

clean:
	rm -rf .venv .synccash

.venv/python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/run: .venv/python requirements/run.txt requirements/build.txt pyproject.toml
	$(PIP) --require-hashes --no-deps -r requirements/run.txt
	$(PIP) --require-hashes --no-deps -r requirements/build.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/dev: .venv/run requirements/dev.txt
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	touch $@

.venv/supply/done: .venv/python requirements/supply.txt
	$(PYTHON) -m venv .venv/supply
	$(SUPPLY)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements/supply.txt
	touch $@

.venv/bench: .venv/dev requirements/bench.txt
	$(PIP) --require-hashes --no-deps -r requirements/bench.txt
	touch $@
