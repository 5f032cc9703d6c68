"""Rows of docs/fidelity.md that arithmetic can check; tests of other rows stand with their code.

Expected values are worked out by hand or stand in the row.
"""

import numpy as np
import pytest
import torch

from config.ini_files import load_settings
from plotting.published import load_published
from preprocessing.pipeline.audio import is_silent, normalize_peak
from preprocessing.pipeline.features import extract_features
from training.engine.evaluation import MetricSums

RATE = 16000


class TestData:
    def test_levels_are_those_of_the_largest_absolute_sample(self) -> None:
        samples = np.array([-0.4, 0.2], dtype=np.float32)
        np.testing.assert_allclose(normalize_peak(samples), [-0.8, 0.4])
        assert not is_silent(np.array([-0.4, 0.04], dtype=np.float32))
        assert is_silent(np.array([-0.05, 0.04], dtype=np.float32))

    def test_the_edges_of_stft_are_zeros(self) -> None:
        """A Hann window of 1024 adds up to 512; its second half, with the middle 1, to 256.5."""
        settings = load_settings(overrides={"features_type": "stft"}).feature_extraction
        (features,) = extract_features([np.ones(RATE, dtype=np.float32)], settings, RATE)
        assert features[0, 0] == pytest.approx(256.5)
        np.testing.assert_allclose(features[1:31, 0], 512, rtol=1e-5)


class TestResults:
    def test_an_epochs_metrics_are_means_over_examples(self) -> None:
        """Losses 1 and 3 in a batch, 5 in the next: 9 / 3, where means of batches give 3.5."""
        sums = MetricSums()
        sums.add(2, {"loss": torch.tensor(2.0)})
        sums.add(1, {"loss": torch.tensor(5.0)})
        assert sums.means() == {"loss": 3.0}

    def test_the_published_validation_loss_is_a_mean_of_two(self) -> None:
        curve = load_published()["loss_epochs"]
        losses = curve["history"]["val_loss_hist"]
        assert losses[-1] == pytest.approx(1.271135, abs=1e-6)
        assert min(losses) == pytest.approx(0.880728, abs=1e-6)
        published = curve["final"]["validation"]["mean_loss"]
        assert published == pytest.approx((1.271135 + 0.880728) / 2, abs=1e-6)
        assert published == pytest.approx(1.075932, abs=1e-6)
