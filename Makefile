# Every target does its own set-up: git, make and Python 3.11 or later are all it needs.
#
#   make demo     the whole route on synthetic patients, two networks set side by side in demo/comparison (four to five minutes)
#   make test     all tests, with coverage, but those marked long
#   make test-long  the long ones: trainings and clusters killed again and again (about half an hour)
#   make install  only the set-up: .venv with the pinned packages and Glioscope itself
#   make check    before a commit: format, lint, types, spelling, import order, fast tests (under a minute)
#   make docs     the documentation in site/index.html, with the examples run (about ten minutes)
#   make fuzz     the readers with mutated files, steered by coverage (MINUTES=10; installs atheris beside .venv)
#   make audit    the pinned packages against the published list of weaknesses (needs the network)
#   make format   mend what `check` can mend
#   make clean    remove what these made, .venv apart

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Tests run on two workers; each keeps to one thread, or they would fight for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# A folder named demo that no demo made is not ours to delete.
REMOVE_DEMO := if [ -e demo/made-by-glioscope-demo.txt ]; then rm -rf demo; \
	elif [ -e demo ]; then echo "demo: was not made by 'glioscope demo'; move it away first" >&2; exit 2; fi

.PHONY: install demo test test-long docs fuzz audit check lint fast format clean

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		f"{sys.executable} is Python {sys.version.split()[0]}; Glioscope needs 3.11 or later: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	@$(REMOVE_DEMO)
	$(BIN)/glioscope demo --output demo

test: $(INSTALLED)
	$(PYTEST) -rs --cov --cov-report=term -m "not long"

test-long: $(INSTALLED)
	$(PYTEST) -rs -m long

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 GLIOSCOPE_DOCS_EXECUTE=true $(BIN)/mkdocs build --strict --quiet

# One target after the other, a sixth of the time each; a defect stops it and leaves its bytes as fuzz/found/crash-*.
MINUTES ?= 10
FUZZ := nifti dicom archive config model summary
fuzz: $(INSTALLED)
	test -d fuzz/.packages || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--target fuzz/.packages --requirement fuzz/requirements.txt
	mkdir -p fuzz/found
	cd fuzz/found && for target in $(FUZZ); do echo "== $$target"; \
		OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR)/fuzz/.packages nice -n 10 $(CURDIR)/$(BIN)/python ../run.py $$target \
		$$(($(MINUTES) * 10)) 2> $$target.log || { tail -n 40 $$target.log; exit 1; }; tail -n 1 $$target.log; done

audit: $(INSTALLED)
	test -d .audit || $(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --strict --requirement requirements.lock --no-deps --disable-pip

check: lint fast

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell src tests docs *.md

fast: $(INSTALLED)
	$(PYTEST) --quiet --durations=0 --durations-min=2 -m "not slow and not browser" tests/architecture tests/unit

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	@$(REMOVE_DEMO)
	rm -rf build site htmlcov .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache src/*.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
