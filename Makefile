# Two commands do everything on a fresh machine: `make demo` shows releaser at work, `make test` runs its tests.
PYTHON ?= python3
# Tests wait for disks and locks, so two cores have work for three.
JOBS ?= 3
DEV := .venv
DEMO := .venv-demo
DOCS := .venv-docs
# -p: a failed test is repeated once, alone, at the end.
PYTEST = $(DEV)/bin/python -m pytest -p tests.support.flaky -n $(JOBS) --dist worksteal
PINS := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml
# Hundreds of small sites are made and removed; where there is room, no disk need see them.
export PYTEST_DEBUG_TEMPROOT ?= $(shell [ -w /dev/shm ] && [ "$$(df -m --output=avail /dev/shm | tail -n 1)" -gt 4000 ] && echo /dev/shm)
# Without byte code each pytest worker compiles all tests again.
unexport PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

.PHONY: help demo demo-gunicorn demo-passenger demo-ansible demo-os-upgrade servers test test-slow faults field laws size figures check docs reference pictures bench requirements \
	dist demo-dist versions clean

help: ## Show this help
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(DEMO)/.ready ## Show releaser at work on a small, real Django site (KEEP=1 keeps the site)
	@$(DEMO)/bin/python scripts/demo.py

demo-gunicorn: $(DEMO)/.ready ## Count the failed requests to a real site under gunicorn: an update, a rollback, a broken release
	@TMPDIR=$${PYTEST_DEBUG_TEMPROOT:-$${TMPDIR:-/tmp}} $(DEMO)/bin/python scripts/demo_gunicorn.py

demo-passenger: $(DEMO)/.ready ## The same under Apache with Passenger, against its own bare restart; installs both, as root
	@TMPDIR=$${PYTEST_DEBUG_TEMPROOT:-$${TMPDIR:-/tmp}} $(DEMO)/bin/python scripts/demo_passenger.py

demo-ansible: ## Roll out to five hosts with Ansible and real ssh: a failing canary, the way back; as root, makes users
	@$(PYTHON) scripts/ansible/try
demo-os-upgrade: $(DEV)/.ready ## Upgrade Debian 12 to 13 under two sites, in a chroot, as root with debootstrap (KEEP=1 keeps it)
	@$(DEV)/bin/python -u scripts/demo_os_upgrade.py

servers: $(DEMO)/.ready ## Measure restarts of real servers and workers, each in a small site (ARGS: names of rows)
	@$(DEMO)/bin/python scripts/servers.py $(ARGS)

test: $(DEV)/.ready ## Install what the tests need and run the quick ones
	$(PYTEST) --ignore=tests/faults -m "not slow" $(ARGS)

test-slow: $(DEV)/.ready ## Run the slow tests and a share of the faults
	$(PYTEST) -m "slow or faults" $(ARGS)

# These tests wait for disks and locks half of the time.
test-slow faults: JOBS = 4

faults: $(DEV)/.ready ## Kill at every call of a change and a third of those before it, cut power, signal, try all mutations
	$(PYTEST) tests/faults --every-point $(ARGS)

field: $(DEV)/.ready ## Play what people met in public reports, and print a table (ARGS: those of pytest, such as -k yanked)
	@$(DEV)/bin/python scripts/field.py $(ARGS)

laws: $(DEV)/.ready ## Show which tests hold each law
	@$(DEV)/bin/python scripts/laws.py

size: ## Count lines, tokens and words
	@$(PYTHON) scripts/size.py

figures: $(DEV)/.ready ## Count the programs, reads and calls of commands
	@$(DEV)/bin/python scripts/figures.py

check: $(DEV)/.ready ## Style, types, direction of imports, laws and reference
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/mypy scripts/*.py
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python scripts/laws.py --quiet
	$(DEV)/bin/python scripts/reference.py --check

docs: $(DOCS)/.ready ## Build the documentation into site/; a broken link is an error
	$(DOCS)/bin/zensical build --strict --clean

reference: $(DEV)/.ready ## Write docs/reference/ from the settings and the commands
	@$(DEV)/bin/python scripts/reference.py

pictures: $(DEV)/.ready ## Make docs/pictures/ from real runs; installs chromium, as root, where it is missing
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; }
	@$(DEV)/bin/python scripts/pictures.py

bench: $(DEV)/.ready ## Measure everything beside what people run instead, and print a table with aims (ARGS: the name of a part)
	@$(DEV)/bin/python scripts/bench.py $(ARGS)

# From a clone, so that nothing uncommitted is in it; uv makes the wheel from the sdist. The same commit makes the same bytes.
dist: $(DEV)/.ready ## Build wheel, sdist and SHA256SUMS of the last commit into dist/
	rm -rf dist
	git clone --quiet --no-local . dist/clone
	cd dist/clone && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(abspath $(DEV))/bin/uv build --quiet \
		--build-constraints requirements/development.txt --no-create-gitignore --out-dir ..
	rm -rf dist/clone
	cd dist && sha256sum *.whl *.tar.gz | tee SHA256SUMS

demo-dist: dist ## Install the wheel of `make dist` on a bare Debian 12 and 13, run demo and tutorial there; as root
	@$(DEV)/bin/python -u scripts/demo_dist.py

versions: $(DEV)/.ready ## Run quick tests with each Python, git and uv that releaser is for, in chroots, as root (ARGS: names of rows)
	@$(DEV)/bin/python -u scripts/versions.py $(ARGS)

requirements: $(DEV)/.ready ## Pin the newest versions again
	$(DEV)/bin/uv pip compile $(PINS) --upgrade --group test --group check --output-file requirements/development.txt
	$(DEV)/bin/uv pip compile $(PINS) --constraint requirements/development.txt --output-file requirements/product.txt
	$(DEV)/bin/uv pip compile $(PINS) --constraint requirements/development.txt --group docs --output-file requirements/docs.txt

clean: ## Remove what these commands made
	rm -rf $(DEV) $(DEMO) $(DOCS) dist site .*_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

$(DEV)/.ready: requirements/development.txt
$(DEMO)/.ready: requirements/product.txt
$(DOCS)/.ready: requirements/docs.txt
# pip brings uv alone: uv installs the rest in a quarter of the time.
%/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv --clear $*
	sed -n '/^uv==/,/[^\\]$$/p' requirements/product.txt > $*/uv.txt
	$*/bin/python -m pip install --quiet --no-deps --require-hashes --requirement $*/uv.txt
	$*/bin/uv pip install --quiet --python $*/bin/python --require-hashes --no-deps --requirement $(filter %.txt,$^)
	$*/bin/uv pip install --quiet --python $*/bin/python --no-deps --build-constraints requirements/development.txt --editable .
	touch $@
