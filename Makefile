# Every job of the repository. `make` alone lists them.
#
# Variables of `make bench`:
#   RIG=rigs/x.yaml   the rig to run on (default: the reference software card)
#   SEED=N            the run's seed           FULL=1   the full sweeps
#   OUT=dir           where results go         JOBS=N   parallel workers (default: one a core; one on a real rig)
# PYTHON=... names the interpreter the virtual environment is made from.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Nothing is compiled for the base set; byte code is made when a module is first imported, which halves the set-up.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --no-input --no-compile --constraint constraints.txt
PINS := pyproject.toml constraints.txt

# The real PC/SC path: building pyscard, the daemon, and vpcd's virtual reader.
PCSC_PACKAGES := gcc python3-dev libpcsclite-dev pcscd vsmartcard-vpcd
# Raw USB: what pyusb loads.
USB_PACKAGES := libusb-1.0-0
# Software from outside that the tests meet (tests/witness).
WITNESS_PACKAGES := opensc pcsc-tools libpcsc-perl tshark chromium sigrok-cli socat iperf3 curl ser2net liblwip0 iputils-ping iproute2 poppler-utils
# The guest with a real USB and PPP stack (tests/guest); its kernel is fetched, not installed.
GUEST_PACKAGES := qemu-system-x86 busybox-static ppp libccid
# From npm, into .npm: what judges the accessibility of report pages.
NPM_PACKAGES := axe-core@4.14.1 allure@3.18.0
GUEST_SOURCES := scripts/guest-fetch.sh scripts/guest-pack.py tests/guest/init.sh

# The software rig runs on every core; a real rig has one reader, and one worker for it.
JOBS ?= $(if $(RIG),,$(shell nproc 2>/dev/null || echo 2))

BENCH_OPTIONS = $(if $(RIG),--rig $(RIG)) $(if $(SEED),--seed $(SEED)) $(if $(OUT),--out $(OUT)) \
	$(if $(JOBS),-n $(JOBS)) $(if $(filter-out 0,$(FULL)),--full)
VPCD_RIG := rigs/pcsc-vpcd.yaml

heading = @printf '\n== %s\n' "$(1)"

.PHONY: help
help: ## list the jobs (this page)
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile
	@printf '\n%s\n' "make bench takes RIG=rigs/x.yaml SEED=N FULL=1 OUT=dir JOBS=N"

.PHONY: bench
bench: $(VENV)/.stamp-base $(if $(filter pcsc-%,$(notdir $(RIG))),setup-pcsc) ## run every scenario and print verdicts and the report's path
	@$(BIN)/cardbench run scenarios $(BENCH_OPTIONS)

# pytest stays last: continuous integration reads its closing line.
.PHONY: test
test: setup-test ## run all checks: ruff, mypy, import-linter, the scenarios, the tests (sets itself up)
	$(call heading,ruff check)
	@$(BIN)/ruff check
	$(call heading,ruff format --check)
	@$(BIN)/ruff format --check
	$(call heading,mypy)
	@$(BIN)/mypy
	$(call heading,lint-imports)
	@$(BIN)/lint-imports --no-logo
	$(call heading,cardbench run: the software rig)
	@$(BIN)/cardbench run scenarios -n 2
	$(call heading,cardbench run: $(VPCD_RIG))
	@if scripts/have-pcsc.sh $(BIN)/python; then $(BIN)/cardbench run scenarios --rig $(VPCD_RIG); fi
	$(call heading,pytest)
	@$(BIN)/pytest tests -n 2 --durations=10 --durations-min=1

.PHONY: soak
soak: setup-test ## run the long checks with large counts (hours; results go to docs/evidence)
	@HYPOTHESIS_PROFILE=soak $(BIN)/pytest tests -m soak -p no:xdist -o faulthandler_timeout=0 --durations=0

.PHONY: benchmarks
benchmarks: $(VENV)/.stamp-dev ## measure ratios side by side
	@$(BIN)/pytest benchmarks -p no:xdist -s

.PHONY: docs
docs: $(VENV)/.stamp-base ## make the pages that come from the code
	@{ printf '# Steps\n\nMade by `cardbench steps --markdown`; a test holds it to the code.\n\n'; $(BIN)/cardbench steps --markdown; } > docs/steps.md
	@$(BIN)/python -m bench.iso7816.t0_diagram > docs/t0.md
	@$(BIN)/python -m bench.iso7816.t1_diagram > docs/t1.md

PATHS_OUT ?= results/paths

.PHONY: paths
paths: setup-test ## run the real points on every path, and make docs/paths.md of their verdicts
	@CARDBENCH_PATHS=$(abspath $(PATHS_OUT)) $(BIN)/pytest tests/witness/test_same_verdicts.py tests/witness/test_same_verdicts_guest.py \
		-m '' -p no:xdist -o faulthandler_timeout=0 || true
	@$(BIN)/cardbench paths $(PATHS_OUT) --out docs/paths.md

.PHONY: lint
lint: $(VENV)/.stamp-dev ## check style, types and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(VENV)/.stamp-dev ## format and mend what ruff can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

.PHONY: setup-pcsc
setup-pcsc: $(VENV)/.stamp-pcsc ## install what a PC/SC rig needs: system packages (as root) and pyscard

.PHONY: setup-test
# Where packages cannot be installed (not root, not Debian), pyscard may not build: the PC/SC path is then left out.
setup-test: $(VENV)/.stamp-dev ## install everything `make test` needs
	@scripts/install-system.sh $(PCSC_PACKAGES) $(USB_PACKAGES) $(WITNESS_PACKAGES) $(GUEST_PACKAGES)
	@scripts/install-npm.sh .npm $(NPM_PACKAGES)
	@$(MAKE) .guest/.stamp
	@$(MAKE) $(VENV)/.stamp-pcsc || { test "$$(id -u)" -ne 0 || ! command -v apt-get >/dev/null; }

# Where no kernel can be had there is no stamp, and it is tried again next time.
.guest/.stamp: $(GUEST_SOURCES) | $(BIN)/python
	@scripts/guest-fetch.sh $(BIN)/python .guest
	@test ! -e .guest/vmlinux || touch $@

.PHONY: constraints
constraints: ## renew constraints.txt with the newest versions that resolve
	@scripts/install-system.sh $(PCSC_PACKAGES)
	@scripts/renew-constraints.sh "$(PYTHON)"

.PHONY: clean
clean: ## remove the environment and all caches (results stay)
	rm -rf $(VENV) .guest .npm build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "cardbench needs Python 3.11 or newer; name it with make PYTHON=/path/to/python3 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2; exit 2; }

# The interpreter is order-only: its date is its own, and says nothing about what is installed.
$(VENV)/.stamp-base: $(PINS) | $(BIN)/python
	@echo "setting up $(VENV) (once, about a minute)"
	@$(INSTALL) --only-binary :all: --editable .
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-base
	@echo "adding the development tools to $(VENV)"
	@$(INSTALL) --only-binary :all: --editable '.[dev,usb]'
	@touch $@

# pyscard comes as source for Linux and is built against the installed pcsc-lite.
$(VENV)/.stamp-pcsc: $(VENV)/.stamp-base
	@scripts/install-system.sh $(PCSC_PACKAGES)
	@echo "adding pyscard to $(VENV)"
	@$(INSTALL) --editable '.[pcsc]'
	@touch $@
