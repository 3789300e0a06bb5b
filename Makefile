# The commands people type. `make` alone lists them.

# Any Python from 3.11 on: make PYTHON=/path/to/python3.13 up
PYTHON ?=
# More for the command behind a target: make test ARGS="-k retry", make bench ARGS="--quick"
ARGS ?=

venv := .venv
python := $(venv)/bin/python
pip := $(python) -m pip install --quiet --disable-pip-version-check
pytest := $(python) -m pytest
tests := $(pytest) -n auto --maxprocesses 4
# pytest's exit code for "no tests", as a filter in ARGS may leave none
or_nothing := || [ $$? -eq 5 ]

# What needs PostgreSQL, if there is one and the tests did not run on it anyway; POSTGRES=no leaves it
on_postgres = if [ -n "$$DATABASE_URL" ] || [ "$(POSTGRES)" = no ]; then :; \
	elif url=$$($(python) -m tests.services postgres); then \
		echo "On PostgreSQL, what needs it:"; \
		DATABASE_URL=$$url $(pytest) -q -m "$(1)" $(2) $(ARGS) $(or_nothing); \
	fi

.DEFAULT_GOAL := help
.PHONY: help up test proofs lint audit format bench bench-peers soak pictures

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

up: $(venv)/.runtime ## Install, migrate, start web server and worker, until Ctrl-C
	@exec $(python) manage.py up $(ARGS)

test: $(venv)/.dev ## Run the tests, with what is there of PostgreSQL, Redis and Chromium
	@$(tests) -m "not soak and not slow and not browser" $(ARGS)
	@echo "In the browser:"
	@$(pytest) -q -n 2 -m "browser and not slow" $(ARGS) $(or_nothing)
	@$(call on_postgres,postgres and not slow)

proofs: $(venv)/.dev ## Run the slow tests too: crashes, faults, hosts, upgrades, security, measurements
	@$(tests) -m "slow and not soak and not browser" $(ARGS) $(or_nothing)
	@echo "In the browser:"
	@$(pytest) -q -n 2 -m "slow and browser" $(ARGS) $(or_nothing)
	@$(call on_postgres,postgres and slow and not soak)

lint: $(venv)/.dev ## Check style, types, security, settings and migrations
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy
	@$(python) -m bandit --quiet --configfile pyproject.toml --recursive durably_site jobs runs tools manage.py
	@$(python) manage.py check --fail-level WARNING
	@$(python) manage.py makemigrations --check --dry-run

audit: $(venv)/.runtime ## Ask whether a package that is needed has a known vulnerability
	@$(python) -m tools.audit

format: $(venv)/.dev ## Format the code
	@$(python) -m ruff check --fix .
	@$(python) -m ruff format .

bench: $(venv)/.runtime ## Measure this installation and print a table
	@$(python) manage.py bench $(ARGS)

bench-peers: $(venv)/.runtime ## Measure other engines beside this one; installs them into a folder
	@$(python) -m tools.peers $(ARGS)

pictures: $(venv)/.dev ## Take the pictures of the README; of every page too: ARGS=folder
	@$(python) -m tests.support.screenshots $(ARGS)

soak: $(venv)/.dev ## Run the long proofs: many kills, many runs, many minutes
	@$(pytest) -m soak --timeout 3600 $(ARGS) $(or_nothing)
	@$(call on_postgres,soak,--timeout 3600)

$(venv)/.runtime: requirements.txt $(venv)/.created
	@echo "Installing what the product needs into $(venv) ..."
	@$(pip) -r requirements.txt
	@touch $@

$(venv)/.dev: requirements-dev.txt $(venv)/.runtime
	@echo "Installing what the tests need into $(venv) ..."
	@$(pip) -r requirements-dev.txt
	@touch $@

$(venv)/.created:
	@found=; \
	for name in $(PYTHON) $(if $(PYTHON),,python3 python3.14 python3.13 python3.12 python3.11 python); do \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$name; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "This needs Python 3.11 or newer; found $$($(or $(PYTHON),python3) --version 2>&1 || true)" >&2; \
		echo "Install one, or say where it is: make PYTHON=/path/to/python3.12 up" >&2; exit 1; \
	fi; \
	echo "Creating $(venv) with $$("$$found" --version) ..."; \
	"$$found" -m venv --clear $(venv) || { \
		echo "Python's venv module is not complete. On Debian or Ubuntu: apt install python3-venv" >&2; \
		rm -rf $(venv); exit 1; }
	@touch $@
