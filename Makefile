# `make demo` and `make test` do all their own set-up in .venv; the rest is for people who change Weir.
PYTHON ?= python3
# Tests wait for brokers most of the time, so three processes per core keep these busy.
PROCESSES ?= 6
VENV := .venv
BIN := $(VENV)/bin
COMPILED := $(wildcard models/features/native/_*.[ch])
# Tests start hundreds of processes; each would compile every module again if it may not keep the result.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test artifacts bench bench-rate loop chaos chaos-loop soak fuzz hostile check lint types imports format clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.light ## Broker, workers, traffic, outcomes and a live table, for about a minute (ARGS="--rate 0.8")
	@$(BIN)/weir demo $(ARGS)

test: $(VENV)/.test ## Everything the tests need, and all tests (ARGS="tests/stream/policy -x")
	@$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

artifacts: $(VENV)/.test ## The shipped artifacts are what their commands make; minutes
	@$(BIN)/pytest -m remakes

bench: $(VENV)/.bench ## Weir against its peers on Apache Kafka; latency; memory (ARGS="--rounds 3")
	@$(BIN)/python -m benchmarks.transport $(ARGS)

bench-rate: $(VENV)/.test ## The rate controller on seeded traffic, beside naive ones; some minutes
	@$(BIN)/python -m benchmarks.rate $(ARGS)

loop: $(VENV)/.test ## Rebuilds in a drifting market against the frozen first model (ARGS="--arms both")
	@$(BIN)/python -m benchmarks.loop $(ARGS)

chaos: $(VENV)/.test ## A million requests, 100 kill -9, then brokers too; most of an hour (ARGS="--seed 2")
	@$(BIN)/python -m chaos $(ARGS)

chaos-loop: $(VENV)/.test ## 50 kill -9 through the loop; store and registry against an undisturbed run (ARGS="--seed 2")
	@$(BIN)/python -m chaos.loop $(ARGS)

soak: $(VENV)/.test ## All roles for an hour at 2,000 requests/s, memory watched (ARGS="--minutes 60 --rate 2000")
	@$(BIN)/python -m chaos.soak $(ARGS)

fuzz: $(VENV)/.test ## Scanner (sanitised), ONNX check, message decoders, settings (ARGS="--minutes 30")
	@$(BIN)/python -m chaos.fuzz $(ARGS)

hostile: $(VENV)/.test ## Every topic full of hostile records, on both brokers, both guarantees (ARGS="--records 2000")
	@$(BIN)/python -m chaos.hostile $(ARGS)

check: lint types imports ## Lint, types, import layers

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.test
	@$(BIN)/mypy

imports: $(VENV)/.test
	@$(BIN)/lint-imports

format: $(VENV)/.test ## Sort imports and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove the environment and everything that runs have written
	@rm -rf $(VENV) var build dist *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Weir needs Python 3.11 or newer; call make with PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.light: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	@echo "installing Weir into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt $(COMPILED) | $(BIN)/python
	@echo "installing Weir, torch and the test tools into $(VENV) (torch is about 3 GB)"
	@$(PIP) install --constraint constraints.txt --editable '.[test]'
	@touch $@ $(VENV)/.light

$(VENV)/.bench: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing Weir and its peers into $(VENV)"
	@$(PIP) install --constraint constraints.txt --editable '.[bench]'
	@touch $@ $(VENV)/.light
