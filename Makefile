# Every habit of the project. `make help` lists them; all need nothing but Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
SAMPLE := src/cleanplate/pictures/sample/pairs

.DELETE_ON_ERROR:
.PHONY: help setup setup-extra demo test lint types layers bench docs clean

help: ## list these habits
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: .venv/installed ## install cleanplate and its tools into .venv

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cleanplate needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[dev]'
	@touch $@

EXTRA := chromium gir1.2-gst-rtsp-server-1.0 python3-gi
setup-extra: setup ## install the system packages that some tests need (Debian, root): a browser, an RTSP server
	@dpkg -s $(EXTRA) >/dev/null 2>&1 || { apt-get update -q && apt-get install -q -y --no-install-recommends $(EXTRA); }

demo: setup ## sample pictures -> scenes -> training -> evaluation -> predictions -> report, in runs/demo
	$(BIN)/cleanplate train --out $(DEMO) --minutes 9
	@$(MAKE) --no-print-directory $(DEMO)/predictions/done
	$(BIN)/cleanplate report $(DEMO)

$(DEMO)/evaluation.json: $(DEMO)/best.safetensors
	$(BIN)/cleanplate evaluate --model $(DEMO) --cells --pairs sample --json $@

$(DEMO)/predictions/done: $(DEMO)/evaluation.json
	for pair in 0003 0029 0047 0069; do \
	  $(BIN)/cleanplate predict --model $(DEMO) --out $(DEMO)/predictions/$$pair \
	    --plate $(SAMPLE)/$$pair/plate.jpg --plate-depth $(SAMPLE)/$$pair/plate_depth.png $(SAMPLE)/$$pair/frames || exit 1; \
	done
	@touch $@

test: setup ## run the test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup ## ruff: style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup ## ty: static types
	$(BIN)/ty check

layers: setup ## import-linter: every import points down
	$(BIN)/lint-imports --no-cache

bench: setup ## speed, as ratios in one run
	$(BIN)/cleanplate bench --json runs/bench.json

docs: setup ## build the documentation into site/
	$(BIN)/zensical build --clean

clean: ## delete what was built, but no run
	rm -rf .venv .cache site dist .pytest_cache .ruff_cache .hypothesis
