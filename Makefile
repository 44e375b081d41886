# Everything runs in .venv, which `make env` fills once; any other target makes it when needed.
# PYTHON=/path/to/python3 chooses the interpreter, ARGS='-k name' goes to pytest.

BIN := .venv/bin
STAMP := .venv/.installed

export PYTHON

.PHONY: help env demo test test-slow lint format docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

env: $(STAMP)  ## make .venv with the pinned stack (once; needs network and about 4 GiB)
	@:

$(STAMP): setup.py constraints.txt tools/make_env.sh
	@bash tools/make_env.sh

demo: env  ## train and show a small segmentation on drawn pictures
	@bash tools/demo.sh

test: env  ## run the quick tests on every core
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

test-slow: env  ## run the slow tests
	@$(BIN)/python -m pytest -m slow $(ARGS)

lint: env  ## check style and format
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: env  ## mend style and format where that is safe
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

docs: env  ## build the documentation site in docs/_build/html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs: open docs/_build/html/index.html'

clean:  ## remove caches and build leftovers; .venv, data and work_dirs stay
	@rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache
	@find . \( -path ./.venv -o -path ./.git -o -path ./data -o -path ./work_dirs \) -prune \
		-o -type d -name __pycache__ -prune -exec rm -rf {} +
