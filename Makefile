# make demo        three arms on the tiny student, then the table that compares them
# make demo-seeds  the demo for three seeds, then what each training set gains (benchmarks/results/demo_gain.md)
# make suite       every recipe against every baseline on the embedded task, hours (results/arithmetic_suite.md)
# make ablations   what the suite's result depends on, hours (results/arithmetic_*.md)
# make test        the tests that take seconds
# make test-all    the slow ones too: several processes, packaging, interrupted runs
# make soak        long fault runs: 20 interruptions at seeded moments, 1,000 hostile answers
# make lint        formatting, linting, types
PYTHON ?= python3
CONSTRAINTS ?= constraints/cpu.txt
RESULTS := benchmarks/results
RUNS ?= runs/demo
SEED ?= 0
SEEDS ?= 0 1 2
BIN := .venv/bin
ARMS := pool uniform_skill stat_sel
# A file of tests stays on one core: torch processes with several threads each would wait for each other.
WORKERS ?= $(shell nproc)
# Hundreds of processes import the package, so what they compile is kept, whatever the shell says.
PYTEST := HF_HUB_OFFLINE=1 WANDB_MODE=disabled OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
PARALLEL := --dist loadfile

.PHONY: demo demo-seeds suite ablations test test-all soak lint
.venv/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --no-compile -c $(CONSTRAINTS) torch
	$(BIN)/python -m pip install -q --no-compile -c $(CONSTRAINTS) -e '.[dev,harness]'
	@# On all cores, where pip would do it on one. It fails for files that are examples of what does not compile.
	$(BIN)/python -m compileall -q -j 0 .venv/lib > .venv/compile.log 2>&1 || true
	touch $@

demo: .venv/installed
	@for arm in $(ARMS); do \
	  echo; echo "== data_recipe=$$arm"; \
	  $(BIN)/stat-train data_recipe=$$arm seed=$(SEED) run_dir=$(RUNS)/$$arm || exit $$?; \
	done
	@$(BIN)/stat-train compare $(addprefix $(RUNS)/,$(ARMS))

demo-seeds: .venv/installed
	for seed in $(SEEDS); do $(MAKE) demo SEED=$$seed RUNS=runs/demo-seed$$seed || exit $$?; done
	mkdir -p $(RESULTS)
	$(BIN)/python benchmarks/demo_gain.py $(SEEDS:%=runs/demo-seed%) > $(RESULTS)/demo_gain.md
	cat $(RESULTS)/demo_gain.md

# One thread for each run, so many runs at a time as there are cores.
suite: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/stat-train -m experiment=arithmetic_suite \
	  hydra/launcher=joblib hydra.launcher.n_jobs=$(WORKERS)

ablations: .venv/installed
	for sweep in teacher efficiency efficiency_seeds tokens pool details thresholds skillmix without_replay; do \
	  OMP_NUM_THREADS=1 $(BIN)/stat-train -m experiment=arithmetic_ablation sweep=arithmetic_$$sweep \
	    hydra/launcher=joblib hydra.launcher.n_jobs=$(WORKERS) || exit $$?; \
	done

test: .venv/installed
	$(PYTEST) $(PARALLEL) -n $(WORKERS) -m "not slow and not soak and not gpu"

# One worker more: a fifth of the slow tests' time is waiting, for Slurm's queue and for servers.
test-all: .venv/installed
	$(PYTEST) $(PARALLEL) -n $$(($(WORKERS) + 1)) --no-loadscope-reorder -m "not soak and not gpu"

soak: .venv/installed
	$(PYTEST) -m soak

lint: .venv/installed
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
