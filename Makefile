# make train   set up everything, then train DS-TD3 on HalfCheetah-v4 inside 50 MB; typed again it resumes
# make test    set up everything, then run the whole test suite
# make build   only set up        make lint   what .ci/run checks before the tests
# make wheels  build a release into dist/: wheels for x86-64 and AArch64, the sdist, SHA256SUMS
# make extras  add what export, profile, study, tune and films need; training does without
# make docs    the pages as a site, build/site/index.html
#
# Variables: STEPS=30000, ENV=Hopper-v4, BUDGET=30, ARGS="more options"; VENV=folder, PYTHON=python3.12;
#            for wheels PYTHONS="python3.10 python3.11 python3.12".

PYTHON ?= python3
VENV ?= .venv
# Not `?=`: shells use a variable of their own named ENV.
ENV = HalfCheetah-v4
BUDGET = 50
STEPS =
ARGS =

# The compiled core, the package and the data packed into it: a change in any of them builds anew.
SOURCES := CMakeLists.txt pyproject.toml $(shell find edgedst devices export -type f ! -name '*.pyc' 2>/dev/null)
# pyproject.toml's own line, with its quotes; ninja and cmake are what scikit-build-core would ask pip for.
BUILD_REQUIREMENTS := $(shell sed -n 's/^requires = \[\(.*\)\]$$/\1/p' pyproject.toml | tr -d ,) "cmake>=3.20" "ninja>=1.11"

PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
# One build folder and no isolation: a second build compiles what changed. Editable: Python edits need no build.
INSTALL = $(PIP) --no-build-isolation --editable
AT_ONCE = (compilers at once, as cores and free memory allow: $$(sh tools/compile_jobs.sh))
# An editable install leaves this to the first start, where it would take 1.4 MB from the trainer's replay.
COMPILE = $(VENV)/bin/python -m compileall -q edgedst

.PHONY: train test build extras docs wheels lint clean
.DELETE_ON_ERROR:

train: $(VENV)/.edgedst-build
	$(VENV)/bin/edgedst train --budget-mb $(BUDGET) --env $(ENV) $(if $(STEPS),--steps $(STEPS)) --resume newest $(ARGS)

test: $(VENV)/.edgedst-test
	$(VENV)/bin/pytest $(ARGS)

build: $(VENV)/.edgedst-build

extras: $(VENV)/.edgedst-build
	@$(INSTALL) ".[export,profile,study,tune,video,tensorboard]"

docs: $(VENV)/.edgedst-build
	@$(INSTALL) ".[docs]"
	@MKDOCS="$(VENV)/bin/mkdocs" sh tools/build_docs.sh

wheels:
	@"$(PYTHON)" tools/build_wheels.py $(ARGS)

lint: $(VENV)/.edgedst-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict edgedst
	$(VENV)/bin/clang-format --dry-run --Werror $$(find edgedst/csrc tests/csrc benchmarks export -name '*.cpp' -o -name '*.h' -o -name '*.c')

clean:
	rm -rf build $(VENV)/.edgedst-build $(VENV)/.edgedst-test

$(VENV)/.edgedst-venv:
	@PYTHON="$(PYTHON)" sh tools/check_prerequisites.sh
	@test -x $(VENV)/bin/python || echo "Setting up $(VENV) (once; some minutes on a small board)"
	@test -x $(VENV)/bin/python || "$(PYTHON)" -m venv $(VENV)
	@$(PIP) $(BUILD_REQUIREMENTS)
	@touch $@

$(VENV)/.edgedst-build: $(VENV)/.edgedst-venv $(SOURCES)
	@echo "Building edgedst $(AT_ONCE)"
	@$(INSTALL) .
	@$(COMPILE)
	@touch $@

$(VENV)/.edgedst-test: $(VENV)/.edgedst-venv $(SOURCES)
	@echo "Building edgedst with what its tests need $(AT_ONCE)"
	@$(INSTALL) ".[test]"
	@$(COMPILE)
	@touch $(VENV)/.edgedst-build $@
