# Two commands do everything: `make demo` and `make test`. The rest is for those who work on episoded.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A file of tests is one process's: what its tests share is made once.
ALL_CORES := -n logical --maxprocesses 4 --dist loadfile

.PHONY: demo test test-lerobot lint bench soak clean help

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP)  ## install into .venv and run the main job on a small simulated recording
	$(BIN)/episoded demo

test: $(STAMP)  ## install into .venv and run the tests
	$(BIN)/pytest -q $(ALL_CORES) -m "not systemd"
	@# They boot a systemd and watch a service at work, which nothing else may slow down.
	$(BIN)/pytest -q -m systemd

test-lerobot: $(STAMP)  ## LeRobot 0.3.3 and 0.4.4 open, read and continue our datasets; builds their environments once
	$(BIN)/python tests/lerobot_judge.py build
	$(BIN)/pytest -q $(ALL_CORES) -m lerobot

lint: $(STAMP)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# mypy finds the packages under their installed names through a link, whatever way they were installed.
	@mkdir -p build/typing && ln -sfn ../.. build/typing/episoded
	MYPYPATH=build/typing $(BIN)/mypy -p episoded.daemon -p episoded.processors

bench: $(STAMP)  ## all benchmarks; minutes
	$(BIN)/pip install --quiet '.[bench]'
	$(BIN)/python benchmarks/encode.py
	$(BIN)/python benchmarks/daemon.py
	$(BIN)/python benchmarks/depth.py

soak: $(STAMP)  ## random SIGKILLs over daemon and workers for some minutes
	$(BIN)/python benchmarks/soak.py

clean:  ## remove what the other commands made
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@
