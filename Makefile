# Python 3.11 or newer; the first that is found.
PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PYTEST_ARGS ?=
# --rows=20000 --kills=10 is a short one.
CHAOS_ARGS ?=
# --data=128 --runs=3 is a short one; --help tells the others.
BENCH_ARGS ?=
# Where the wheel goes.
DIST ?= dist
# --upgrade takes the newest versions, --upgrade-package NAME that of one package.
LOCK_ARGS ?=

.DEFAULT_GOAL := help
SHELL := /bin/bash

needed := Kitelift needs Python 3.11 or newer: install one, or name it by make PYTHON=path
python = $(or $(PYTHON),$(error $(needed)))
venv := .venv/bin
pip := $(venv)/python -m pip install --quiet --disable-pip-version-check
# Two at a time, as tests wait for servers half of their time; those of a file share its servers.
at_once := -n 2 --dist loadfile --no-loadscope-reorder --durations=12
sources := kitelift.py pipeline transforms templates tests benchmarks setup.py
# Two runs of make in one folder take turns to fill .venv, where there is a flock.
turn := $(if $(shell command -v flock),flock .venv.lock)

##@ Use

.PHONY: demo
demo: venv ## Move three collections between two real Milvus servers and show the proof
	$(venv)/python -m tests.demo

.PHONY: cluster-flink
cluster-flink: venv ## The demo on a real Flink cluster, put together from packages (Java 17, Maven)
	$(venv)/python -m tests.cluster.demo flink

.PHONY: cluster-spark
cluster-spark: venv ## The demo on a real Spark cluster, put together from packages (Java 17, Maven)
	$(venv)/python -m tests.cluster.demo spark

##@ Develop

.PHONY: test
test: venv ## Run all tests; PYTEST_ARGS="-k codec" runs some
	$(venv)/python -m pytest $(at_once) $(PYTEST_ARGS)
	$(if $(PYTEST_ARGS),,$(MAKE) --no-print-directory lint)

.PHONY: check
check: lint ## Lint, check types, run the quick tests that need no server; under a minute
	$(venv)/python -m pytest -q $(at_once) -m "not milvus and not slow" pipeline transforms tests/test_architecture.py tests/unit tests/dataflow $(PYTEST_ARGS)

.PHONY: lint
lint: venv ## Check format, lint rules and types
	$(venv)/python -m ruff format --check $(sources)
	$(venv)/python -m ruff check $(sources)
	$(venv)/python -m mypy

.PHONY: format
format: venv ## Format the code, and correct what the linter can
	$(venv)/python -m ruff check --fix $(sources)
	$(venv)/python -m ruff format $(sources)

.PHONY: contract
contract: venv ## Run the contract tests against every kind of server
	$(venv)/python -m pytest tests/contract $(PYTEST_ARGS)

.PHONY: test-cluster
test-cluster: venv ## Run the tests on real Flink and Spark clusters (Java 17, Maven)
	$(venv)/python -m pytest tests/cluster $(PYTEST_ARGS)

.PHONY: chaos
chaos: venv ## Kill, spoil and compare at length, and write the figures into docs/reliability.md
	$(venv)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: bench
bench: venv ## Measure beside a plain script and the floor, and write the figures into docs/performance.md
	$(venv)/python -m benchmarks $(BENCH_ARGS)

.PHONY: golden
golden: venv ## Rewrite the files under tests/golden; look at the difference before you commit
	$(venv)/python -m pytest -q -m golden --write-golden $(PYTEST_ARGS)

.PHONY: docs
docs: venv ## Rewrite the parts of docs that are made from the code
	$(venv)/python -m tests.docs

##@ Release

.PHONY: lock
lock: ## Resolve the requirements of setup.py into requirements*.txt
	$(python) -m venv build/lock
	build/lock/bin/python -m pip install --quiet uv
	$(call compile,requirements.txt)
	$(call compile,requirements-test.txt --extra test --constraint requirements.txt)
	test -f requirements-gcp.txt || cp requirements.txt requirements-gcp.txt
	$(call compile,requirements-gcp.txt --extra gcp)

# For all platforms and Pythons at once, without the addresses of the registries it was made from.
compile = build/lock/bin/uv pip compile setup.py --quiet --output-file $(1) $(LOCK_ARGS) \
	--universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

# What is built of the same commit is the same, byte for byte.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)

.PHONY: wheel
wheel: venv ## Build wheel and sdist, and try the wheel in an environment of its own
	rm -rf build/lib build/wheel $(DIST)
	$(venv)/python -m build --no-isolation --outdir $(DIST)
	$(python) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --require-hashes -r requirements.txt
	build/wheel/bin/python -m pip install --quiet --no-deps $(DIST)/*.whl
	build/wheel/bin/python -m pip check
	cd build/wheel && bin/kitelift --help && bin/python -m pipeline --help >/dev/null

.PHONY: sbom
sbom: wheel ## Write what the wheel needs, with versions and licences, as CycloneDX
	$(python) -m venv build/sbom
	build/sbom/bin/python -m pip install --quiet cyclonedx-bom
	build/sbom/bin/cyclonedx-py environment build/wheel/bin/python --output-reproducible \
		--output-format JSON --output-file $(DIST)/kitelift.cdx.json

.PHONY: template
template: ## Test the Flex Template with Google's libraries; where Docker is, build the images
	$(python) -m venv build/gcp
	build/gcp/bin/python -m pip install --quiet --require-hashes -r requirements-gcp.txt
	build/gcp/bin/python -m pip install --quiet hypothesis pytest pytest-timeout
	build/gcp/bin/python -m pytest -q -rs tests/dataflow/test_flex.py
	if docker version >/dev/null 2>&1; then docker build -f templates/Dockerfile --target kitelift .; \
		else echo "No Docker answers here: the image was not built."; fi

##@ Housekeeping

.PHONY: venv
venv: ## Make .venv as requirements-test.txt says; other targets do it when it is out of date
	@$(turn) $(MAKE) --no-print-directory --silent _venv

# A .venv without its Python, or of a folder that has been moved, is made again.
.PHONY: _venv
_venv:
	$(venv)/python -c "" 2>/dev/null || rm -f .venv/filled
	[ "$$(cat .venv/ready 2>/dev/null)" = "$(CURDIR)" ] || rm -f .venv/ready
	$(MAKE) --no-print-directory .venv/ready

# The last step of each recipe marks it as done: one that was interrupted is done again.
.venv/filled: requirements-test.txt
	$(python) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "$(needed)")'
	echo "Installing the requirements into .venv, once: this takes a minute or two"
	$(python) -m venv --clear .venv
	$(pip) --require-hashes -r $<
	touch $@

.venv/ready: .venv/filled setup.py
	PYTHONWARNINGS=ignore $(pip) --no-deps --no-build-isolation --editable .
	echo "$(CURDIR)" > $@

.PHONY: clean
clean: ## Remove what was built and cached; .venv stays
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find $(sources) -name __pycache__ -prune -exec rm -rf {} +

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
