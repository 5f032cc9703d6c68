"""Rivals that fit the last layer anew, beside scikit-learn's and the paper's own formulas."""

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

from tests.conftest import message_of
from training.data.batches import ExampleSet, Normalization
from training.methods.last_layer import features_of, fit_classifier, last_layer
from training.methods.last_layer_retraining import LastLayerRetraining
from training.methods.leace import LinearErasure, erasing_projection

NUM_EXAMPLES = 300


def network_of(num_outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Dropout(), nn.Linear(6, num_outputs)]
    return nn.Sequential(*layers)


def confounded(num_classes: int = 3) -> tuple[ExampleSet, torch.Tensor]:
    """A set whose nuisance follows the class in seven of ten examples; both shift the inputs."""
    generator = np.random.default_rng(0)
    target = np.arange(NUM_EXAMPLES) % num_classes
    own = generator.random(NUM_EXAMPLES) < 0.7
    nuisance = np.where(own, target, generator.integers(0, num_classes, NUM_EXAMPLES))
    predictors = generator.standard_normal((NUM_EXAMPLES, 3, 4)).astype(np.float32)
    for number, (label, value) in enumerate(zip(target, nuisance, strict=True)):
        predictors[number, 0, label] += 1
        predictors[number, 1, value] += 2
    rows, device = np.arange(NUM_EXAMPLES)[::-1].copy(), torch.device("cpu")
    examples = ExampleSet(predictors, target, rows, Normalization(0.0, 1.0), device)
    return examples, torch.from_numpy(nuisance)


def test_what_enters_the_last_layer_and_leaves_it_is_the_networks_output() -> None:
    network, (examples, _) = network_of().train(), confounded()
    features = features_of(network, examples)
    (batch,) = examples.batches(NUM_EXAMPLES)
    with torch.no_grad():
        outputs = last_layer(network)(torch.from_numpy(features).float())
        torch.testing.assert_close(outputs, network.eval()(batch.inputs))


def test_a_network_without_a_last_linear_layer_is_named() -> None:
    assert "this network has none" in message_of(last_layer, nn.Sequential(nn.Conv2d(1, 1, 3)))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_fitted_layer_gives_the_probabilities_of_the_regression(num_classes: int) -> None:
    generator = np.random.default_rng(1)
    features = generator.standard_normal((80, 5))
    target = (features[:, 0] + generator.standard_normal(80) > 0) + np.arange(80) % 2
    target = np.minimum(target, num_classes - 1)
    weight, bias = fit_classifier(features, target, num_classes, strength=0.1)
    expected = LogisticRegression(C=0.1).fit(features, target)
    found = torch.from_numpy(features @ weight.T + bias).softmax(1).numpy()
    np.testing.assert_allclose(
        found[:, expected.classes_], expected.predict_proba(features), atol=1e-3
    )


def test_retraining_is_a_regression_in_which_all_groups_count_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An example that weighs 3 counts as three of weight 1."""
    monkeypatch.setattr("training.methods.last_layer_retraining.STRENGTHS", (0.3,))
    network, (examples, _) = network_of(), confounded()
    weights = torch.where(torch.arange(NUM_EXAMPLES) % 3 == 0, 3.0, 1.0)
    features, labels = features_of(network, examples), examples.labels.numpy()
    LastLayerRetraining(weights, 0).finish(network, {"validation": examples})
    features = StandardScaler().fit_transform(features)
    repeated = np.repeat(np.arange(NUM_EXAMPLES), weights.int()[torch.from_numpy(examples.rows)])
    regression = LogisticRegression(C=0.3).fit(features[repeated], labels[repeated])
    found = outputs_of(network, examples).softmax(1)
    np.testing.assert_allclose(found, regression.predict_proba(features), atol=1e-3)


def outputs_of(network: nn.Module, examples: ExampleSet) -> torch.Tensor:
    (batch,) = examples.batches(NUM_EXAMPLES)
    with torch.no_grad():
        outputs: torch.Tensor = network.eval()(batch.inputs)
    return outputs


def test_the_projection_is_the_published_one() -> None:
    """P = I - W^+ P_(W Sigma_xz) W with W = (Sigma_xx^(1/2))^+, by SciPy."""
    generator = np.random.default_rng(2)
    nuisance = generator.integers(-1, 3, NUM_EXAMPLES)
    features = generator.standard_normal((NUM_EXAMPLES, 6)) @ generator.standard_normal((6, 6))
    features += np.eye(6)[nuisance + 1]
    features -= features.mean(axis=0)
    values = np.eye(4)[nuisance + 1]
    whitening = np.linalg.inv(scipy.linalg.sqrtm(np.cov(features.T)))
    covariance = features.T @ (values - values.mean(axis=0)) / (NUM_EXAMPLES - 1)
    basis = scipy.linalg.orth(whitening @ covariance, rcond=1e-8)
    expected = np.eye(6) - np.linalg.inv(whitening) @ basis @ basis.T @ whitening
    found = erasing_projection(features, torch.from_numpy(nuisance))
    np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_allclose(found @ covariance, 0, atol=1e-8)


def test_after_erasure_no_output_varies_with_the_nuisance_and_the_class_is_still_told() -> None:
    network, (examples, nuisance) = network_of(), confounded()
    LinearErasure(nuisance).finish(network, {"training": examples})
    outputs = outputs_of(network, examples)
    values = functional.one_hot(nuisance[torch.from_numpy(examples.rows)]).float()
    covariance = (outputs - outputs.mean(0)).T @ (values - values.mean(0)) / NUM_EXAMPLES
    torch.testing.assert_close(covariance, torch.zeros(3, 3), atol=1e-5, rtol=0)
    assert float((outputs.argmax(1) == examples.labels).float().mean()) > 0.4
