# Environments: .venv (everything but whisperx; torch 2.13), .venv-full (every extra; whisperx pins torch 2.8) and
# .venv-label (a label server for its tests).
# Each is made once and again only when pyproject.toml or its constraints change.
#
#   make demo        set up, make a small synthetic conversation set, build it, validate it
#   make test        the test suite
#   make full        the second environment (10 GB)
#   make test-full   the tests that need it
#   make test-label  the tests that need a label server, with an environment of its own for it (1 GB)
#   make lint        ruff and mypy
#   make gpu-check   every GPU path, compared with the CPU and timed; says so where there is no GPU
#   make clean       remove the environments and what the demo made

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test full test-full test-label lint gpu-check clean

PYTHON ?= python3
VENV ?= .venv
VENV_FULL ?= .venv-full
VENV_LABEL ?= .venv-label
DEMO ?= demo-out
# Arguments for pytest, such as PYTEST="-k registry".
PYTEST ?=
# Arguments for the check of GPU paths, such as GPU_CHECK="--device cpu --only raster".
GPU_CHECK ?=

READY := $(VENV)/.ready
READY_FULL := $(VENV_FULL)/.ready
READY_LABEL := $(VENV_LABEL)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help:
	@sed -n '5,13s/^#  *//p' Makefile

# torch goes first and by its exact version: where a CPU build of it is at hand (pip's find-links, an index of CPU
# builds), pip takes that one; a range would take the newest build with its gigabytes of CUDA libraries.
# -qq: pip's errors are shown, its warnings about every index that lacks a package are not.
$(READY): pyproject.toml constraints-light.txt
	@echo "== setting up $(VENV) (about two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -qq -c constraints-light.txt torch
	$(VENV)/bin/pip install -qq -c constraints-light.txt -e '.[dev,annotate,gpu,cluster,train]'
	@touch $@

$(READY_FULL): pyproject.toml constraints-full.txt
	@echo "== setting up $(VENV_FULL) (about five minutes, 10 GB)"
	@rm -rf $(VENV_FULL)
	$(PYTHON) -m venv $(VENV_FULL)
	$(VENV_FULL)/bin/pip install -qq -c constraints-full.txt -e '.[all]'
	@touch $@

# The label server pins a hundred packages of its own, so it never shares an environment with anything.
$(READY_LABEL): constraints-label.txt
	@echo "== setting up $(VENV_LABEL) (about a minute, 1 GB)"
	@rm -rf $(VENV_LABEL)
	$(PYTHON) -m venv $(VENV_LABEL)
	$(VENV_LABEL)/bin/pip install -qq -c constraints-label.txt label-studio
	@touch $@

demo: $(READY)
	@echo "== model files"
	$(VENV)/bin/rsat-data models fetch
	@echo "== synthetic conversations"
	@rm -rf $(DEMO)
	$(VENV)/bin/rsat-data synth --out $(DEMO)/videos --clips 2 --seconds 6 --seed 1
	@echo "== building the dataset"
	$(VENV)/bin/rsat-data build --videos $(DEMO)/videos --out $(DEMO)/dataset
	@echo "== checking it"
	$(VENV)/bin/rsat-data validate $(DEMO)/dataset
	@echo
	@echo "Done. Look at:"
	@echo "  $(DEMO)/videos/             the synthetic conversations, each with its truth beside it"
	@echo "  $(DEMO)/dataset/README.md   the dataset's card"
	@echo "  $(DEMO)/dataset/data/       the rows: two a conversation, one for each person"
	@echo "Your own videos: $(VENV)/bin/rsat-data build --videos FOLDER --out DATASET"

test: $(READY)
	$(VENV)/bin/rsat-data models fetch
	$(VENV)/bin/python -m pytest -n auto --dist loadfile -m 'not full and not gpu and not label_server' $(PYTEST)

full: $(READY_FULL)
	@echo "Ready: $(VENV_FULL)/bin/rsat-data"

test-full: $(READY_FULL)
	$(VENV_FULL)/bin/rsat-data models fetch
	$(VENV_FULL)/bin/python -m pytest -m full $(PYTEST)
	@echo "== the whole line and the maths again, with whisperx and the oldest torch that is supported"
	$(VENV_FULL)/bin/python -m pytest -n auto --dist loadfile tests/test_line.py tests/model $(PYTEST)

# One process: its tests share one server, whose first start takes a minute or two.
test-label: $(READY) $(READY_LABEL)
	RSAT_LABEL_SERVER=$(abspath $(VENV_LABEL))/bin/label-studio $(VENV)/bin/python -m pytest -m label_server $(PYTEST)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

gpu-check: $(READY)
	$(VENV)/bin/python -m benchmarks.gpu_check $(GPU_CHECK)
	@if $(VENV)/bin/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
	  $(VENV)/bin/python -m pytest -m gpu $(PYTEST); \
	fi

clean:
	rm -rf $(VENV) $(VENV_FULL) $(VENV_LABEL) $(DEMO)
