# One-word commands. Everything needed beyond Python 3.11 to 3.13, pip, make and git comes from requirements/.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$name; break; }; done)
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

.DEFAULT_GOAL := demo
.PHONY: help demo up test test-slow test-browser test-bare test-pythons test-prometheus test-rolling test-standby failover \
	coverage drill mutants check format generate docs screenshots bench audit sbom lock clean

# Lists the commands: the lines of this file with two number signs.
help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-15s %s\n' "$$name" "$$text"; done

demo: .venv/run ## everything on this machine: payments, outages, and that nothing is lost or doubled
	$(BIN)/synccash demo

up: .venv/run ## the service on this machine, with simulated rails, until Ctrl-C
	$(BIN)/synccash up

test: .venv/dev ## the test suite on real PostgreSQL and Valkey, without the slow tests
	$(PYTEST) -m "not slow"

# Every fault at every rail, fuzzed bodies for each call, commands in processes of their own, types, a bench.
# The faults first and alone: beside heavy tests, a send of theirs that should be answered takes longer than its
# deadline, is in doubt for good, and goes under review, as it should.
test-slow: .venv/dev ## the slow tests
	$(PYTEST) -m slow tests/matrix
	$(PYTEST) -m slow --ignore tests/matrix

# The console in Debian's Chromium: every page and action, with axe-core (tests/browser/axe). Says loudly where no
# Chromium is installed. PICTURES=folder keeps a picture of each page.
test-browser: .venv/dev ## the console in Chromium
	SYNCCASH_TEST_BROWSER=1 SYNCCASH_PICTURES=$(PICTURES) $(BIN)/python -m pytest tests/browser

# They show an outage: look at them before you commit them.
screenshots: .venv/dev ## the pictures of README and docs, with Chromium
	SYNCCASH_TEST_BROWSER=1 SYNCCASH_SCREENSHOTS=docs/images $(BIN)/python -m pytest tests/browser/test_screenshots.py

# The toolkit, the middleware and the client as `pip install synccash` alone gives them, the examples with their
# frameworks, and the suites of both packages after they were copied under another name.
test-bare: .venv/dev ## the toolkit as `pip install synccash` alone gives it
	$(BIN)/python tools/bare_install.py

# The suites of the toolkit and the middleware under other versions of Python, which have to be installed. Their
# test tools are downloaded once, into build/pythons. An interpreter that is missing fails it, and is named.
PYTHONS ?= python3.12 python3.13 python3.14
test-pythons: .venv/dev ## the toolkit under other Python versions; PYTHONS="python3.13 /path/to/python3.14"
	$(BIN)/python tools/python_versions.py $(PYTHONS)

# Alert rules and dashboards with Debian's Prometheus, which it installs as root: a rail breaks, and an alert fires.
test-prometheus: .venv/dev ## alert rules and dashboards with Prometheus
	cd tests && PYTHONPATH=. ../$(BIN)/python -m monitoring.run_prometheus

# A rolling restart behind HAProxy, which is a program of its own (Debian: apt-get install haproxy).
test-rolling: .venv/dev ## a rolling restart behind HAProxy
	@PATH="$$PATH:/usr/sbin" command -v haproxy > /dev/null || \
		{ echo "MISSING: haproxy. Install it (Debian: apt-get install haproxy), then run make test-rolling."; exit 1; }
	$(BIN)/python -m pytest -s tests/failover/rolling_restart.py

# A PostgreSQL standby is promoted under load, once with synchronous and once with asynchronous replication.
test-standby: .venv/dev ## a standby of PostgreSQL is promoted
	$(BIN)/python -m pytest tests/failover/standby.py

# The same ten times each, with the table of docs/operating.md; about 15 minutes.
failover: .venv/dev ## twenty promotions, with a table
	cd tests && ../$(BIN)/python -m failover.promotions

# Which lines and branches the tests run, in all their processes too; those that are killed leave no record.
# PART=tests/client runs only these tests. The report is also in htmlcov/index.html.
coverage: .venv/dev ## which lines and branches the tests run
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder $(PART); code=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report; exit $$code

# Real processes under real trouble. In the first one a payment is debited twice on purpose, to try the audit.
DRILL := $(BIN)/synccash drill --faults
drill: .venv/run ## real processes under outages, audited
	$(DRILL) none --payments 1 --sabotage | grep "and the audit found it"
	$(DRILL) kill,pause,valkey --payments 200
	$(DRILL) rows --payments 200
	$(DRILL) records --payments 300
	$(DRILL) http_500 --payments 400

# The engine with one rule broken at a time: the simulation has to tell each from the right one.
mutants: .venv/dev ## broken engines that the simulation must find
	cd tests && ../$(BIN)/python -m sim.kill_mutants --jobs 2

check: .venv/dev ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/basedpyright -p bench
	$(BIN)/lint-imports
	$(BIN)/python tools/sync_client.py --check
	$(BIN)/python tools/check_migrations.py
	$(BIN)/yamllint --strict -c deploy/yamllint.yaml deploy
	$(BIN)/hadolint -c deploy/hadolint.yaml deploy/Dockerfile
	$(BIN)/kubernetes-validate --strict --quiet -k 1.33 $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/base/*.yaml))

format: .venv/dev ## write the format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What is generated and checked in; a test and `make check` compare.
generate: .venv/dev ## what is generated and checked in
	$(BIN)/python tools/sync_client.py
	$(BIN)/python tools/metrics_page.py

docs: .venv/docs ## the documents as a web site: build/site/index.html
	$(BIN)/python tools/site_sources.py build/site-sources
	$(BIN)/zensical build --clean --strict
	$(BIN)/python tools/check_site.py build/site

bench: .venv/bench ## benchmarks; PART=toolkit,limiter chooses
	$(BIN)/python -m bench $(PART)

# Known vulnerabilities of everything that runs. Asks PyPI, so it needs the internet; a package that could not
# be looked up fails it.
audit: .venv/supply/done ## known vulnerabilities of what runs
	$(SUPPLY)/pip-audit --strict --disable-pip --require-hashes -r requirements/run.txt

# A CycloneDX list of everything that runs, with versions, licences and what needs what: sbom.json. It reads an
# environment that holds the run lock alone.
sbom: .venv/supply/done ## a list of everything that runs, with licences
	$(PYTHON) -m venv --clear --without-pip .venv/runtime
	$(SUPPLY)/python -m pip --python .venv/runtime install --quiet --disable-pip-version-check \
		--require-hashes --no-deps -r requirements/run.txt
	$(SUPPLY)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file sbom.json .venv/runtime/bin/python
	$(BIN)/python tools/check_sbom.py sbom.json requirements/run.txt

# For a developer who changes dependencies; needs uv, which nobody else does.
lock: ## new lock files, after dependencies have changed
	$(COMPILE) $(RUNTIME) -o requirements/run.txt
	$(COMPILE) pyproject.toml --extra server --extra otel -c requirements/run.txt -o requirements/image.txt
	$(COMPILE) --group build -c requirements/run.txt -o requirements/build.txt
	$(COMPILE) $(RUNTIME) --group dev -c requirements/run.txt -c requirements/build.txt -o requirements/dev.txt
	$(COMPILE) $(RUNTIME) --group peers -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) --group docs -c requirements/dev.txt -o requirements/docs.txt
	$(COMPILE) --group supply -o requirements/supply.txt

clean: ## remove .venv and .synccash
	rm -rf .venv .synccash

.venv/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12 or 3.13 was not found on PATH. Install one (Debian and Ubuntu:" \
		"apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 demo" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) has no venv module. Debian and" \
		"Ubuntu: apt install $$(basename $(PYTHON))-venv" >&2; exit 1; }
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

.venv/docs: .venv/dev requirements/docs.txt
	$(PIP) --require-hashes --no-deps -r requirements/docs.txt
	touch $@

.venv/supply/done: .venv/python requirements/supply.txt
	$(PYTHON) -m venv .venv/supply
	$(SUPPLY)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements/supply.txt
	touch $@

.venv/bench: .venv/dev requirements/bench.txt
	$(PIP) --require-hashes --no-deps -r requirements/bench.txt
	touch $@
