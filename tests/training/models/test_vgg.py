"""VGG16 against torchvision's published names and shapes, and the loading of other weights."""

import math

import pytest
import torch
from torch import Tensor

from config.errors import UserError
from training.models.vgg import CONVOLUTION_INDICES, VGG16, load_convolutions, load_whole

# torchvision.models.vgg16, with 1 input channel and 4 classes
SHAPES = {
    "features.0.weight": (64, 1, 3, 3),
    "features.0.bias": (64,),
    "features.2.weight": (64, 64, 3, 3),
    "features.2.bias": (64,),
    "features.5.weight": (128, 64, 3, 3),
    "features.5.bias": (128,),
    "features.7.weight": (128, 128, 3, 3),
    "features.7.bias": (128,),
    "features.10.weight": (256, 128, 3, 3),
    "features.10.bias": (256,),
    "features.12.weight": (256, 256, 3, 3),
    "features.12.bias": (256,),
    "features.14.weight": (256, 256, 3, 3),
    "features.14.bias": (256,),
    "features.17.weight": (512, 256, 3, 3),
    "features.17.bias": (512,),
    "features.19.weight": (512, 512, 3, 3),
    "features.19.bias": (512,),
    "features.21.weight": (512, 512, 3, 3),
    "features.21.bias": (512,),
    "features.24.weight": (512, 512, 3, 3),
    "features.24.bias": (512,),
    "features.26.weight": (512, 512, 3, 3),
    "features.26.bias": (512,),
    "features.28.weight": (512, 512, 3, 3),
    "features.28.bias": (512,),
    "classifier.0.weight": (4096, 25088),
    "classifier.0.bias": (4096,),
    "classifier.3.weight": (4096, 4096),
    "classifier.3.bias": (4096,),
    "classifier.6.weight": (4, 4096),
    "classifier.6.bias": (4,),
}


def small(num_classes: int = 3, **options: float) -> VGG16:
    return VGG16(num_classes, width=options.get("width", 1 / 32))


def shapes_of(model: VGG16) -> dict[str, tuple[int, ...]]:
    return {name: tuple(values.shape) for name, values in model.state_dict().items()}


def test_names_shapes_and_count_are_torchvisions() -> None:
    with torch.device("meta"):
        model = VGG16(num_classes=4)
    assert shapes_of(model) == SHAPES
    assert list(model.state_dict()) == list(SHAPES)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_275_780


def test_published_imagenet_count() -> None:
    with torch.device("meta"):
        model = VGG16(num_classes=1000, in_channels=3)
    assert sum(parameter.numel() for parameter in model.parameters()) == 138_357_544


def test_width_divides_every_layer_but_the_ends() -> None:
    with torch.device("meta"):
        model = VGG16(num_classes=4, width=1 / 8)
    for name, shape in shapes_of(model).items():
        full = list(SHAPES[name])
        ends = [1] if name == "features.0.weight" else []
        ends += [0] if name.startswith("classifier.6") else []
        kernel = [2, 3] if name.startswith("features") else []
        expected = [size if axis in ends + kernel else size // 8 for axis, size in enumerate(full)]
        assert list(shape) == expected, name


def test_no_layer_vanishes_at_a_tiny_width() -> None:
    model = VGG16(num_classes=2, width=1 / 1000)
    assert shapes_of(model)["features.0.weight"] == (1, 1, 3, 3)
    assert shapes_of(model)["classifier.6.weight"] == (2, 4)
    assert model(torch.randn(1, 1, 32, 32)).shape == (1, 2)


def test_convolution_indices_are_where_the_convolutions_are() -> None:
    features = small().features
    found = [i for i, module in enumerate(features) if isinstance(module, torch.nn.Conv2d)]
    assert tuple(found) == CONVOLUTION_INDICES == (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def test_order_of_layers_and_dropout() -> None:
    model = small()
    kinds = "".join(type(module).__name__[0] for module in model.features)
    assert kinds == "CRCRM" * 2 + "CRCRCRM" * 3
    assert [type(m).__name__ for m in model.classifier] == [
        *("Linear", "ReLU", "Dropout") * 2,
        "Linear",
    ]
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]


def test_initialisation_has_torchvisions_variances() -> None:
    torch.manual_seed(0)
    model = VGG16(num_classes=5, width=1 / 4)
    state = model.state_dict()
    fan_out = 128 * 9  # of 64 input and 128 output channels
    assert float(state["features.17.weight"].std()) == pytest.approx(
        math.sqrt(2 / fan_out), rel=0.01
    )
    # 0.01 at width 1; a quarter of the inputs, so four times the variance
    assert float(state["classifier.0.weight"].std()) == pytest.approx(0.02, rel=0.01)
    assert all(not values.any() for name, values in state.items() if name.endswith("bias"))


def test_any_length_of_input_gives_one_row_of_logits_per_example() -> None:
    model = small(num_classes=3).eval()
    for frames in (32, 126, 160):
        assert model(torch.randn(2, 1, frames, 129)).shape == (2, 3)


def test_too_short_an_input_says_so() -> None:
    with pytest.raises(UserError, match="31 frames x 129 bins is too small"):
        small()(torch.randn(1, 1, 31, 129))


def test_load_convolutions_takes_every_convolution_and_nothing_else() -> None:
    torch.manual_seed(1)
    model, other = small(num_classes=3), small(num_classes=7)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.25)
    classifier = {name: v.clone() for name, v in model.classifier.state_dict().items()}
    load_convolutions(model, other.state_dict(), "extractor")
    for index in CONVOLUTION_INDICES:
        for part in ("weight", "bias"):
            name = f"features.{index}.{part}"
            assert torch.equal(model.state_dict()[name], other.state_dict()[name])
    for name, values in model.classifier.state_dict().items():
        assert torch.equal(values, classifier[name])


def damaged(problem: str) -> dict[str, Tensor]:
    state = {name: values.clone() for name, values in small(num_classes=3).state_dict().items()}
    if problem == "missing":
        del state["features.17.bias"]
    elif problem == "misshapen":
        state["features.17.bias"] = torch.zeros(5)
    else:
        state["features.17.bias"][3] = float(problem)
    return state


@pytest.mark.parametrize("load", [load_convolutions, load_whole])
@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ("missing", r"extractor X: features.17.bias is missing, expected shape \(16,\)"),
        ("misshapen", r"extractor X: features.17.bias has shape \(5,\), expected \(16,\)"),
        ("nan", r"extractor X: features.17.bias \(16,\) holds NaN or infinite values"),
        ("inf", r"extractor X: features.17.bias \(16,\) holds NaN or infinite values"),
    ],
)
def test_bad_weights_are_refused_and_leave_the_model_alone(load, problem, words) -> None:  # type: ignore[no-untyped-def]
    model = small(num_classes=3)
    before = {name: values.clone() for name, values in model.state_dict().items()}
    with pytest.raises(UserError, match=words):
        load(model, damaged(problem), "extractor X")
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())


def test_a_whole_model_inside_another_key_is_refused() -> None:
    # what the released code does without noticing: no name matches, nothing is loaded
    state = {f"module.{name}": values for name, values in small().state_dict().items()}
    with pytest.raises(UserError, match=r"features.0.weight is missing"):
        load_convolutions(small(), state, "extractor")


def test_load_whole_refuses_unexpected_keys_and_other_classes() -> None:
    model = small(num_classes=3)
    state = model.state_dict() | {"features.0.extra": torch.zeros(1)}
    with pytest.raises(UserError, match=r"features.0.extra does not belong to this network"):
        load_whole(model, state, "extractor")
    with pytest.raises(UserError, match=r"classifier.6.weight has shape \(7, 128\)"):
        load_whole(model, small(num_classes=7).state_dict(), "extractor")


def test_load_whole_copies_everything() -> None:
    model, other = small(num_classes=3), small(num_classes=3)
    load_whole(model, other.state_dict(), "extractor")
    inputs = torch.randn(2, 1, 40, 33)
    assert torch.equal(model.eval()(inputs), other.eval()(inputs))
