# make book, make test, make test-cpus, make gpu, make lab, make clean. All but the last set up .venv when it is missing, outdated
# or half made.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UNFINISHED := $(VENV)/.unfinished
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Threads that wait for one another give the core away soon, so that work beside other work does not crawl.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 3000
endif

.PHONY: book test test-cpus gpu lab clean

book: $(READY)
	@echo "== Running the chapters, then building the pages (what is up to date is not run again)"
	$(BIN)/fgq run book/runs/tiny.yaml --build

test: $(READY)
	@echo "== Testing"
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-cpus: $(READY)
	@echo "== Testing as other CPUs would: QUICK=1 takes the tests in which a bit more or less shows"
	$(BIN)/python -m tests.other_cpus $(if $(QUICK),--quick)

gpu: $(READY)
	@echo "== What needs a GPU: every verb on it against the CPU, then a whole calibration at VGGT-1B's size"
	@if $(BIN)/python -c 'import sys, torch; sys.exit(torch.cuda.is_available())'; \
	  then echo "torch finds no GPU here: nothing was run"; \
	  else $(BIN)/python -m pytest -m cuda && $(BIN)/fgq run book/runs/gpu.yaml; fi

lab: $(READY)
	@echo "== Opening the book's folder in JupyterLab; open a chapter with: right click, Open With, Notebook"
	$(BIN)/jupyter lab --notebook-dir=book

clean:
	@echo "== Removing the run of make book and caches; $(VENV) and other runs in out/ stay"
	rm -rf out/tiny .pytest_cache .ruff_cache .hypothesis
	find fgq tests -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last. An installation that was killed leaves its mark, and is started over, because pip takes a
# package that was only half copied for an installed one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@if [ -e $(UNFINISHED) ]; then echo "== $(VENV) was left half made: starting it over"; rm -rf $(VENV); fi
	@echo "== Setting up $(VENV) with the packages of constraints.txt (once, a few minutes, about 2 GB)"
	@mkdir -p $(VENV) && touch $(UNFINISHED)
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(PIP) install --progress-bar off --constraint constraints.txt --editable ".[book,test]"
	@rm -f $(UNFINISHED) && touch $@
	@echo "== $(VENV) is ready"
