"""What is kept of layers, against plain arithmetic on the activations of a whole set at once."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.models.small_cnn import SmallCNN
from training.models.vgg import CONVOLUTION_INDICES, VGG16
from training.probing.representations import layer_contents, layers_of
from training.similarity.alignment import debiased_linear_cka

NUM_EXAMPLES = 11
Array = NDArray[np.float64]


def network(seed: int) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(3, width=1 / 16).eval()


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(NUM_EXAMPLES, 1, 32, 40, generator=torch.Generator().manual_seed(5))


def activation(model: VGG16, layer: str, inputs: Tensor) -> Array:
    with torch.no_grad():
        if layer == "penultimate":
            pooled = torch.flatten(model.avgpool(model.features(inputs)), 1)
            found: Tensor = model.classifier[:6](pooled)
        else:
            found = model.features[: CONVOLUTION_INDICES[int(layer) - 1] + 2](inputs)
    values: Array = found.double().numpy()
    return values


def plain_gram_cosine(first: Array, second: Array) -> float:
    grams = [np.einsum("bihw,bjhw->bij", values, values) for values in (first, second)]
    norms = np.linalg.norm(grams[0], axis=-1) * np.linalg.norm(grams[1], axis=-1)
    products = (grams[0] * grams[1]).sum(-1)
    cosines = np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)
    return float(np.abs(cosines).mean())


@pytest.mark.parametrize("sizes", [[NUM_EXAMPLES], [4, 4, 3]])
def test_contents_are_those_of_the_whole_set(inputs: Tensor, sizes: list[int]) -> None:
    model, other = network(0), network(1)
    contents = layer_contents(
        model.train(),
        {"other": other, "own": model},
        torch.split(inputs, sizes),
        layers_of(model),
    )
    assert list(contents) == [*map(str, range(1, 14)), "penultimate"]
    for layer, content in contents.items():
        mine, others = activation(model, layer, inputs), activation(other, layer, inputs)
        pooled = [values.mean((2, 3)) if values.ndim == 4 else values for values in (mine, others)]
        assert np.allclose(content.features.numpy(), pooled[0], rtol=1e-4, atol=1e-6)
        assert content.activation_norm == pytest.approx(np.sqrt((mine**2).mean()), rel=1e-4)
        found = content.comparisons["other"]
        cka = debiased_linear_cka(*map(torch.from_numpy, pooled))
        assert found.linear_cka == pytest.approx(float(cka), abs=1e-3)
        assert content.comparisons["own"].linear_cka == pytest.approx(1)
        if layer == "penultimate":
            assert found.gram_cosine is None
        else:
            assert found.gram_cosine == pytest.approx(plain_gram_cosine(mine, others), rel=1e-3)


def test_a_network_of_another_kind_or_width_is_compared_where_that_means_something(
    inputs: Tensor,
) -> None:
    wider = VGG16(3, width=1 / 8).eval()
    small = SmallCNN(4).eval()
    frozen = {"small": small, "wider": wider}
    contents = layer_contents(network(0), frozen, [inputs], ["features.4", 13])
    assert list(contents) == ["features.4", "13", "penultimate"]
    assert list(contents["13"].comparisons) == ["wider"]
    assert contents["13"].comparisons["wider"].gram_cosine is None
    assert list(contents["penultimate"].comparisons) == ["small", "wider"]
    with torch.no_grad():
        pooled = [
            activation(network(0), "penultimate", inputs),
            small.avgpool(small.features(inputs)).flatten(1).double().numpy(),
        ]
    found = contents["penultimate"].comparisons["small"].linear_cka
    assert found == pytest.approx(float(debiased_linear_cka(*map(torch.from_numpy, pooled))))


def test_features_are_compared_with_every_layer(inputs: Tensor) -> None:
    features = activation(network(1), "penultimate", inputs)
    features_only = torch.from_numpy(features).float()
    frozen: dict[str, nn.Module | Tensor] = {"network": network(1), "features": features_only}
    contents = layer_contents(network(0), frozen, [inputs[:6], inputs[6:]], [3])
    for layer, content in contents.items():
        own = activation(network(0), layer, inputs)
        pooled = own.mean((2, 3)) if own.ndim == 4 else own
        expected = debiased_linear_cka(torch.from_numpy(pooled), torch.from_numpy(features))
        found = content.comparisons["features"]
        assert found.linear_cka == pytest.approx(float(expected), abs=1e-4)
        assert found.gram_cosine is None
    penultimate = contents["penultimate"].comparisons
    assert penultimate["features"].linear_cka == pytest.approx(penultimate["network"].linear_cka)


def test_a_network_without_a_linear_layer_has_no_penultimate_features(inputs: Tensor) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.Flatten())
    contents = layer_contents(model, {"own": model, "vgg": network(1)}, [inputs], layers_of(model))
    assert list(contents) == ["1", "2"]
    for content in contents.values():
        assert content.comparisons.keys() == {"own"}
        assert content.comparisons["own"].linear_cka == pytest.approx(1)
