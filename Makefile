# The two commands of the README, and what they stand on. Each works alone on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
REQUIREMENTS := $(wildcard requirements*.txt)
LOCK_INDEX ?= https://pypi.org/simple
LOCK_LINES := import json; \
	found = [each["metadata"] for each in json.load(open(".venv/report.json"))["install"]]; \
	lines = (each["name"].lower().replace("_", "-") + "==" + each["version"].partition("+")[0] \
		for each in found); \
	print("\# Made by make lock from requirements*.txt. These lines pin, but require nothing (pip -c):", \
		"\# what only the CUDA build of torch needs is not installed with the CPU build.", \
		*sorted(lines), sep="\n")
AUDITOR := pip-audit==2.10.1
TRACKING ?= results/tracking
DEMO := --config config/demo.ini
DEMO_ALL := $(DEMO) --config config/demo_all.ini
PREPARATION := noisyspeech_synthesizer preprocessing_NOISYSPEECH_randsplit balance_gsc \
	noisyspeech_synthesizer_gsc noisyspeech_synthesizer_gsc_MORE \
	noisyspeech_synthesizer_gsc_confounded preprocessing_GSC_randsplit \
	preprocessing_GSC_NOISY_randsplit preprocessing_GSC_NOISY_MORE_randsplit \
	preprocessing_GSC_CONFOUNDED_speakersplit \
	preprocessing_IEMOCAP_randsplit preprocessing_IEMOCAP_actorsplit \
	preprocessing_IEMOCAP_randsplit_SPEAKER preprocessing_IEMOCAP_1sec_actorsplit \
	preprocessing_GOODSOUNDS_randsplit preprocessing_GOODSOUNDS_actorsplit \
	preprocessing_GOODSOUNDS_randsplit_INSTRUMENT preprocessing_LIBRISPEECH preprocessing_NSYNTH
EXTRACTORS := iemocap goodsounds librispeech nsynth noisyspeech iemocap_1sec
DEMO_EXPERIMENTS := experiments_antitransfer/demo

.PHONY: setup lock audit demo demo-all test benchmark tensorboard clean

setup: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	$(BIN)/python -m pip check
	touch $(STAMP)

# The newest of what the pinned packages need in turn. From LOCK_INDEX alone, whatever this machine
# installs from: the torch there is the CUDA build, which needs everything that the CPU build needs.
lock:
	$(PYTHON) -m venv .venv
	grep --no-filename --invert-match '^-' $(REQUIREMENTS) > .venv/direct.txt
	env -u PIP_EXTRA_INDEX_URL -u PIP_FIND_LINKS PIP_CONFIG_FILE=/dev/null \
		$(BIN)/python -m pip install --quiet --dry-run --ignore-installed \
		--index-url $(LOCK_INDEX) --requirement .venv/direct.txt --report .venv/report.json
	$(BIN)/python -c '$(LOCK_LINES)' > .venv/requirements.lock
	mv .venv/requirements.lock requirements.lock
	$(MAKE) setup

# Known weaknesses of the locked versions. A package that the database does not know is an error.
audit: $(STAMP)
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet $(AUDITOR)
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.lock

# The main job on a miniature corpus, with the commands that a user types.
demo: $(STAMP)
	$(BIN)/python preprocessing/make_miniature_corpora.py gsc noisyspeech $(DEMO)
	$(BIN)/python preprocessing/noisyspeech_synthesizer.py $(DEMO)
	$(BIN)/python preprocessing/preprocessing_NOISYSPEECH_randsplit.py $(DEMO)
	$(BIN)/python preprocessing/balance_gsc.py $(DEMO)
	$(BIN)/python preprocessing/noisyspeech_synthesizer_gsc_confounded.py $(DEMO)
	$(BIN)/python preprocessing/preprocessing_GSC_CONFOUNDED_speakersplit.py $(DEMO)
	$(BIN)/python pretraining/pretrain_vgg_noisyspeech.py -1 $(DEMO)
	$(BIN)/python plotting/plot_accuracy_boost.py $(DEMO)
	$(BIN)/python plotting/plot_loss_epochs.py $(DEMO)
	$(BIN)/python plotting/plot_perLayer_improvement.py $(DEMO)
	$(BIN)/python experiments_manager.py [confounded] -1 $(DEMO) --experiments $(DEMO_EXPERIMENTS)
	$(BIN)/python training/invariance.py [confounded] -1 $(DEMO) --experiments $(DEMO_EXPERIMENTS)
	$(BIN)/python plotting/report.py [confounded] $(DEMO) --experiments $(DEMO_EXPERIMENTS)

# Every script, every extractor and one instance of every experiment, in the README's order.
demo-all: $(STAMP)
	$(BIN)/python preprocessing/make_miniature_corpora.py $(DEMO_ALL)
	for script in $(PREPARATION); do \
		$(BIN)/python preprocessing/$$script.py $(DEMO_ALL) || exit; \
	done
	for extractor in $(EXTRACTORS); do \
		$(BIN)/python pretraining/pretrain_vgg_$$extractor.py -1 $(DEMO_ALL) || exit; \
	done
	$(BIN)/python experiments_manager.py [baseline,anti_transfer,dual_anti_transfer,10,confounded] -1 1 1 \
		--force $(DEMO_ALL)
	for plot in accuracy_boost loss_epochs perLayer_improvement; do \
		$(BIN)/python plotting/plot_$$plot.py $(DEMO_ALL) || exit; \
	done
	@echo "Everything ran. One epoch of a very narrow network learns nothing: the accuracies are chance."

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Each prints its hardware and a table; about ten minutes together. With --write a figure is kept
# under benchmarks/results/.
benchmark: $(STAMP)
	$(BIN)/python -m benchmarks.training_step --width 0.125 --batch-size 30
	$(BIN)/python -m benchmarks.training_step --width 0.125 --batch-size 30 --compare-memory 5
	$(BIN)/python -m benchmarks.gram
	$(BIN)/python -m benchmarks.preprocessing

# Curves of the trainings that ran with --set tracker=tensorboard.
tensorboard: $(STAMP)
	$(BIN)/tensorboard --logdir $(TRACKING)

clean:
	rm -rf demo demo_all
