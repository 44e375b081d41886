# Everything runs in .venv, which `make env` fills once; any other target makes it when needed.
# PYTHON=/path/to/python3 chooses the interpreter, ARGS='-k name' goes to pytest. Without an NVIDIA
# GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu takes PyTorch's CPU build and saves 4 GiB.

BIN := .venv/bin
RUN := .venv/.installed-onedl
DEV := .venv/.installed-onedl,test

export PYTHON TORCH_INDEX

.PHONY: help env env-test demo test test-slow test-faults lint format docs pins clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

env: $(RUN)  ## make .venv with the pinned stack (once; needs network and 2 to 7 GiB)
	@:

env-test: $(DEV)  ## add what tests, style checks and the site need
	@:

$(RUN): setup.py requirements/onedl.txt requirements/test.txt tools/make_env.sh
	@bash tools/make_env.sh

$(DEV): setup.py requirements/onedl.txt requirements/test.txt tools/make_env.sh
	@bash tools/make_env.sh onedl,test

demo: env  ## train and show a small segmentation on drawn pictures
	@bash tools/demo.sh

test: env-test  ## run the quick tests on every core
	@$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

test-slow: env-test  ## run the slow tests, faults aside
	@$(BIN)/python -m pytest -m slow --ignore=tests/faults $(ARGS)

test-faults: env-test  ## kill, fill disks, send signals, and see what survives (minutes)
	@$(BIN)/python -m pytest tests/faults -m slow $(ARGS)

lint: env-test  ## check style and format
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: env-test  ## fix style and format where that is safe
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

docs: env-test  ## build the documentation site in docs/_build/html
	@$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs: open docs/_build/html/index.html'

pins: env-test  ## renew requirements/ from constraints.txt, .venv, and docs/licences.md
	@bash .ci/pins.sh
	@$(MAKE) --no-print-directory env-test
	@$(BIN)/python .ci/licences.py

clean:  ## remove caches and build leftovers; .venv, data and work_dirs stay
	@rm -rf build dist docs/_build *.egg-info .pytest_cache .ruff_cache
	@find . \( -path ./.venv -o -path ./.git -o -path ./data -o -path ./work_dirs \) -prune \
		-o -type d -name __pycache__ -prune -exec rm -rf {} +
