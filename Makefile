# The two commands of the README, and what they stand on. Each works alone on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := --config config/demo.ini
DEMO_EXPERIMENTS := experiments_antitransfer/demo
DEMO_RESULT := demo/results/experiment_29/results/results_gsc_noisy_randsplit_spectrum_fast_exp29_run1.json

.PHONY: setup demo test benchmark clean

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

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
