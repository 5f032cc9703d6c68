# The two commands of the README, and what they stand on. Each works alone on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := --config config/demo.ini
DEMO_ALL := $(DEMO) --config config/demo_all.ini
PREPARATION := noisyspeech_synthesizer preprocessing_NOISYSPEECH_randsplit balance_gsc \
	noisyspeech_synthesizer_gsc noisyspeech_synthesizer_gsc_MORE preprocessing_GSC_randsplit \
	preprocessing_GSC_NOISY_randsplit preprocessing_GSC_NOISY_MORE_randsplit \
	preprocessing_IEMOCAP_randsplit preprocessing_IEMOCAP_actorsplit \
	preprocessing_IEMOCAP_randsplit_SPEAKER preprocessing_IEMOCAP_1sec_actorsplit \
	preprocessing_GOODSOUNDS_randsplit preprocessing_GOODSOUNDS_actorsplit \
	preprocessing_GOODSOUNDS_randsplit_INSTRUMENT preprocessing_LIBRISPEECH preprocessing_NSYNTH
EXTRACTORS := iemocap goodsounds librispeech nsynth noisyspeech iemocap_1sec
DEMO_EXPERIMENTS := experiments_antitransfer/demo
DEMO_RESULT := demo/results/experiment_29/results/results_gsc_noisy_randsplit_spectrum_fast_exp29_run1.json

.PHONY: setup demo demo-all test benchmark clean

setup: $(STAMP)

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $(STAMP)

# The main job on a miniature corpus, with the commands that a user types.
demo: $(STAMP)
	$(BIN)/python preprocessing/make_miniature_corpora.py gsc noisyspeech $(DEMO)
	$(BIN)/python preprocessing/noisyspeech_synthesizer.py $(DEMO)
	$(BIN)/python preprocessing/preprocessing_NOISYSPEECH_randsplit.py $(DEMO)
	$(BIN)/python preprocessing/balance_gsc.py $(DEMO)
	$(BIN)/python preprocessing/noisyspeech_synthesizer_gsc.py $(DEMO)
	$(BIN)/python preprocessing/preprocessing_GSC_NOISY_randsplit.py $(DEMO)
	$(BIN)/python pretraining/pretrain_vgg_noisyspeech.py -1 $(DEMO)
	$(BIN)/python plotting/plot_accuracy_boost.py $(DEMO)
	$(BIN)/python plotting/plot_loss_epochs.py $(DEMO)
	$(BIN)/python plotting/plot_perLayer_improvement.py $(DEMO)
	$(BIN)/python experiments_manager.py [6,29,109] -1 $(DEMO) --experiments $(DEMO_EXPERIMENTS)
	$(BIN)/python plotting/plot_loss_epochs.py $(DEMO) $(DEMO_RESULT)
	$(BIN)/python experiments_manager.py --summary [6,29,109] $(DEMO) --experiments $(DEMO_EXPERIMENTS)

# Every script, every extractor and one instance of every experiment, in the README's order.
demo-all: $(STAMP)
	$(BIN)/python preprocessing/make_miniature_corpora.py $(DEMO_ALL)
	for script in $(PREPARATION); do \
		$(BIN)/python preprocessing/$$script.py $(DEMO_ALL) || exit; \
	done
	for extractor in $(EXTRACTORS); do \
		$(BIN)/python pretraining/pretrain_vgg_$$extractor.py -1 $(DEMO_ALL) || exit; \
	done
	$(BIN)/python experiments_manager.py [baseline,anti_transfer,dual_anti_transfer,10] -1 1 1 \
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

# A training step against a plain one and against the way the released code works.
benchmark: $(STAMP)
	$(BIN)/python -m benchmarks.training_step --width 0.125 --batch-size 30

clean:
	rm -rf demo demo_all
