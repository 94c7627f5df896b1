# Every target does its own set-up; `make` alone prints this list.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Local services that speak AWS's protocols live apart: they pin libraries of their own.
LOCAL_AWS := .venv-aws
# pyspark beside everything that is in .venv; large, so that only tests with Java have it.
SPARK := .venv-spark
SPARK_TESTS := $(if $(shell command -v java),$(SPARK)/.locked)
# So do the servers that `make bench ARGS=--comparison` compares with, each in an environment of its own.
COMPARISON_SERVERS := fastapi mlflow mlserver bentoml
COMPARISON_STAMPS := $(COMPARISON_SERVERS:%=.venv-comparison/%/.locked)

# The hot modules are listed in setup.py and nowhere else.  mypyc also takes types
# and constants from the modules they import, so a change there recompiles too.
HOT := $(wildcard $(shell sed -n 's|^ *"\(src/fraud_detection/.*\.py\)",$$|\1|p' setup.py))
BASE := $(filter-out $(HOT),$(wildcard src/fraud_detection/core/*.py src/fraud_detection/core/*/*.py))

# FRAUD_PURE=1 runs any target on plain Python.  Each way has its own stamp, and removes the other's.
FRAUD_PURE ?= 0
ifeq ($(FRAUD_PURE),1)
BUILT := $(VENV)/.pure
else
BUILT := $(VENV)/.compiled
endif
export FRAUD_PURE

# A file's tests stay together, since they share what its fixtures start; the heavy files come first as they are named.
# One process more than cores: tests that wait for a process of theirs leave a core idle.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(1 + (os.cpu_count() or 1))')
PARALLEL = --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

# The environment of the local services is made while modules compile.
MAKEFLAGS += --jobs=2

# Two runs of make in one tree take turns where `flock` exists.
TURN := $(shell command -v flock >/dev/null 2>&1 && echo flock $(VENV)/.turn)
FORGET_COMPILED = find src \( -name '*.so' -o -name '*.pyd' \) -delete; rm -f $(VENV)/.compiled $(VENV)/.pure

# Bytecode is made on all cores, which pip does not do, and not of the libraries' own tests.
QUIETLY := --quiet --disable-pip-version-check --no-compile
BYTECODE := -m compileall -qq -j 0 -x '/tests?/'

# Not `--quiet`: it hides warnings from `--strict`, too.
DOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

LOCK = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header --no-config $(UPGRADE)

# All but `spark`, which has a lock of its own.
EXTRAS := aws dvc track tune docs dev

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo aws-demo test test-long check format cover bench bench-stream docs comparison-servers parity reproduce mlflow lock lock-comparison \
	pure clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  ARGS='...' is passed on (make test ARGS='-k window'); JOBS=1 tests one after another;"
	@echo "  PYTHON=python3.12 picks the Python; FRAUD_PURE=1 runs without compiled modules."

setup: $(BUILT) ## Make .venv from the lock, install the project, compile its hot modules

demo: $(BUILT) ## Run the whole system on a small simulation
	$(BIN)/fraud demo $(ARGS)

aws-demo: $(BUILT) $(LOCAL_AWS)/.locked ## The same on local AWS services: deployed, streamed, removed
	$(BIN)/python -m tools.aws_demo $(ARGS)

test: $(BUILT) $(LOCAL_AWS)/.locked $(SPARK_TESTS) ## Run the tests and the examples in docstrings
	$(BIN)/pytest -m 'not long' $(PARALLEL) $(ARGS)

test-long: $(BUILT) $(LOCAL_AWS)/.locked $(SPARK_TESTS) ## Run what is too long for `make test`, and its properties on random examples
	HYPOTHESIS_PROFILE=random $(BIN)/pytest -m 'long or hypothesis' $(PARALLEL) $(ARGS)

check: $(BUILT) ## Lint, formatting, types, import contracts; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint tests/unit/deployment/golden/template.json
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/pre-commit validate-config
	$(DOCS)
	$(BIN)/zizmor --quiet --offline --persona=pedantic .github/workflows

format: $(BUILT) ## Format the code and apply safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

cover: ## Measure test coverage (on plain Python: compiled code cannot be traced)
	FRAUD_PURE=1 $(MAKE) --no-print-directory setup
	$(BIN)/pytest --cov --cov-report=term-missing:skip-covered $(ARGS)

bench: $(BUILT) $(if $(filter --comparison,$(ARGS)),$(COMPARISON_STAMPS)) ## Measure speed, latency and memory (ARGS='--comparison --write')
	$(BIN)/python -m benchmarks $(ARGS)

bench-stream: $(BUILT) $(LOCAL_AWS)/.locked ## Measure the Lambda function on local AWS services
	$(BIN)/python -m benchmarks.bench_stream $(ARGS)

comparison-servers: $(COMPARISON_STAMPS) ## Make the environments of the servers that `make bench ARGS=--comparison` compares with

parity: $(BUILT) ## Prove that served and replayed features are bit-identical
	$(BIN)/fraud parity $(ARGS)

reproduce: $(BUILT) ## Remake every result from the seed (dvc repro)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro $(ARGS)
	# Once more by itself: its figures are committed, so it is skipped on a clone, and nothing would be compared.
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro --single-item --force evaluate
	git diff --exit-code -- evaluation/metrics.json  # the committed figures, or this fails

docs: $(BUILT) ## Build the docs site into build/site, which a browser reads without a network
	$(DOCS)

mlflow: $(BUILT) ## Open the MLflow pages on the local runs
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db $(ARGS)

lock: $(VENV)/.locked ## Remake requirements/*.lock (UPGRADE=--upgrade takes newer versions)
	$(LOCK) $(EXTRAS:%=--extra %) --output-file requirements/all.lock
	for part in engine container build spark; do \
		$(LOCK:pyproject.toml=requirements/$$part.in) --constraints requirements/all.lock \
			--output-file requirements/$$part.lock || exit 1; \
	done
	$(LOCK:pyproject.toml=requirements/local-aws.in) --output-file requirements/local-aws.lock
	$(MAKE) --no-print-directory lock-comparison

# Every comparison server has the XGBoost that serves here, under either name: the same model by the same library.
lock-comparison: $(VENV)/.locked
	@mkdir -p build
	sed -n 's/^xgboost-cpu\(==.*\) \\$$/xgboost-cpu\1\nxgboost\1/p' requirements/all.lock >build/comparison-constraints.txt
	for server in $(COMPARISON_SERVERS); do \
		$(LOCK:pyproject.toml=requirements/comparison-$$server.in) --constraints build/comparison-constraints.txt \
			--override requirements/comparison-overrides.in --output-file requirements/comparison-$$server.lock || exit 1; \
	done

pure: ## Remove compiled modules
	@$(FORGET_COMPILED)

clean: pure ## Remove .venv and everything that was built
	rm -rf $(VENV) $(LOCAL_AWS) $(SPARK) .venv-comparison build dist htmlcov .coverage src/*.egg-info .pytest_cache .mypy_cache \
		.ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- how the environment is made ---------------------------------------------

$(VENV)/.locked: requirements/all.lock
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "'$(PYTHON)' was not found: install Python 3.11 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "This project needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1)." \
			"Name a newer one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "'$(PYTHON)' cannot make virtual environments: install its venv module" \
			"(Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(QUIETLY) --require-hashes --no-deps -r requirements/all.lock
	-@$(BIN)/python $(BYTECODE) $(VENV)/lib
	@rm -rf .mypy_cache  # of the libraries of before, over which mypy ends with an error of its own
	@touch $@

$(LOCAL_AWS)/.locked: requirements/local-aws.lock $(VENV)/.locked
	$(PYTHON) -m venv $(LOCAL_AWS)
	$(LOCAL_AWS)/bin/python -m pip install $(QUIETLY) --require-hashes --no-deps -r $<
	-@$(LOCAL_AWS)/bin/python $(BYTECODE) $(LOCAL_AWS)/lib
	@touch $@

# It adds pyspark to what .venv has.  There is no wheel of pyspark: setuptools of .venv makes it.
$(SPARK)/.locked: requirements/spark.lock $(VENV)/.locked
	$(PYTHON) -m venv --clear $(SPARK)
	echo 'import site, sys; site.addsitedir("$(CURDIR)/$(VENV)/lib/python%d.%d/site-packages" % sys.version_info[:2])' \
		>"$$($(SPARK)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/project.pth"
	$(SPARK)/bin/python -m pip install $(QUIETLY) --require-hashes --no-deps --no-build-isolation -r $<
	@touch $@

# Made whole or not at all: pip removes nothing that an older lock had.
.venv-comparison/%/.locked: requirements/comparison-%.lock | $(VENV)/.locked
	$(PYTHON) -m venv --clear .venv-comparison/$*
	.venv-comparison/$*/bin/python -m pip install $(QUIETLY) --require-hashes --no-deps -r $<
	-@.venv-comparison/$*/bin/python $(BYTECODE) .venv-comparison/$*/lib
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	FRAUD_PURE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation --no-index --editable .
	@rm -f $(VENV)/.compiled $(VENV)/.pure
	@touch $@

# The stamp carries the time at which compiling began: an edit made meanwhile compiles again.
$(VENV)/.compiled: $(VENV)/.installed setup.py $(HOT) $(BASE)
	@rm -f $(VENV)/.pure; touch $@.begun
	@$(TURN) $(BIN)/python setup.py --quiet build_ext --inplace --force
	@mv $@.begun $@

$(VENV)/.pure: $(VENV)/.installed
	@$(FORGET_COMPILED); touch $@
