# Every target sets up what it needs; a fresh machine needs only Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?= .data
WORKERS ?= 2
export PYTHONPATH := $(CURDIR)
unexport RUST_BACKTRACE

.PHONY: dev test test-fast check smoke cases bench fuzz soak format generate advisories lock clean

dev: $(STAMP) ## Start everything, publish and install the examples, stay up until Ctrl-C
	@exec $(BIN)/alga dev --data $(DATA)

test: $(STAMP) ## Everything that must pass; attack and fault cases at a tenth of their counts
	$(BIN)/pytest -n $(WORKERS) --dist loadfile

test-fast: $(STAMP) ## Unit, contract and architecture tests, in seconds
	$(BIN)/pytest tests/unit tests/architecture -n $(WORKERS)

check: $(STAMP) ## Lint, formatting, types, layers, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m tools.generate --check

smoke: $(STAMP) ## Publish, install, call, stop; exits 0 when all of it worked
	$(BIN)/python -m tests.smoke

cases: $(STAMP) ## The attack and fault list by id at full counts, as a table
	$(BIN)/python -m tests.case_table

bench: $(STAMP) ## The whole fleet against the bare call, as a table and as JSON
	$(BIN)/python -m bench

fuzz: $(STAMP) ## Long randomised runs; prints counts and seeds
	$(BIN)/python -m tests.fuzz $(TARGET) $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED)) $(if $(SECONDS),--seconds $(SECONDS))

soak: $(STAMP) ## Minutes of load with faults; prints what it found
	$(BIN)/python -m tests.soak $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(MINUTES),--minutes $(MINUTES))

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

generate: $(STAMP) ## JSON Schemas and the OpenAPI document
	$(BIN)/python -m tools.generate

advisories: $(STAMP) ## Known vulnerabilities in what is locked
	$(BIN)/pip-audit --disable-pip -r requirements.lock

lock: ## Pin what pyproject.toml asks for
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv; }
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing locked dependencies into $(VENV) (about a minute the first time)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

clean:
	rm -rf $(VENV) $(DATA) .cache .mypy_cache .ruff_cache .pytest_cache
