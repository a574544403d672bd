# Two commands for a newcomer: `make demo` and `make test`. Each makes its own virtual environment in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
READY := $(if $(OPENOOD_SOURCE),$(VENV)/.openood,$(STAMP))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-kafka coverage chaos check lint types layers docs site release-check clean lock audit sbom mutants

help:
	@echo "make demo        LINe and its baselines on images that packages ship, then the monitor on a surge of them"
	@echo "make test        run the quick tests (a few minutes)"
	@echo "make test-all    run all tests but those that need Apache Kafka (a quarter of an hour)"
	@echo "make test-kafka  the monitor against genuine Apache Kafka (needs Java 17 and Maven)"
	@echo "make chaos       break Kafka, Redis, Alertmanager, workers and senders one at a time, and see who is told"
	@echo "make check       lint, types, layers and the quick tests"
	@echo "make coverage    which lines and branches the quick tests run (ALL=1: all tests); the report is coverage/index.html"
	@echo "make docs        write docs/metrics.md, docs/reference/settings.md and the generated part of docs/runbook.md anew"
	@echo "make release-check  build wheel and sdist, and use both where nothing else is installed (needs 5 GB and minutes)"
	@echo "make site        build the documentation as a web site into site/; a dead link or a warning is an error"
	@echo "make lock        write docker/requirements.lock: the versions that the images install, and their hashes"
	@echo "make audit       hold what the images and this environment install against known vulnerabilities"
	@echo "make sbom        what the images install as a CycloneDX document, build/sbom.json"
	@echo "make mutants     change the mathematics in many small ways, and see whether a test notices (an hour or more)"
	@echo "make clean       remove the virtual environment and results"
	@echo "OPENOOD_SOURCE=FOLDER make test   also run the tests against upstream OpenOOD"

$(STAMP): pyproject.toml Makefile
	@echo "Installing into $(VENV) (about 5 GB with PyTorch; a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet --editable '.[all,ray,docs,dev]'
	@touch $@

# OpenOOD is on no index: its tests run where a copy of its source is named.
$(VENV)/.openood: $(STAMP)
	@echo "Installing OpenOOD from $(OPENOOD_SOURCE) ..."
	@$(PIP) install --quiet --editable '.[upstream]' faiss-cpu
	@$(PIP) install --quiet --no-deps "$(OPENOOD_SOURCE)"
	@touch $@

demo: $(STAMP)
	@$(BIN)/openood quickstart --output-dir quickstart
	@printf '\n6. The monitor: its embeddings through Kafka, a surge of OOD, one alert in Redis\n'
	@$(BIN)/ood-monitor demo --folder quickstart

# Most of the time tests wait for processes, so two run at once; the tests of one file stay together. What takes long is
# marked `slow`, and CI runs it.
JOBS ?= 2
# A thread a process: threads of two processes that wait for each other on two cores take more time than they save.
TESTS := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile --no-loadscope-reorder
test: $(READY)
	@$(TESTS) -m "not slow"

test-all: $(READY)
	@$(TESTS)

# Each process reports what it ran, workers that tests start too; the parts are then put together. ALL=1 runs all tests.
coverage: $(READY)
	@$(TESTS) $(if $(ALL),,-m "not slow") --cov --cov-report=term:skip-covered --cov-report=html:coverage \
		--cov-report=json:coverage/coverage.json

# OOD_MONITOR_KILLS is how often a worker is killed while it counts. Each file starts servers of its own, with folders and ports of
# their own. Chaos measures how soon people are told, and the contract of sources keeps members of a group alive from one thread,
# so nothing runs beside them.
APACHE := OOD_MONITOR_APACHE_KAFKA=1 OOD_MONITOR_KILLS=$${OOD_MONITOR_KILLS:-8} $(BIN)/python -m pytest -q
test-kafka: $(READY)
	@$(APACHE) -n $(JOBS) --dist loadfile --no-loadscope-reorder tests/kafka
	@$(APACHE) tests/contract/test_source.py tests/chaos

# CHAOS="--long", "--only zombie poison", "--delays 10": `python -m tests.chaos --help` says more.
chaos: $(READY)
	@$(BIN)/python -m tests.chaos $(CHAOS)

lint: $(READY)
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && echo "lint: clean"

types: $(READY)
	@$(BIN)/mypy

layers: $(READY)
	@$(BIN)/lint-imports | tail -n 7

check: lint types layers test

release-check:
	@bash .ci/release-check

docs: $(READY)
	@$(BIN)/python -m monitor.service.catalogue docs

site: $(READY)
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -d $(VENV)/.doctrees docs site && echo "site: site/index.html"

$(VENV)/.audit: $(READY)
	@$(PIP) install --quiet --editable '.[audit]'
	@touch $@

LOCK := docker/requirements.lock
lock: $(VENV)/.audit
	@$(BIN)/python docker/requirements.py monitor formats | \
	  $(BIN)/uv pip compile - --quiet --universal --python-version 3.12 --generate-hashes --upgrade \
	  --no-header --no-emit-index-url --no-emit-find-links --output-file $(LOCK)

# Both must be complete: --strict ends with an error if a dependency could not be looked up.
audit: $(VENV)/.audit
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes --requirement $(LOCK)
	@$(BIN)/pip-audit --strict --local --skip-editable

sbom: $(VENV)/.audit
	@mkdir -p build
	@$(BIN)/cyclonedx-py requirements $(LOCK) --pyproject pyproject.toml --output-reproducible --of JSON -o build/sbom.json
	@echo "build/sbom.json"

$(VENV)/.mutants: $(READY)
	@$(PIP) install --quiet --editable '.[mutants]'
	@touch $@

# MUTANTS="monitor.math.*", MUTANTS="--sample 300 monitor.counting.*": docs/mutants.md says more.
mutants: $(VENV)/.mutants
	@$(BIN)/python -m tests.mutants $(MUTANTS)

clean:
	rm -rf $(VENV) quickstart results coverage dist site mutants
