"""VGG16 against torchvision's published names and shapes, and the released initialisation."""

import math

import pytest
import torch
from torch.nn import functional

from config.errors import UserError
from config.ini_files import load_settings
from config.released import FEATURE_INDICES
from training.models.registry import architecture_of, num_parameters
from training.models.vgg import CONVOLUTION_INDICES, VGG16

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
POOLS_AFTER = (2, 4, 7, 10, 13)
# torchvision.models.vgg16, with 1 input channel and 4 classes: weight of each layer
SHAPES = {
    **{
        f"features.{index}": (channels, before, 3, 3)
        for index, channels, before in zip(
            (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), CHANNELS, (1, *CHANNELS), strict=False
        )
    },
    "classifier.0": (4096, 25088),
    "classifier.3": (4096, 4096),
    "classifier.6": (4, 4096),
}


def test_names_shapes_and_count_are_torchvisions() -> None:
    with torch.device("meta"):
        model = VGG16(num_classes=4)
    found = {name: tuple(values.shape) for name, values in model.state_dict().items()}
    weights = {f"{name}.weight": shape for name, shape in SHAPES.items()}
    biases = {f"{name}.bias": shape[:1] for name, shape in SHAPES.items()}
    assert found == weights | biases
    networks = load_settings().networks
    assert num_parameters(architecture_of(networks["vgg16"], 4, 1.0)) == 134_275_780
    with torch.device("meta"):
        published = VGG16(num_classes=1000, in_channels=3)
    assert sum(parameter.numel() for parameter in published.parameters()) == 138_357_544


def test_convolutions_are_where_the_released_code_looks_for_them() -> None:
    with torch.device("meta"):
        features = VGG16(num_classes=4).features
    found = [index for index, each in enumerate(features) if isinstance(each, torch.nn.Conv2d)]
    assert tuple(found) == CONVOLUTION_INDICES == FEATURE_INDICES


def test_width_multiplies_channels_and_hidden_units() -> None:
    state = VGG16(num_classes=4, width=1 / 32).state_dict()
    assert [state[f"features.{i}.bias"].numel() for i in CONVOLUTION_INDICES] == [
        channels // 32 for channels in CHANNELS
    ]
    assert state["classifier.0.weight"].shape == (128, 16 * 49)
    assert state["classifier.6.weight"].shape == (4, 128)
    assert VGG16(2, width=1 / 1000).state_dict()["features.0.weight"].shape == (1, 1, 3, 3)


@pytest.mark.parametrize(("frames", "bins"), [(32, 32), (126, 129)])
def test_the_forward_pass_written_out(frames: int, bins: int) -> None:
    torch.manual_seed(0)
    model = VGG16(num_classes=3, width=1 / 32).eval()
    state = model.state_dict()
    inputs = torch.randn(2, 1, frames, bins)
    values = inputs
    for number, index in enumerate(CONVOLUTION_INDICES, start=1):
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        values = functional.conv2d(values, weight, bias, padding=1).relu()
        if number in POOLS_AFTER:
            values = functional.max_pool2d(values, 2)
    values = functional.adaptive_avg_pool2d(values, (7, 7)).flatten(1)
    for index in (0, 3, 6):
        weight, bias = state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"]
        values = functional.linear(values, weight, bias)
        values = values.relu() if index < 6 else values
    torch.testing.assert_close(model(inputs), values)
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]


def test_all_but_the_first_and_the_last_layer_have_torchvisions_variances() -> None:
    torch.manual_seed(0)
    state = VGG16(num_classes=5, width=1 / 4).state_dict()
    fan_out = 128 * 9  # of 64 input and 128 output channels
    assert float(state["features.17.weight"].std()) == pytest.approx(
        math.sqrt(2 / fan_out), rel=0.01
    )
    # 0.01 at width 1; a quarter of the inputs, so four times the variance
    assert float(state["classifier.0.weight"].std()) == pytest.approx(0.02, rel=0.01)
    plain = ("features.0.bias", "classifier.6.bias")
    biases = {name for name, values in state.items() if name.endswith("bias") and values.any()}
    assert biases == set(plain)


def test_the_first_and_the_last_layer_are_uniform_within_the_root_of_their_inputs() -> None:
    """9 inputs: 1/3, so a standard deviation of 1/3 / sqrt(3); of 4,096 / 16 inputs: 1/16."""
    torch.manual_seed(0)
    networks = [VGG16(num_classes=100, width=1 / 16).state_dict() for _ in range(30)]
    for layer, bound in (("features.0", 1 / 3), ("classifier.6", 1 / 16)):
        for part in ("weight", "bias"):
            values = torch.cat([state[f"{layer}.{part}"].flatten() for state in networks])
            assert 0.95 * bound < float(values.abs().max()) <= bound
            assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
            assert abs(float(values.mean())) < 0.1 * bound


def test_too_short_an_input_says_so() -> None:
    with pytest.raises(UserError, match="31 frames x 129 bins is too small"):
        VGG16(3, width=1 / 32)(torch.randn(1, 1, 31, 129))
