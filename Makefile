# What a newcomer types. Everything happens in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-all test-lowest lint types docs audit results benchmark install clean

install: $(VENV)/.installed

# The pinned versions, then the project itself, editable, so that conf/ and src/ are what runs.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt \
		-e '.[dev,docs,cluster,search,tensorboard,hdf5,huggingface]'
	@# pip would compile 17,000 files on one core; some of them are templates, which are no Python.
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	touch $@

demo: install
	rm -rf outputs/demo
	$(BIN)/distill experiment=demo hydra.run.dir=outputs/demo
	@echo
	@echo "Open outputs/demo/report.html: the ten distilled images with their learning rates, and what they are worth."

test: install lint
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

# The slow ones, too: thousands of mutated files, dozens of jobs, compiled steps.
test-all: install lint
	$(BIN)/pytest -n 2 --dist loadfile

# The lowest versions that pyproject.toml allows, in a folder of their own (5 GB). They may warn: the packages that
# they need themselves are the newest ones.
test-lowest:
	$(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) tools/lowest.py > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c $(VENV)-lowest/constraints.txt \
		-e '.[dev,cluster,search,tensorboard,hdf5,huggingface]'
	$(VENV)-lowest/bin/pytest -n 2 --dist loadfile -m "not slow" -o filterwarnings=default

# The types and the site need a core each for most of a minute.
lint: install
	$(BIN)/ruff check src tests benchmarks tools docs
	$(BIN)/lint-imports --no-logo
	$(MAKE) --jobs=2 types docs

types: install
	$(BIN)/mypy

# The site, into docs/_build/index.html; warnings are errors, so links and references are checked.
docs: install
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

# Whether a pinned version is known to be vulnerable. It says so if no advisory database can be reached.
audit:
	$(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(VENV)-audit/bin/python tools/audit.py

# The tables and figures of the documentation, from results/; RUNS="outputs/a outputs/b" are published there first.
results: install
	$(BIN)/python tools/publish.py $(RUNS)

benchmark: install
	$(BIN)/python benchmarks/meta_gradient.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python -m benchmarks.pools

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-audit build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
