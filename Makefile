# What a newcomer types. Everything happens in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-all lint benchmark install clean

install: $(VENV)/.installed

# The pinned versions, then the project itself, editable, so that conf/ and src/ are what runs.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,cluster,search,tensorboard]'
	touch $@

demo: install
	rm -rf outputs/demo
	$(BIN)/distill experiment=demo hydra.run.dir=outputs/demo
	@echo
	@echo "Look at outputs/demo/images/grid.png: the ten distilled images, with their learning rates."

test: install lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

# The slow ones, too: thousands of mutated files, dozens of jobs, compiled steps.
test-all: install lint
	$(BIN)/pytest -n 2 --dist loadfile

lint: install
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

benchmark: install
	$(BIN)/python benchmarks/meta_gradient.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/overhead.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
