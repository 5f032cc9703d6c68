# The two commands of the README, and what they stand on. Each works alone on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
# What is installed already: what the commands of the README need, and what the tests need besides.
SUITE := .venv/.suite
TESTS := .venv/.tests
# The first that shows a bar while it installs, not only while it downloads.
PIP := pip==26.3
REQUIREMENTS := $(wildcard requirements*.txt)
LOCK_INDEX ?= https://pypi.org/simple
# What only some of the Pythons need stands in the lock as well.
LOCK_PYTHONS := 3.13 3.11
LOCK_LINES := import json; \
	reports = [json.load(open(f".venv/{version}.json")) for version in "$(LOCK_PYTHONS)".split()]; \
	found = [each["metadata"] for report in reports for each in report["install"]]; \
	versions = {each["name"].lower().replace("_", "-"): each["version"].partition("+")[0] \
		for each in found}; \
	print("\# Made by make lock from requirements*.txt. These lines pin, but require nothing (pip -c):", \
		"\# what only the CUDA build of torch or only Python 3.13 needs is not installed elsewhere.", \
		*sorted(f"{name}=={version}" for name, version in versions.items()), sep="\n")
AUDITOR := pip-audit==2.10.1
TRACKING ?= results/tracking
DEMO := --config config/demo.ini
DEMO_ALL := --config config/demo_all.ini
PREPARATION := noisyspeech_synthesizer preprocessing_NOISYSPEECH_randsplit balance_gsc \
	noisyspeech_synthesizer_gsc noisyspeech_synthesizer_gsc_MORE \
	noisyspeech_synthesizer_gsc_confounded preprocessing_GSC_randsplit \
	preprocessing_GSC_NOISY_randsplit preprocessing_GSC_NOISY_MORE_randsplit \
	preprocessing_GSC_CONFOUNDED_speakersplit \
	preprocessing_IEMOCAP_randsplit preprocessing_IEMOCAP_actorsplit \
	preprocessing_IEMOCAP_randsplit_SPEAKER preprocessing_IEMOCAP_1sec_actorsplit \
	preprocessing_GOODSOUNDS_randsplit preprocessing_GOODSOUNDS_actorsplit \
	preprocessing_GOODSOUNDS_randsplit_INSTRUMENT preprocessing_LIBRISPEECH preprocessing_NSYNTH
PROTOCOLS := iemocap_5folds iemocap_excited_5folds iemocap_excited_10folds gsc_v2_10 gsc_v2_12 gsc_v2_35
EXTRACTORS := iemocap goodsounds librispeech nsynth noisyspeech iemocap_1sec
DEMO_EXPERIMENTS := experiments_antitransfer/demo

stage = @printf '\n== Stage %s of 9: %s ==\n' $(1) $(2)

.PHONY: setup lock audit demo demo-all test benchmark tensorboard clean

setup: $(SUITE)

$(SUITE): requirements.txt requirements.lock pyproject.toml
	@echo "Installing what the suite needs into .venv: 1.8 GB, two to five minutes. The CUDA build"
	@echo "of torch, which PyPI has for Linux, is 3 GB more; a CPU build does for make demo."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP)
	$(BIN)/python -m pip install --requirement requirements.txt
	$(BIN)/python -m pip check
	touch $@

$(TESTS): $(SUITE) requirements-dev.txt requirements-cluster.txt requirements-export.txt
	@echo "Installing what the tests need besides into .venv: 0.8 GB, about a minute."
	$(BIN)/python -m pip install --requirement requirements-dev.txt
	$(BIN)/python -m pip check
	touch $@

# The newest of what the pinned packages need in turn. From LOCK_INDEX alone, whatever this machine
# installs from: the torch there is the CUDA build, which needs everything that the CPU build needs.
lock:
	$(PYTHON) -m venv .venv
	grep --no-filename --invert-match '^-' $(REQUIREMENTS) > .venv/direct.txt
	for version in $(LOCK_PYTHONS); do \
		env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null \
			$(BIN)/python -m pip install --dry-run --ignore-installed --target .venv/nowhere \
			--python-version $$version --only-binary=:all: --index-url $(LOCK_INDEX) \
			--requirement .venv/direct.txt --report .venv/$$version.json || exit; \
	done
	$(BIN)/python -c '$(LOCK_LINES)' > .venv/requirements.lock
	mv .venv/requirements.lock requirements.lock
	$(MAKE) setup

# Known weaknesses of the locked versions. A package that the database does not know is an error.
audit: $(SUITE)
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install $(AUDITOR)
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

# The main job on a miniature corpus, with the commands that a user types.
demo: $(SUITE)
	@echo "Nine stages, less than five minutes on two idle cores. Interrupted (Ctrl-C), make demo goes on."
	$(call stage,1,'speak digits with eSpeak and make noises')
	$(BIN)/python preprocessing/make_miniature_corpora.py gsc noisyspeech --size clips_per_word=130 $(DEMO)
	$(call stage,2,'mix speech with noise; which noise it is will be the orthogonal task')
	$(BIN)/python preprocessing/noisyspeech_synthesizer.py $(DEMO)
	$(call stage,3,'compute the Mel spectra of these mixtures')
	$(BIN)/python preprocessing/preprocessing_NOISYSPEECH_randsplit.py $(DEMO)
	$(call stage,4,'take as many clips of each digit')
	$(BIN)/python preprocessing/balance_gsc.py $(DEMO)
	$(call stage,5,'mix the digits with noise that follows the word in training but not in the test')
	$(BIN)/python preprocessing/noisyspeech_synthesizer_gsc_confounded.py $(DEMO)
	$(call stage,6,'compute the Mel spectra of the digits')
	$(BIN)/python preprocessing/preprocessing_GSC_CONFOUNDED_speakersplit.py $(DEMO)
	$(call stage,7,'train the network that knows noises; it stays frozen from here on')
	$(BIN)/python pretraining/pretrain_vgg_noisyspeech.py -1 $(DEMO)
	$(call stage,8,'train on the digits: plainly and with two ways of pushing the noise away')
	$(BIN)/python experiments_manager.py [confounded] -1,-1 $(DEMO) --experiments $(DEMO_EXPERIMENTS)
	$(call stage,9,'write the report')
	$(BIN)/python plotting/report.py [confounded] $(DEMO) --experiments $(DEMO_EXPERIMENTS)

# Every script, every extractor and one instance of every experiment (one fold of it), in the README's order.
demo-all: $(SUITE)
	$(BIN)/python preprocessing/make_miniature_corpora.py $(DEMO_ALL)
	for script in $(PREPARATION); do \
		$(BIN)/python preprocessing/$$script.py $(DEMO_ALL) || exit; \
	done
	for dataset in $(PROTOCOLS); do \
		$(BIN)/python preprocessing/preprocess.py $$dataset $(DEMO_ALL) || exit; \
	done
	for extractor in $(EXTRACTORS); do \
		$(BIN)/python pretraining/pretrain_vgg_$$extractor.py -1 $(DEMO_ALL) || exit; \
	done
	$(BIN)/python experiments_manager.py [baseline,anti_transfer,dual_anti_transfer,10,confounded,searched,protocols] -1 1 1 \
		--force --set num_folds=1 $(DEMO_ALL)
	for plot in accuracy_boost loss_epochs perLayer_improvement; do \
		$(BIN)/python plotting/plot_$$plot.py $(DEMO_ALL) || exit; \
	done
	@echo "Everything ran. One epoch of a very narrow network learns nothing: the accuracies are chance."

test: $(TESTS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/python -m pytest

# Each prints its hardware and a table; about ten minutes together. With --write a figure is kept
# under benchmarks/results/.
benchmark: $(SUITE)
	$(BIN)/python -m benchmarks.training_step --width 0.125 --batch-size 30
	$(BIN)/python -m benchmarks.training_step --width 0.125 --batch-size 30 --compare-memory 5
	$(BIN)/python -m benchmarks.gram
	$(BIN)/python -m benchmarks.preprocessing

# Curves of the trainings that ran with --set tracker=tensorboard.
tensorboard: $(TESTS)
	$(BIN)/tensorboard --logdir $(TRACKING)

clean:
	rm -rf demo demo_all demo_protocols
