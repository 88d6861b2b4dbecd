# make live       the simulated microscope with live flags; needs Python >= 3.11 and nothing else
# make swift      Nion Swift with the simulated microscope, scanning and flagging in its window
# make test       every check: ruff, mypy, import-linter, pytest
# make docs       the documentation as a site, in site/
# make test-lowest  a part of the tests with the lowest versions that the project allows
# make test-release  wheel and source archive are made; the wheel, in an empty environment, flags a simulated frame
# make test-wheel    the same with the wheel that is there, on another Python
# make test-host  the tests that need neither PyTorch nor abTEM, without the slow ones and the pages, for a newer Python
#                 and the Nion Swift it brings
#
# PYTHON= chooses the interpreter a new environment is made with, VENV= where it is made.
PYTHON ?= python3
VENV ?= .venv
LIVE_OPTIONS ?=
PYTEST_OPTIONS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# A change of the project's metadata installs again, a change of its code does not: the install is editable.
METADATA := pyproject.toml tests/constraints.txt

# Tests share few cores with the processes that they start.
test test-host test-lowest test-release test-wheel: export OMP_NUM_THREADS ?= 1

.PHONY: live swift test test-host test-lowest test-release test-wheel docs lint clean

live: $(VENV)/.installed-live
	$(BIN)/stemctx live $(LIVE_OPTIONS)

# A profile of its own: the user's Nion Swift, its projects and its settings are neither read nor written.
swift: $(VENV)/.installed-swift
	$(BIN)/nionswift --app nionswift_plugin.stemctx.application

# STEMCTX_REQUIRE: what must be there to run, so that a broken installation cannot pass by skipping.
test: lint
	STEMCTX_REQUIRE="torch abtem $(REQUIRE)" $(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-host: $(VENV)/.installed-host
	STEMCTX_REQUIRE="$(REQUIRE)" $(BIN)/python -m pytest -m "not torch and not abtem and (not slow or window)" \
	  --ignore tests/docs --ignore tests/bench $(PYTEST_OPTIONS)

LOWEST_TESTS := $(addprefix tests/,core/judging/test_fixed_frame.py core/judging/test_analysis.py core/lattice core/reading/test_reading.py \
  realtime/client/test_client.py realtime/recording/test_recorder.py sim/test_headless.py \
  plugin/window/test_plug_in.py plugin/panel/test_panel.py)

test-lowest: $(VENV)/.installed-lowest
	$(BIN)/stemctx --help >/dev/null
	$(BIN)/python -m pytest -m "not torch and not abtem and not slow" $(LOWEST_TESTS) $(PYTEST_OPTIONS)

# The wheel is made from the source archive, so that both are checked.
test-release: $(VENV)/.installed-test
	rm -rf build/release
	$(BIN)/python -m build --outdir build/release .
	$(MAKE) test-wheel

# The frame first: what is compiled for it would be waited for by each of the doctor's checks.
test-wheel:
	rm -rf build/empty
	$(PYTHON) -m venv build/empty
	build/empty/bin/python -m pip --disable-pip-version-check install --quiet "$$(ls $(CURDIR)/build/release/*.whl)[simulator]"
	cd build/empty && bin/stemctx live --frames 1 --output live && bin/stemctx doctor

# Strictly: a link to a page that is not there, or a page that no menu names, is an error.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "stemctx needs Python 3.11 or newer; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.installed-live: $(VENV)/.made $(METADATA)
	$(PIP) --constraint tests/constraints.txt --editable '.[simulator]'
	touch $@

$(VENV)/.installed-swift: $(VENV)/.made $(METADATA)
	$(PIP) --constraint tests/constraints.txt --editable '.[plugin,simulator]'
	touch $@ $(VENV)/.installed-live

$(VENV)/.installed-test: $(VENV)/.made $(METADATA)
	$(PIP) --constraint tests/constraints.txt --editable '.[all,test]'
	touch $@ $(VENV)/.installed-live $(VENV)/.installed-swift

$(VENV)/.installed-host: $(VENV)/.made $(METADATA)
	$(PIP) --constraint tests/constraints.txt --editable '.[plugin,simulator,files,label,test]'
	touch $@ $(VENV)/.installed-live $(VENV)/.installed-swift

# Only what is declared stands at its lowest; what that needs in turn, and what runs the tests, is as new as it may be.
$(VENV)/.installed-lowest: $(VENV)/.made $(METADATA)
	$(PIP) uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --resolution lowest-direct --editable '.[plugin,simulator,files,label]'
	$(PIP) 'pytest>=8.3' 'pytest-timeout>=2.3' 'hypothesis>=6.115' 'onnx>=1.17' 'scikit-learn>=1.5'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.made $(METADATA)
	$(PIP) --constraint tests/constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
