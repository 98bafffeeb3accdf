# `make run` and `make test` install what they need into .venv by themselves.
# PYTHON=3.x picks another interpreter; VENV=dir another environment.

VENV ?= .venv
OUTPUT ?= output
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run test lint lock clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## Install the newest stack that this machine can run

$(VENV)/.installed: requirements.lock setup.py .ci/install
	@.ci/install "$(VENV)" "$(PYTHON)"
	@touch $@

run: install  ## Run the pipeline on the embedded sample (or DATA=...) and print recommendations
	@$(VENV)/bin/matinee run $(if $(DATA),--data "$(DATA)") --output "$(OUTPUT)"
	@$(VENV)/bin/matinee recommend --rate "1:5,2:4.5,3:1" --serving-dir "$(OUTPUT)/serving"

test: install  ## Run all tests
	@$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

lint: install  ## Check style, types and the direction of imports
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/mypy

LOCK = uv pip compile --universal --no-emit-index-url --generate-hashes --python-version 3.10 setup.py

lock:  ## Resolve the lock files again, for both stacks and without any host in them
	$(LOCK) --extra pipeline --extra kubeflow --extra pipeline-remote --extra dev -o requirements.lock
	$(LOCK) --extra pipeline --extra pipeline-remote -c requirements.lock -o pipeline/kubeflow/requirements.lock
	$(LOCK) --extra service --extra remote -c requirements.lock -o serving/deploy/requirements.lock

clean:  ## Remove the environment and the outputs
	rm -rf $(VENV) "$(OUTPUT)"
