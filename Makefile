# Every target makes its own environment in .venv: `make demo` and `make test` need Python 3.11+
# and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The benchmark's peers that need environments of their own, pinned for Python 3.11.
PEERS := .venv-peers
export OMP_NUM_THREADS ?= 1

.PHONY: test lint demo slow peers clean

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadscope

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

demo: $(STAMP)
	$(BIN)/python examples/demo.py

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(STAMP)

peers: $(foreach name,miceforest hyperimpute argn ctgan,$(PEERS)/$(name)/.installed)

# torch first, with what it depends on; the rest is pinned in full.
$(PEERS)/%/.installed: benchmarks/requirements/requirements-%.txt
	$(PYTHON) -m venv --clear $(PEERS)/$*
	grep '^torch==' $< | xargs -r $(PEERS)/$*/bin/python -m pip install --quiet
	$(PEERS)/$*/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

clean:
	rm -rf $(VENV) $(PEERS)
