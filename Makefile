# The commands of this project. `make` alone lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
STAMP := $(VENV)/.installed
.DEFAULT_GOAL := help

.PHONY: help demo test test-fast test-deps check format screenshots bench chaos openapi hapi

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(STAMP): pyproject.toml constraints.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[sandbox,postgres,tracing,test]' >&2
	@touch $@

demo: $(STAMP) ## Run the main job on the sandbox and keep serving it (ARGS="--once --json" passes arguments on)
	@$(BIN)/fhir-aftercare demo $(ARGS)

test: $(STAMP) ## Every test, the real HAPI FHIR server included
	@$(BIN)/python -m pytest $(ARGS)

test-fast: $(STAMP) ## The tests that need Python alone
	@$(BIN)/python -m pytest -m "not hapi and not postgres and not node and not keycloak and not browser" $(ARGS)

test-deps: ## Install what the tests need beyond Python (Debian packages)
	@./deploy/test-deps.sh

check: $(STAMP) ## Lint, types, import contracts
	@$(BIN)/ruff check src tests
	@$(BIN)/ruff format --check src tests
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## Format the sources
	@$(BIN)/ruff format src tests
	@$(BIN)/ruff check --fix src tests

screenshots: $(STAMP) ## A picture of every page in every state, into screenshots/
	@PYTHONPATH=tests $(BIN)/python -m browser.screenshots

bench: $(STAMP) ## What our work costs, as ratios, on a real HAPI FHIR server
	@PYTHONPATH=tests $(BIN)/python -m bench.run

chaos: $(STAMP) ## Exactly one plan for each discharge, whatever is killed (ARGS="--database postgresql --encounters 20")
	@PYTHONPATH=tests $(BIN)/python -m chaos.run $(ARGS)

openapi: $(STAMP) ## Write openapi/openapi.yaml from the application (ARGS=--check compares)
	@$(BIN)/fhir-aftercare openapi $(ARGS)

hapi: ## Build and run the real HAPI FHIR server on http://127.0.0.1:8080/fhir
	@./deploy/hapi/run.sh
