# Each command does all of its set-up on a fresh machine with Python >= 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: install test check demo docs clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("semreid needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps trackers -c constraints.txt
	touch $@

test: check
	$(BIN)/pytest

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The main job on synthetic people, or on your own crops: make demo DATA=folder:/path/to/crops OUT=mine; TRAIN=1 trains first
demo: install
	$(BIN)/semreid demo $(if $(DATA),--data $(DATA)) $(if $(TRAIN),--train) $(if $(OUT),--out $(OUT))

# The site, from the pages and the docstrings; nothing is fetched, and a dead link or a docstring that cannot be parsed fails.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open site/index.html"

clean:
	rm -rf $(VENV) demo demo-trained site
