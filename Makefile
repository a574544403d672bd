# Two commands for a newcomer: `make demo` and `make test`. Each makes its own virtual environment in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
READY := $(if $(OPENOOD_SOURCE),$(VENV)/.openood,$(STAMP))

.DEFAULT_GOAL := help
.PHONY: help demo test test-kafka chaos check lint types layers docs site clean

help:
	@echo "make demo        LINe and its baselines on images that packages ship, then the monitor on a surge of them"
	@echo "make test        run the tests"
	@echo "make test-kafka  the monitor against genuine Apache Kafka (needs Java 17 and Maven)"
	@echo "make chaos       break Kafka, Redis, Alertmanager, workers and senders one at a time, and see who is told"
	@echo "make check       lint, types, layers and tests"
	@echo "make docs        write docs/metrics.md and the generated part of docs/runbook.md anew"
	@echo "make site        build the documentation as a web site into site/; a dead link or a warning is an error"
	@echo "make clean       remove the virtual environment and results"
	@echo "OPENOOD_SOURCE=FOLDER make test   also run the tests against upstream OpenOOD"

$(STAMP): pyproject.toml Makefile
	@echo "Installing into $(VENV) (about 5 GB with PyTorch; a few minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed, this is " + sys.version.split()[0])'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --upgrade pip
	@$(PIP) install --quiet --editable '.[quickstart,monitor,confluent,formats,local,export,timm,transformers,ray,docs,dev]'
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

# Most of the time tests wait for processes, so two run at once; the tests of one file stay together.
JOBS ?= 2
test: $(READY)
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

# OOD_MONITOR_KILLS is how often a worker is killed while it counts.
test-kafka: $(READY)
	@OOD_MONITOR_APACHE_KAFKA=1 OOD_MONITOR_KILLS=$${OOD_MONITOR_KILLS:-8} \
	  $(BIN)/python -m pytest -q tests/kafka tests/chaos tests/contract/test_source.py

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

docs: $(READY)
	@$(BIN)/python -m monitor.service.catalogue docs

site: $(READY)
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html -d $(VENV)/.doctrees docs site && echo "site: site/index.html"

clean:
	rm -rf $(VENV) quickstart results site
