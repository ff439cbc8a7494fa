# Everything runs in .venv, made on first use. `make serve` and `make test` are the two to know.
.DEFAULT_GOAL := help
.PHONY: help serve chat test fuzz simulate bench format conformance clients clean

VENV   := .venv
PYTHON := $(VENV)/bin/python
ARGS   ?=
PEER   := 2026.10.11549

help:  ## say what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

serve: $(VENV)/.ready  ## start the server on the built-in model (options: make serve ARGS="--port 0")
	@exec $(VENV)/bin/antiphon serve $(ARGS)

chat: $(VENV)/.ready-chat  ## talk to it in the terminal (options: make chat ARGS="--model PATH")
	@exec $(VENV)/bin/antiphon chat $(ARGS)

test: $(VENV)/.ready-dev  ## set up, check the code and pass all tests (one part: make test ARGS=tests/http)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest $(ARGS)

fuzz: $(VENV)/.ready-dev  ## try EXAMPLES=20000 random requests of every kind
	FUZZ_EXAMPLES=$(or $(EXAMPLES),20000) $(PYTHON) -m pytest tests/http/test_fuzz.py

simulate: $(VENV)/.ready-dev  ## run the scheduler through SEEDS=2000 random days
	SIMULATION_SEEDS=$(or $(SEEDS),2000) $(PYTHON) -m pytest -q tests/engines/test_llamacpp_scheduler.py

bench: $(VENV)/.ready-dev .cache/bench/.ready  ## measure, and compare with llama.cpp's server (network on the first run)
	$(PYTHON) -m bench.streams --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.overhead --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.decode --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.prefixes --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.agents --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.replay --peer-python .cache/bench/bin/python
	$(PYTHON) -m bench.constrained
	$(PYTHON) -m bench.conversation
	$(PYTHON) -m bench.rows
	$(PYTHON) -m bench.turns
	$(PYTHON) -m bench.idle
	$(PYTHON) -m bench.returning
	$(PYTHON) -m bench.stalls
	$(PYTHON) -m bench.spilling
	$(PYTHON) -m bench.day

.cache/bench/.ready:
	$(PYTHON) -m venv --clear .cache/bench
	.cache/bench/bin/python -m pip install --quiet --disable-pip-version-check xllamacpp==$(PEER)
	@touch $@

format: $(VENV)/.ready-dev  ## put the code into the house format
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

conformance: $(VENV)/.ready  ## run the official SDK's own tests against the server (network; write the results down: ARGS=--write)
	@$(PYTHON) -m scripts.conformance $(ARGS)

clients: $(VENV)/.ready  ## run unmodified clients against the server (network, node; write the results down: ARGS=--write)
	@$(PYTHON) -m scripts.client_matrix $(ARGS)

clean:  ## remove .venv and what tools have left
	rm -rf $(VENV) .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.ready: pyproject.toml
	@sh scripts/make_venv.sh $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.ready-chat: pyproject.toml
	@sh scripts/make_venv.sh $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[chat]'
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-dev: pyproject.toml
	@sh scripts/make_venv.sh $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.ready
