# Every target sets up .venv by itself. PYTHON names the interpreter to make it with (3.11 or later).

PYTHON ?= python3
MINUTES ?= 10
VENV := .venv
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
PEERS_INSTALLED := $(PEERS)/.installed
QUANTIZERS := .venv-quantization
QUANTIZERS_INSTALLED := $(QUANTIZERS)/.installed
RUN := PYTHONPATH=src $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test test-gpu check bench bench-peers bench-quantization bench-pruning bench-corpus bench-tvm-corpus bench-tvm bench-targets fuzz docs schema dist clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Compile, measure and verify a real text recogniser, with one table at the end.
	@$(RUN) -m benchmarks.demo

test: $(INSTALLED) ## Run the fast tests, on all cores.
	@$(RUN) -m pytest -n auto --dist loadfile

test-gpu: $(INSTALLED) ## Run the tests that need an NVIDIA GPU.
	@$(RUN) -m pytest -m gpu

check: $(INSTALLED) ## Format, lint, types, and the direction of imports.
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy
	@$(RUN) -m pytest -q tests/repository/test_imports.py

bench: $(INSTALLED) bench-peers ## Run all benchmarks and the slow tests.
	@$(RUN) -m benchmarks
	@$(RUN) -m pytest -m slow

bench-peers: $(PEERS_INSTALLED) ## Time every model against other optimizers, in an environment of their own.
	@PYTHONPATH=src $(PEERS)/bin/python -m benchmarks.peers

bench-quantization: $(QUANTIZERS_INSTALLED) ## Judge other quantizers and ours on every model, in an environment of their own; takes hours.
	@PYTHONPATH=src $(QUANTIZERS)/bin/python -m benchmarks.quantization

bench-pruning: $(INSTALLED) ## Prune every trained model to goals of latency, beside simpler ways and onnxsim; takes hours.
	@$(RUN) -m benchmarks.pruning

bench-corpus: $(INSTALLED) ## Take every case of ONNX's backend test suite through lossless; fails on any difference.
	@$(RUN) -m benchmarks.corpus

bench-tvm-corpus: $(INSTALLED) ## Take ONNX's test suite through TVM; fails where TVM's pre-check is wrong.
	@nice $(RUN) -m benchmarks.tvm_corpus

bench-tvm: $(INSTALLED) ## Time every model through TVM, untuned and tuned, against ONNX Runtime; takes hours.
	@$(RUN) -m benchmarks.tvm_speed

bench-targets: $(INSTALLED) ## Take every model through TVM on this machine and on emulated ARM ones; fails on wrong results.
	@$(RUN) -m benchmarks.target_matrix

fuzz: $(INSTALLED) ## Feed changed files to everything that reads files from elsewhere, for ten minutes (MINUTES=10).
	@$(RUN) -m tests.fuzz --minutes $(MINUTES)

docs: $(INSTALLED) schema ## Write the generated pages of docs/ again, and the schema.
	@$(RUN) -m tamis.compiler.pages --write docs

schema: $(INSTALLED) ## Write the JSON schemas of recipes/ again.
	@$(RUN) -m tamis.compiler.recipe_schema
	@$(RUN) -m tamis.compiler.building.build_schema

dist: $(INSTALLED) ## Build the sdist and the wheel into dist/.
	@rm -rf build dist
	@$(RUN) -m build

clean: ## Remove .venv, caches and what was built.
	@rm -rf $(VENV) $(PEERS) $(QUANTIZERS) build dist demo src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find . -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "tamis needs Python 3.11 or later: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --editable '.[dev]' >$(VENV)/install.log 2>&1 \
		|| { cat $(VENV)/install.log >&2; exit 1; }
	@touch $@

$(PEERS_INSTALLED): pyproject.toml benchmarks/peers/requirements.txt
	@echo "installing into $(PEERS) ..."
	@$(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --disable-pip-version-check --editable '.[dev]' \
		--requirement benchmarks/peers/requirements.txt >$(PEERS)/install.log 2>&1 \
		|| { cat $(PEERS)/install.log >&2; exit 1; }
	@touch $@

$(QUANTIZERS_INSTALLED): pyproject.toml benchmarks/quantization/requirements.txt
	@echo "installing into $(QUANTIZERS) ..."
	@$(PYTHON) -m venv $(QUANTIZERS)
	@$(QUANTIZERS)/bin/python -m pip install --disable-pip-version-check --editable '.[dev]' \
		--requirement benchmarks/quantization/requirements.txt >$(QUANTIZERS)/install.log 2>&1 \
		|| { cat $(QUANTIZERS)/install.log >&2; exit 1; }
	@touch $@
