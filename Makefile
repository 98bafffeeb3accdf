# `make run` and `make test` install what they need into .venv by themselves.
# PYTHON=3.x picks another interpreter; VENV=dir another environment.

VENV ?= .venv
OUTPUT ?= output
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run test check lint style images schema lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Install the newest stack that this machine can run

$(VENV)/.installed: requirements.lock setup.py .ci/install
	@.ci/install "$(VENV)" "$(PYTHON)"
	@touch $@

run: install  ## Run the pipeline on the embedded sample (or DATA=...) and print recommendations
	@$(VENV)/bin/matinee run $(if $(DATA),--data "$(DATA)") --output "$(OUTPUT)"
	@$(VENV)/bin/matinee recommend --rate "1:5,2:4.5,3:1" --serving-dir "$(OUTPUT)/serving"

# Two workers, which share the groups of tests/conftest.py, whatever the machine has.
PYTEST = $(VENV)/bin/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test: install  ## Run all tests but those of the images
	@$(PYTEST) -m "not images" $(PYTEST_ARGS)

check: lint  ## The minute before a commit: lint, and the tests that run no pipeline
	@$(PYTEST) -m "not images and not e2e and not slow" $(PYTEST_ARGS)

images: install  ## Test the Dockerfile's install commands; worth it when a lock or the Dockerfile changes
	@$(VENV)/bin/python -m pytest -m images $(PYTEST_ARGS)

lint: install  ## Check style, types and the direction of imports
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/ruff format --quiet --check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/mypy

style:  ## Mend and check style alone, without an environment of the project (needs uv)
	@uvx "ruff@$$(sed -nE 's/^ruff==([0-9.]+).*/\1/p' requirements.lock)" check --fix .
	@uvx "ruff@$$(sed -nE 's/^ruff==([0-9.]+).*/\1/p' requirements.lock)" format .

schema: install  ## Write the curated schema again, from the features' table
	@$(VENV)/bin/python -m schemas.curated

LOCK = uv pip compile --universal --no-emit-index-url --generate-hashes --python-version 3.10 setup.py

lock:  ## Resolve the lock files again, for both stacks and without any host in them
	$(LOCK) --extra pipeline --extra kubeflow --extra pipeline-remote --extra dev -o requirements.lock
	$(LOCK) --extra pipeline --extra pipeline-remote -c requirements.lock -o pipeline/kubeflow/requirements.lock
	$(LOCK) --extra serving --extra events --extra traces --extra remote -c requirements.lock -o serving/deploy/requirements.lock

clean:  ## Remove the environment and the outputs
	rm -rf $(VENV) "$(OUTPUT)"
