# `make demo` and `make test` are all that a newcomer needs; both make their own environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PROOF = $(VENV)/.proof
SITE = $(VENV)/.docs
# Every core up to eight: each process makes the shared store and run for itself.
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8
DEMO_FOLDER ?= demo
# What skelepipe needs beyond torch, numpy, numba, h5py and click, which a machine made for GPUs has.
WHEELS = annotated-types donfig filelock google-crc32c isal markdown-it-py mdurl numcodecs packaging pydantic \
	pydantic-core pygments pyyaml rich safetensors typing-extensions typing-inspection zarr

.PHONY: help demo test format lint types unit thorough rehearse nojit bounds fuzz mutants prove resumes soak coverage audit bench gpu wheels pages pictures docs clean

help:  ## list what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(PROOF): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,proof]'
	touch $@

demo: $(READY)  ## the whole job on synthetic recordings, in demo/
	rm -rf $(DEMO_FOLDER)
	$(BIN)/skelepipe demo $(DEMO_FOLDER) $(DEMO)

test: lint types unit bounds  ## everything that .ci/run runs

format: $(READY)  ## write the code as the formatter would
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY)  ## formatting, lint, and whether every import is a declared dependency
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/deptry .

types: $(READY)  ## strict type check
	$(BIN)/mypy

unit: $(READY)  ## the tests
	$(PYTEST) --durations 25 -m "not rehearsal and not thorough"

thorough: $(READY)  ## longer tests: stopped and shared trainings, long pages of docs, provers that must notice a fault (ten minutes on one core)
	$(PYTEST) --durations 25 -m thorough

rehearse: $(READY)  ## the long benchmarks at tiny sizes, that of the GPU on the CPU: do they still run? (five minutes)
	$(PYTEST) --durations 25 -m rehearsal

nojit: $(READY)  ## the kernels' tests without compilation, line by line as Python has them
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m kernels -k "not golden"

# In a cache of its own: numba would take kernels that were compiled without the check.
bounds: $(READY)  ## the kernels' tests compiled with a check of every index
	cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$cache" $(PYTEST) -m kernels; exit $$?

fuzz: $(READY)  ## a million damaged files through every parser, and some of 2 GB (twenty minutes)
	$(BIN)/python -m tests.fuzz.fuzz $(FUZZ)

prove: $(READY)  ## prove all that docs/internals/reliability.md promises: kills, power cuts, full disks, flipped bits (an hour)
	$(BIN)/python -m tests.proofs.prove

resumes: $(READY)  ## stop pre-trainings after every step and kill them at random times (half an hour)
	$(BIN)/python -m tests.proofs.resume_points

# Not with the disks that take 5,000 bytes: what coverage writes does not fit, either.
coverage: $(PROOF)  ## which lines and branches the tests reach, file by file; kernels uncompiled, too (20 minutes)
	$(BIN)/coverage erase
	$(PYTEST) -m "not rehearsal and not thorough" -k "not a_disk_that_refuses" --cov --cov-report=
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m kernels -k "not golden" --cov --cov-append --cov-report=
	$(BIN)/coverage report

audit: $(PROOF)  ## ask PyPI for known vulnerabilities of every pinned version; fails when it cannot tell
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

soak: $(READY)  ## all commands again and again in one process for twenty minutes: memory, handles, threads stay flat
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.proofs.soak

mutants: $(PROOF)  ## change one file in small places: its tests must notice (MODULE=pipeline/... TESTS=tests/...)
	mkdir -p proof && rm -f proof/mutants.sqlite
	sed 's|MODULE"|$(MODULE)"|; s|TESTS"|$(TESTS)"|' cosmic-ray.toml > proof/mutants.toml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cosmic-ray init proof/mutants.toml proof/mutants.sqlite
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cosmic-ray exec proof/mutants.toml proof/mutants.sqlite
	$(BIN)/cr-report proof/mutants.sqlite | tail -n 3

bench: $(READY)  ## the benchmarks, against their baselines
	$(BIN)/python -m benchmarks.speed.normalise
	$(BIN)/skelepipe bench

gpu: $(READY)  ## all that needs a GPU, in nine minutes: equality, speed, memory, accuracy
	PYTHON=$(BIN)/python bash benchmarks/gpu.sh

# pip matches a platform exactly, so every one that these wheels are tagged with is named.
wheels:  ## into wheels/: what benchmarks/gpu.sh needs on a machine with torch and no network
	rm -rf wheels
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
		--constraint constraints.txt --dest wheels $(WHEELS)

pages: $(READY)  ## write the generated pages of docs/: settings, presets, list of source files
	$(BIN)/python -m docs.generate

pictures: $(READY)  ## redraw docs/figures/images, after a change of the recipe clean or of the mixing
	$(BIN)/python -m docs.figures.draw_clean
	$(BIN)/python -m docs.figures.draw_method

$(SITE): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

docs: $(SITE)  ## build the HTML site of docs/ in docs/_build/html; warnings are errors (four minutes)
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs docs/_build/html
	@echo docs/_build/html/index.html

clean:  ## remove the environment, what the demo made, and the site
	rm -rf $(VENV) demo docs/_build docs/_made
