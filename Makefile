# The few verbs. `make chat` and `make test` need Python 3.11+ and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Neither make nor a shell reads what is in these: they reach the recipe as they are, in the environment.
override export Q := $(value Q)
override export IMAGE := $(value IMAGE)
ARGS ?=
WORKERS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
TORCH := $(shell sed -n 's/^ *"\(torch==[^"]*\)".*/\1/p' pyproject.toml)

.PHONY: help chat ask test test-train test-kernels lint format bench torture clean

help:               ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/'

$(VENV)/.app: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "edge_app needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=/path/to/python3.11)")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.app
	$(PIP) --editable '.[test]'
	@touch $@

# The index of CPU builds first: on Linux, PyPI's own build brings gigabytes of CUDA along.
$(VENV)/.torch: $(VENV)/.test
	$(PIP) --no-deps --extra-index-url https://download.pytorch.org/whl/cpu '$(TORCH)'
	@touch $@

$(VENV)/.train: $(VENV)/.torch
	$(PIP) --editable '.[train]'
	@touch $@

chat: $(VENV)/.app  ## open the chat
	@$(BIN)/edge-app $(ARGS)

ask: $(VENV)/.app   ## one answer: make ask Q="What is this?" IMAGE=photo.jpg
	@$(BIN)/edge-app ask $${IMAGE:+--image="$$IMAGE"} $(ARGS) $${Q:+-- "$$Q"}

test: $(VENV)/.test lint  ## lint, types, layers, and every test; WORKERS=2 runs two at a time
	$(BIN)/python -m pytest -q $(if $(WORKERS),-n $(WORKERS)) $(ARGS)

test-train: $(VENV)/.test  ## the tests of the extra [train], where torch can be installed
	@if $(MAKE) --no-print-directory $(VENV)/.torch >$(VENV)/torch.log 2>&1; then \
		$(MAKE) --no-print-directory $(VENV)/.train && $(BIN)/python -m pytest -q -m train $(ARGS); \
	else \
		echo "$(TORCH) cannot be installed here ($(VENV)/torch.log says why), so the tests of the extra [train] were not run."; \
	fi

test-kernels: $(VENV)/.test  ## the tests of models/ on every kernel path that this processor can run
	@set -e; for path in $$($(BIN)/python -c 'from models.compiler.cpu import available_paths, detect; print(*available_paths(detect()))'); do \
		echo "kernel path: $$path"; EDGE_APP_KERNELS=$$path $(BIN)/python -m pytest -q tests/models $(ARGS); \
	done

lint: $(VENV)/.test ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test ## let ruff rewrite the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.app ## speed and memory, beside llama.cpp where it is installed
	@$(BIN)/python -m benchmarks $(ARGS)

torture: $(VENV)/.test ## kills, damaged inputs and load for hours; run again, it goes on
	@$(BIN)/python -m benchmarks.torture $(ARGS)

clean:              ## remove the virtual environment and caches (not your data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
