# Short verbs. `make help` lists them; each does its own set-up.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test lint types ratchet unit acceptance attacks drill soak bench serve format openapi lock audit sbom clean
# Bytecode caches are part of how fast the product is; a shell that switches them off must not slow tests and demo.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# More workers end sooner, for many tests wait; but then those that measure out a lease find the processors taken.
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); echo $$((cores < 8 ? cores : 8)))
PYTEST := $(BIN)/python -m pytest

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install everything into .venv (does nothing when nothing changed)
	@tools/setup.sh

demo: setup ## The main job, end to end, on this machine
	@tools/demo.sh

test: lint types ## Everything that CI checks
	@tools/need_curl.sh
	@tools/get_azurite.sh
	@tools/get_docker.sh
	$(PYTEST) -n $(WORKERS) --dist loadfile --no-loadscope-reorder || $(BIN)/python -m tools.second_look $$?

lint: setup ratchet ## Style, format, the laws of the house, our own lints
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m tools.lints

types: setup ## mypy --strict
	$(BIN)/mypy

ratchet: setup ## No file or function outgrows its limit
	$(BIN)/python -m tools.ratchet

unit: setup ## The quick tests: seconds
	$(PYTEST) tests/unit

acceptance: setup ## The real server, driven from outside
	$(PYTEST) tests/acceptance

drill: setup ## Break installations on SQLite and PostgreSQL for five minutes; count what is lost (SEED=n: the same again)
	$(BIN)/python -m tools.drill $(if $(SEED),--seed $(SEED))

attacks: setup ## All that attackers send, on every address (make test sends a third)
	$(PYTEST) tests/acceptance/test_attacks.py --full

soak: setup ## 20,000 runs, after which nothing may have grown (make test carries out 300)
	$(PYTEST) tests/acceptance/test_soak.py --full --timeout 7200

bench: setup ## Measure against the yardsticks
	$(BIN)/python -m benchmarks

serve: setup ## The server in the foreground
	$(BIN)/penstock up

format: setup ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: setup ## Write docs/openapi.json anew from the server
	$(BIN)/python -m tools.openapi

lock: ## Resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--upgrade --quiet --custom-compile-command "make lock" --output-file requirements.lock

audit: setup ## Hold what is locked and installed against advisories (OSV=/path/to/all.zip), licences and hashes
	$(BIN)/python -m tools.audit $(if $(OSV),--advisories $(OSV))

sbom: setup ## Write dist/sbom.cdx.json: what a release is installed with
	$(BIN)/python -m tools.sbom

clean: ## Remove what the other verbs made
	rm -rf .venv .azurite dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find . -name __pycache__ -prune -exec rm -rf {} +
