# Everything a newcomer needs: `make demo` shows the tool, `make test` runs its tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
# A worker keeps to its modules for as long as it can, so that what the tests of a module share is made once.
WORKERS := -n $(JOBS) --dist worksteal
# Runs pytest, and each test that failed once more alone.
TIER := scripts/tier.py
LOWEST := .venv-lowest
DOCS := .venv-docs
BENCH := .venv-bench
# For the tests of scripts/ansible, and the linters of what CI services and builders of containers read.
FLEET := .venv-fleet
# Thousands of small sites are made and removed; where there is memory enough, no disk need see them.
MEMORY := $(shell [ -w /dev/shm ] && [ "$$(df -m --output=avail /dev/shm | tail -n 1)" -gt 4000 ] && echo /dev/shm)
export PYTEST_DEBUG_TEMPROOT ?= $(MEMORY)
# A quarter of the time that pip takes, which brings uv alone.
INSTALL := uv pip install --quiet --no-deps --require-hashes
# Else each process of pytest compiles every test anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-fleet demo-passenger demo-gunicorn demo-health demo-bundle test test-slow test-all test-exhaustive test-lowest test-pythons attacks dist coverage docs faults faults-spread faults-mutations check lint types imports architecture reference pictures bench bench-ci measure without durability requirements clean demo-os-upgrade

help: ## Show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26

demo: ## Show releaser at work on a small, real Django site (KEEP=1 keeps the site)
	@PYTHON="$(PYTHON)" bash scripts/demo

demo-passenger: ## Show that no visitor notices, on Apache with Passenger (installs them with apt, KEEP=1 keeps the site)
	@PYTHON="$(PYTHON)" bash scripts/demo-passenger

demo-gunicorn: ## Show the same on gunicorn
	@PYTHON="$(PYTHON)" bash scripts/demo gunicorn

demo-health: ## Show that no answer of an old worker lets a release through that breaks the site (20 times in each of 3 ways)
	@PYTHON="$(PYTHON)" bash scripts/demo health

demo-fleet: $(READY) $(FLEET)/.ready ## Roll out to eight hosts by ssh on the loopback: a failing canary, a failing batch, a roll-back of all (root, two minutes)
	@bash scripts/install-debian-packages git sshd ssh crontab
	@$(BIN)/python scripts/demo_fleet.py

demo-bundle: ## Show a bundle and a delta on a host without a network, and the way back, with figures
	@PYTHON="$(PYTHON)" bash scripts/demo bundle

demo-os-upgrade: ## Show that releaser and a site survive a real upgrade of Debian 12 to 13, in a chroot (root, debootstrap, ten minutes; BASE=directory keeps Debian 12)
	@bash scripts/demo-os-upgrade

test: $(READY) ## Install what the tests need, and run the quick ones (three minutes)
	$(BIN)/python $(TIER) $(WORKERS) --ignore=tests/faults -m "not slow" $(ARGS)

test-slow: $(READY) $(FLEET)/.ready ## Run the others: end-to-end tests that are no story, and live servers (ARGS=--turn=1/3 a third of the former, as CI does)
	$(BIN)/python $(TIER) $(WORKERS) --ignore=tests/faults -m slow --durations=20 --durations-min=20 $(ARGS)

test-all: $(READY) $(FLEET)/.ready ## Run both
	$(BIN)/python $(TIER) $(WORKERS) --ignore=tests/faults $(ARGS)

test-exhaustive: $(READY) $(FLEET)/.ready ## Run whole tables, and the longest stories, which CI does not (before a release)
	$(BIN)/python $(TIER) $(WORKERS) --ignore=tests/faults --all-points -m "spread or exhaustive" $(ARGS)

attacks: $(READY) ## Try what others could make releaser do, as root, after scripts/install-debian-packages
	CI=true $(BIN)/python $(TIER) $(WORKERS) --ignore=tests/faults -m attack $(ARGS)

coverage: $(READY) ## Run all tests, and print which lines and branches they reach (half as slow again)
	$(BIN)/python -m pytest $(WORKERS) --ignore=tests/faults --cov --cov-report=term:skip-covered $(ARGS)

faults: $(READY) ## Make every fault at every point, and print how many held (some four hours, needs root)
	$(BIN)/python -m pytest $(WORKERS) --all-points tests/faults $(ARGS)

faults-spread: $(READY) ## Make every fault at a spread of points
	$(BIN)/python $(TIER) $(WORKERS) tests/faults $(ARGS)

faults-mutations: $(READY) ## Leave out each step of the protocol once, and print which fault tells
	$(BIN)/python -m pytest $(WORKERS) --all-points tests/faults/test_mutations.py $(ARGS)

check: $(READY) lint types imports measure test ## What must be green before a commit

lint: $(READY) ## Style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PYTHON) scripts/smells.py

types: $(READY) ## Static types
	$(BIN)/mypy
	$(BIN)/mypy scripts/*.py

imports: $(READY) ## The direction of imports
	$(BIN)/lint-imports

architecture: $(READY) ## Write the table of the attacks in docs/project/security-details.md
	$(BIN)/python scripts/architecture.py

reference: $(READY) ## Write from the code what docs/reference has (commands, settings, JSON), man page and completions
	$(BIN)/python scripts/reference.py

docs: $(DOCS)/.ready ## Build the documentation as a site in site/; what is wrong with a link or the list of pages is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

pictures: $(READY) ## Make the pictures in docs/images (needs Chromium)
	$(BIN)/python scripts/pictures.py $(ARGS)

bench: $(READY) $(BENCH)/.ready ## Measure releaser against what people would use instead (40 minutes; ARGS="--only rollback" a part)
	$(BIN)/python scripts/bench.py $(ARGS)

bench-ci: $(READY) ## Fail if a figure of the small bench is worse than in scripts/bench-ci.json
	$(BIN)/python scripts/bench_ci.py $(ARGS)

measure: $(READY) ## Count what in the core knows features, and how much a reader has to take in
	$(BIN)/python scripts/measure.py

without: $(READY) ## Leave out one capability at a time, and see that all else works (a minute each; ARGS=webhook one)
	$(BIN)/python scripts/without.py $(ARGS)

durability: $(READY) ## Measure what it costs that a power cut does no harm
	$(BIN)/python scripts/durability.py

requirements: $(READY) ## Pin again what development needs, with hashes and without any URL
	$(BIN)/uv lock --upgrade
	$(BIN)/uv export --quiet --all-groups --no-group docs --no-group bench --no-group fleet --all-extras --no-emit-project --no-header --no-annotate --output-file requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --constraints requirements-dev.txt --generate-hashes --no-header --no-annotate \
		--output-file constraints.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra attestations --constraints requirements-dev.txt --generate-hashes --no-header \
		--no-annotate --output-file constraints-attestations.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra notify --constraints requirements-dev.txt --generate-hashes --no-header \
		--no-annotate --output-file constraints-notify.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra prometheus --constraints requirements-dev.txt --generate-hashes --no-header \
		--no-annotate --output-file constraints-prometheus.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra s3 --constraints requirements-dev.txt --generate-hashes --no-header \
		--no-annotate --output-file constraints-s3.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --extra serve --constraints requirements-dev.txt --generate-hashes --no-header \
		--no-annotate --output-file constraints-serve.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --all-extras --resolution lowest-direct --generate-hashes --no-header \
		--no-annotate --output-file requirements-lowest.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --universal --group docs --generate-hashes --no-header --no-annotate \
		--output-file requirements-docs.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --group bench --generate-hashes --no-header --no-annotate \
		--output-file requirements-bench.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --group fleet --generate-hashes --no-header --no-annotate \
		--output-file requirements-fleet.txt

test-lowest: $(READY) ## Run the tests of what drives libraries and uv, with the lowest versions that releaser may be installed with
	$(PYTHON) -m venv --clear $(LOWEST)
	$(BIN)/$(INSTALL) --python $(LOWEST)/bin/python --requirement requirements-dev.txt
	$(BIN)/$(INSTALL) --python $(LOWEST)/bin/python --requirement requirements-lowest.txt
	$(BIN)/uv pip install --python $(LOWEST)/bin/python --quiet --no-deps --editable .
	$(LOWEST)/bin/python $(TIER) $(WORKERS) -m "not slow" tests/reporting tests/resolution tests/tools tests/e2e/test_audit.py \
		tests/e2e/test_commands.py tests/serving tests/site/test_setting_files.py $(ARGS)

test-pythons: $(READY) ## Run quick tests with each newer Python that is there
	bash scripts/test-pythons $(ARGS)

dist: $(READY) ## Make what a release consists of in dist/: wheel with man page and completions, source, Debian package, SBOM, constraints, checksums; run the demo with it
	$(BIN)/python scripts/dist.py

clean: ## Remove what these commands made
	rm -rf $(VENV) .venv-3.* $(LOWEST) $(DOCS) $(BENCH) $(FLEET) .bench dist site .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Everything is pinned, so no dependency is looked for: pip asks for the newest where one is needed with an extra.
# By uv, as the commands that an older pip writes import `re` first, and a bench would measure that.
$(READY): requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("releaser needs Python 3.11 or newer (set PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement $(VENV)/uv.txt
	$(BIN)/$(INSTALL) --python $(BIN)/python --requirement requirements-dev.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --editable .
	touch $@

$(BENCH)/.ready: requirements-bench.txt | $(READY)
	$(PYTHON) -m venv --clear $(BENCH)
	$(BIN)/$(INSTALL) --python $(BENCH)/bin/python --requirement requirements-bench.txt
	touch $@

$(DOCS)/.ready: requirements-docs.txt | $(READY)
	$(PYTHON) -m venv --clear $(DOCS)
	$(BIN)/$(INSTALL) --python $(DOCS)/bin/python --requirement requirements-docs.txt
	touch $@

$(FLEET)/.ready: requirements-fleet.txt | $(READY)
	$(PYTHON) -m venv --clear $(FLEET)
	$(BIN)/$(INSTALL) --python $(FLEET)/bin/python --requirement requirements-fleet.txt
	touch $@
