# Every target makes the virtual environment that it needs; nothing else has
# to be installed than Python 3.11 or later, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Modules are compiled when they are first imported (--no-compile): most never
# are.
# Says that the environment has what these files ask for.
READY := $(VENV)/.ready
LINT := $(VENV)/.lint
DOCS := $(VENV)/.docs
BENCHMARK := $(VENV)/.benchmark
EXAMPLES := $(VENV)/.examples

# Tests of doc/examples; they need a package index.
.PHONY: test-examples

.PHONY: help test test-ci test-host test-host-full test-hostile test-kill test-capacity fuzz unit functional demo lint docs releasenotes benchmark clean

help:
	@echo 'make demo            the whole chain on a real OpenStack, on this machine'
	@echo 'make test            all tests: unit, then functional'
	@echo 'make test-host       tests on a real kernel, in virtual machines; needs root'
	@echo 'make test-host-full  the whole chain, from a file to a server that has the card'
	@echo 'make test-hostile    files, answers and terminals that mean harm, for some hours'
	@echo 'make test-kill       edits killed at every system call; needs strace'
	@echo 'make test-capacity   300 random flavors, forecast and booted'
	@echo 'make test-faults     faults of a cloud, planted and named; prints a table'
	@echo 'make test-cures      the first suggestion on each fault, applied; prints a table'
	@echo 'make test-projects   a file of 300 projects: requests, time, killed 50 times'
	@echo 'make test-explain    300 random requests, explained and booted on every host'
	@echo 'make test-leaks      random leaks, found, repaired and taken back'
	@echo 'make test-examples   the examples of the documentation: Ansible, pre-commit, CI'
	@echo 'make fuzz            a million random documents for the readers'
	@echo 'make test-differential  verdicts held against those of Nova, of a random seed'
	@echo 'make test-releases      the same of each release of Nova, by that Nova'
	@echo 'make test-rehearsal-releases  a cloud of each release of Nova; needs a package index'
	@echo 'make unit            unit tests only'
	@echo 'make functional      functional tests only, on an embedded cloud'
	@echo 'make lint            ruff and mypy'
	@echo 'make docs            the documentation, in doc/build/html'
	@echo 'make releasenotes    the release notes, in releasenotes/build/html'
	@echo 'make benchmark       what start-up and reads of large clouds cost, beside others'
	@echo 'make clean           delete the virtual environment and what was built'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python 3.11 or later is needed: make PYTHON=python3.11 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

$(READY): $(VENV)/bin/python setup.cfg requirements.txt test-requirements.txt
	$(BIN)/pip install --quiet --no-compile --editable '.[rehearsal]' --requirement test-requirements.txt
	@# What another build left here would hide the commands of this one.
	@rm -rf python_gpuclient.egg-info
	@touch $@

$(LINT): $(READY)
	$(BIN)/pip install --quiet --no-compile mypy ruff
	@touch $@

$(DOCS): $(READY) doc/requirements.txt
	$(BIN)/pip install --quiet --no-compile --requirement doc/requirements.txt
	@touch $@

$(BENCHMARK): $(READY) tests/benchmarks/requirements.txt
	$(BIN)/pip install --quiet --no-compile --requirement tests/benchmarks/requirements.txt
	@touch $@

$(EXAMPLES): $(READY)
	$(BIN)/pip install --quiet ansible-core pre-commit
	@touch $@

# What lint and docs need.
.PHONY: environment
environment: $(LINT) $(DOCS)

test: $(READY)
	$(BIN)/python -m tests.run

# Those, a minute of attacks, and what a few boots of a real kernel show.
test-ci: $(READY)
	$(BIN)/python -m tests.run unit functional-fast hostile-brief host-fast

test-host: $(READY)
	$(BIN)/python -m tests.run host

test-host-full: $(READY)
	$(BIN)/python -m tests.host.run full

test-hostile: $(READY)
	$(BIN)/python -m tests.hostile

test-kill: $(READY)
	$(BIN)/python -m tests.kill.run

test-capacity: $(READY)
	$(BIN)/python -m tests.functional.random_capacity --count 300

.PHONY: test-faults
test-faults: $(READY)
	@rm -f build/faults.md
	FAULTS_TABLE=build/faults.md $(BIN)/python -m testtools.run tests.functional.test_faults; \
	    status=$$?; cat build/faults.md; exit $$status
.PHONY: test-cures
test-cures: $(READY)
	@rm -f build/cures.md
	CURES_TABLE=build/cures.md $(BIN)/python -m testtools.run tests.functional.test_cures; \
	    status=$$?; cat build/cures.md; exit $$status
.PHONY: test-projects
test-projects: $(READY)
	$(BIN)/python -m tests.functional.many_projects $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT))
.PHONY: test-explain
test-explain: $(READY)
	$(BIN)/python -m tests.functional.random_explain --count 300 $(if $(SEED),--seed $(SEED))

.PHONY: test-leaks
test-leaks: $(READY)
	$(BIN)/python -m tests.functional.random_leaks --count 30 $(if $(SEED),--seed $(SEED))
test-examples: $(EXAMPLES)
	$(BIN)/python -m tests.examples.run

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz --count 1000000

.PHONY: test-rehearsal-releases
test-rehearsal-releases: $(READY)
	$(BIN)/python -m testtools.run tests.functional.other_releases

.PHONY: test-differential
test-differential: $(READY)
	$(BIN)/python -m tests.unit.differential.run $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(COUNT),--count $(COUNT))

.PHONY: test-releases
test-releases: $(READY)
	$(BIN)/python -m tests.unit.differential.releases $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(foreach release,$(RELEASES),--release $(release))

unit: $(READY)
	$(BIN)/python -m tests.run unit

functional: $(READY)
	$(BIN)/python -m tests.run functional

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash doc/demo/demo.sh

lint: $(LINT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DOCS)
	$(BIN)/sphinx-build -W --keep-going -q -b html doc/source doc/build/html

releasenotes: $(DOCS)
	$(BIN)/sphinx-build -W --keep-going -q -b html releasenotes/source releasenotes/build/html

benchmark: $(BENCHMARK)
	$(BIN)/python -m tests.benchmarks.startup
	$(BIN)/python -m tests.benchmarks.placement.run
	$(BIN)/python -m tests.benchmarks.placement.gpu_check
	$(BIN)/python -m tests.benchmarks.placement.explain

clean:
	rm -rf $(VENV) .stestr .mypy_cache .ruff_cache .hypothesis doc/build releasenotes/build
