# New contributors need only `make demo` and `make test`; both first create an environment in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PROOF = $(VENV)/.proof
SITE = $(VENV)/.docs
# At most eight processes: each one creates its own shared store and run.
# One file is run by one process, which creates its fixtures once.
PYTEST = $(BIN)/python -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile
DEMO_FOLDER ?= demo
# Dependencies of skelepipe except torch, numpy, numba, h5py and click, which GPU machines usually provide.
WHEELS = annotated-types donfig filelock google-crc32c isal markdown-it-py mdurl numcodecs packaging pydantic \
	pydantic-core pygments pyyaml rich safetensors typing-extensions typing-inspection zarr

.PHONY: help demo test check format lint types unit slow thorough rehearse nojit bounds fuzz mutants prove resumes soak coverage audit bench gpu wheels pages pictures docs clean

help:  ## list all targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(PROOF): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,proof]'
	touch $@

demo: $(READY)  ## run the whole pipeline on synthetic recordings, in demo/
	rm -rf $(DEMO_FOLDER)
	$(BIN)/skelepipe demo $(DEMO_FOLDER) $(DEMO)

test: lint types unit  ## check format, lint and types, and run the quick tests (under five minutes)

check: slow bounds  ## run the slow tests, and the kernel tests with bounds checks: all else that .ci/run runs

format: $(READY)  ## format the code and fix lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(READY)  ## check formatting, lint and that every import is a declared dependency
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/deptry .

types: $(READY)  ## check types strictly
	$(BIN)/mypy

unit: $(READY)  ## run the quick tests; one that takes more than three CPU seconds fails
	$(PYTEST) --durations 10 --cpu-limit 3 -m "not slow and not rehearsal and not thorough"

slow: $(READY)  ## run the tests that are marked slow
	$(PYTEST) --durations 25 -m "slow and not rehearsal and not thorough"

thorough: $(READY)  ## run longer tests: interrupted and distributed training, long documentation pages, planted faults (ten minutes on one core)
	$(PYTEST) --durations 25 -m thorough

rehearse: $(READY)  ## run the long benchmarks at tiny sizes, the GPU benchmark on the CPU (five minutes)
	$(PYTEST) --durations 25 -m rehearsal

nojit: $(READY)  ## run the kernel tests without compilation, as plain Python
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m kernels -k "not golden"

# A separate cache: numba would otherwise reuse kernels compiled without bounds checks.
bounds: $(READY)  ## run the kernel tests compiled with bounds checks
	cache=$$(mktemp -d); trap 'rm -rf "$$cache"' EXIT; \
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR="$$cache" $(PYTEST) -m kernels; exit $$?

fuzz: $(READY)  ## fuzz every parser: a million damaged files and some of 2 GB (twenty minutes)
	$(BIN)/python -m tests.fuzz.fuzz $(FUZZ)

prove: $(READY)  ## test the promises of docs/internals/reliability.md: kills, power cuts, full disks, flipped bits (an hour)
	$(BIN)/python -m tests.proofs.prove

resumes: $(READY)  ## stop pre-training after every step and kill it at random times, then resume (half an hour)
	$(BIN)/python -m tests.proofs.resume_points

# Without the tests on disks of 5,000 bytes: the data of coverage would not fit on them.
coverage: $(PROOF)  ## report line and branch coverage by file, also for uncompiled kernels (20 minutes)
	$(BIN)/coverage erase
	$(PYTEST) -m "not rehearsal and not thorough" -k "not a_disk_that_refuses" --cov --cov-report=
	NUMBA_DISABLE_JIT=1 $(PYTEST) -m kernels -k "not golden" --cov --cov-append --cov-report=
	$(BIN)/coverage report

audit: $(PROOF)  ## ask PyPI for known vulnerabilities of every pinned version; fail if there is no answer
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

soak: $(READY)  ## repeat all commands in one process for twenty minutes; memory, handles and threads must not grow
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.proofs.soak

mutants: $(PROOF)  ## run mutation tests of one file (MODULE=pipeline/... TESTS=tests/...)
	mkdir -p proof && rm -f proof/mutants.sqlite
	sed 's|MODULE"|$(MODULE)"|; s|TESTS"|$(TESTS)"|' cosmic-ray.toml > proof/mutants.toml
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cosmic-ray init proof/mutants.toml proof/mutants.sqlite
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cosmic-ray exec proof/mutants.toml proof/mutants.sqlite
	$(BIN)/cr-report proof/mutants.sqlite | tail -n 3

bench: $(READY)  ## run the benchmarks and compare with their baselines
	$(BIN)/python -m benchmarks.speed.normalise
	$(BIN)/skelepipe bench

gpu: $(READY)  ## run all GPU checks: equality, speed, memory, accuracy (nine minutes)
	PYTHON=$(BIN)/python bash benchmarks/gpu.sh

# pip matches platform tags exactly, so every tag that these wheels use is listed.
wheels:  ## download into wheels/ the packages that benchmarks/gpu.sh needs on a machine with torch but without network
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

clean:  ## remove the environment, the demo and the site
	rm -rf $(VENV) demo docs/_build docs/_made
