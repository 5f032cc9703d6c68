"""Aggregations, distances and the loss against plain loops over numpy float64 arrays."""

import copy
import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from config.errors import UserError
from config.settings import AGGREGATIONS as SETTINGS_AGGREGATIONS
from config.settings import TrainingDefaults
from training.anti_transfer import (
    AGGREGATIONS,
    DISTANCES,
    AntiTransferLoss,
    aggregate,
    layer_gradients,
    layers_without_gradient,
    similarity,
    weighted_distance,
)
from training.vgg import VGG16

Array = NDArray[np.float64]
ALIGNED = [name for name in SETTINGS_AGGREGATIONS if "pairwise" not in name]


def activations(shape: tuple[int, ...] = (3, 4, 5, 6), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two activations as a ReLU leaves them: about a third of the values are 0."""
    generator = torch.Generator().manual_seed(seed)
    current, frozen = torch.randn(2, *shape, generator=generator, dtype=torch.float64) + 0.4
    return current.relu(), frozen.relu()


def loop_gram(x: Array) -> Array:
    batch, channels, frames, bins = x.shape
    result = np.zeros((batch, channels, channels))
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                total = 0.0
                for h in range(frames):
                    for w in range(bins):
                        total += x[b, i, h, w] * x[b, j, h, w]
                result[b, i, j] = total / (channels * frames * bins)
    return result


def loop_gram_batch(x: Array) -> Array:
    rows = [x[b, c].ravel() for b in range(x.shape[0]) for c in range(x.shape[1])]
    return np.array([[sum(first * second) / x.size for second in rows] for first in rows])


def loop_over_channels(x: Array, combine: Callable[[list[float]], float]) -> Array:
    batch, _, frames, bins = x.shape
    result = np.zeros((batch, 1, frames, bins))
    for b in range(batch):
        for h in range(frames):
            for w in range(bins):
                result[b, 0, h, w] = combine([float(value) for value in x[b, :, h, w]])
    return result


def loop_aggregate(x: Array, name: str) -> Array:
    if name == "gram":
        return loop_gram(x)
    if name == "gram_batch":
        return loop_gram_batch(x)
    if name == "none":
        return x
    exponent = float(name.removeprefix("mul_comp_")) if name.startswith("mul_comp_") else 1.0
    combine: dict[str, Callable[[list[float]], float]] = {
        "mean": lambda values: sum(values) / len(values),
        "sum": sum,
        "max": max,
    }
    product = lambda values: math.prod((value + 1e-10) ** exponent for value in values)  # noqa: E731
    return loop_over_channels(x, combine.get(name, product))


def loop_cosine(first: Array, second: Array) -> float:
    norms = math.sqrt(sum(first * first)) * math.sqrt(sum(second * second))
    return float(sum(first * second)) / norms if norms else 0.0


def loop_distance(pairs: list[tuple[Array, Array]], distance: str, beta: float = 1.0) -> float:
    """Of pairs of rows along the last axis."""
    if distance == "cos_squared":
        cosines = [abs(loop_cosine(first, second)) for first, second in pairs]
        return beta * (sum(cosines) / len(cosines)) ** 2
    squares = [(float(a) - float(b)) ** 2 for x, y in pairs for a, b in zip(x, y, strict=True)]
    error = sum(squares) / len(squares)
    if distance == "mse_sigmoid":
        return -beta / (1 + math.exp(-error))
    return 1 / (1 + math.exp(beta * error))


def aligned_rows(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    size = current.shape[-1]
    return list(zip(current.reshape(-1, size), frozen.reshape(-1, size), strict=True))


def rows_of_all_channel_pairs(current: Array, frozen: Array) -> list[tuple[Array, Array]]:
    batch, channels, frames, _ = current.shape
    return [
        (current[b, i, h], frozen[b, j, h])
        for b in range(batch)
        for i in range(channels)
        for j in range(channels)
        for h in range(frames)
    ]


def loop_similarity(current: Tensor, frozen: Tensor, aggregation: str, distance: str) -> float:
    first, second = current.numpy(), frozen.numpy()
    if aggregation == "pairwise":
        return loop_distance(rows_of_all_channel_pairs(first, second), distance)
    rows = aligned_rows(loop_aggregate(first, aggregation), loop_aggregate(second, aggregation))
    return loop_distance(rows, distance)


def small(seed: int = 0, num_classes: int = 3) -> VGG16:
    torch.manual_seed(seed)
    return VGG16(num_classes, width=1 / 16)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(3, 1, 32, 40, generator=torch.Generator().manual_seed(5))


def num_hooks(*models: nn.Module) -> int:
    modules = [module for model in models for module in model.modules()]
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules)


def test_tables_and_settings_name_the_same_things() -> None:
    assert tuple(AGGREGATIONS) == SETTINGS_AGGREGATIONS
    distances = get_args(TrainingDefaults.model_fields["at_distance"].annotation)
    assert tuple(DISTANCES) == distances


@pytest.mark.parametrize("aggregation", ALIGNED)
def test_aggregations(aggregation: str) -> None:
    current, _ = activations()
    expected = loop_aggregate(current.numpy(), aggregation)
    np.testing.assert_allclose(aggregate(current, aggregation).numpy(), expected, rtol=1e-10)
    single = aggregate(current.float(), aggregation)
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected, rtol=2e-4, atol=1e-30)


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("aggregation", [*ALIGNED, "pairwise"])
def test_similarity(aggregation: str, distance: str) -> None:
    current, frozen = activations(seed=1)
    expected = loop_similarity(current, frozen, aggregation, distance)
    result = similarity(current, frozen, aggregation, distance)
    assert result.shape == ()
    assert result.dtype == torch.float64
    assert float(result) == pytest.approx(expected, rel=1e-9)
    single = similarity(current.float(), frozen.float(), aggregation, distance)
    assert single.dtype == torch.float32
    assert float(single) == pytest.approx(expected, rel=1e-4)


def test_gram_of_two_channels_worked_by_hand() -> None:
    current = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]]])
    frozen = torch.tensor([[[[0.0, 1.0]], [[1.0, 0.0]]]])
    # grams times 4: [[5, 3], [3, 9]] and [[1, 0], [0, 1]]
    assert aggregate(current).tolist() == [[[1.25, 0.75], [0.75, 2.25]]]
    cosines = [5 / math.sqrt(34), 9 / math.sqrt(90)]
    assert float(similarity(current, frozen)) == pytest.approx((sum(cosines) / 2) ** 2)
    error = ((1.25 - 0.25) ** 2 + 2 * 0.75**2 + (2.25 - 0.25) ** 2) / 4
    result = similarity(current, frozen, distance="mse_sigmoid")
    assert float(result) == pytest.approx(-1 / (1 + math.exp(-error)))


def test_mul_comp_alone_is_the_exponent_001() -> None:
    current, frozen = activations()
    assert similarity(current, frozen, "mul_comp") == similarity(current, frozen, "mul_comp_0.01")


def test_negative_cosines_count_by_their_absolute_value() -> None:
    current, _ = activations()
    signs = torch.tensor([1, -1, -1, 1, -1]).reshape(5, 1)
    assert float(similarity(current, signs * current, "sum")) == pytest.approx(1)


def test_stochastic_pairwise_is_one_of_the_blocks_and_each_comes_up() -> None:
    current, frozen = activations((2, 6, 3, 4))
    blocks = {}
    for start in range(4):
        block = slice(start, start + 3)
        rows = rows_of_all_channel_pairs(current[:, block].numpy(), frozen[:, block].numpy())
        blocks[round(loop_distance(rows, "cos_squared"), 12)] = start
    generator = torch.Generator().manual_seed(0)
    found = [
        round(float(similarity(current, frozen, "stochastic_pairwise", generator=generator)), 12)
        for _ in range(60)
    ]
    assert set(found) == set(blocks)


def test_stochastic_pairwise_of_more_examples_than_channels_takes_one_channel() -> None:
    current, frozen = activations((5, 2, 3, 4))
    rows = [
        loop_distance(rows_of_all_channel_pairs(c.numpy(), f.numpy()), "mse_sigmoid")
        for c, f in ((current[:, i : i + 1], frozen[:, i : i + 1]) for i in range(2))
    ]
    result = similarity(current, frozen, "stochastic_pairwise", "mse_sigmoid")
    assert min(abs(float(result) - row) for row in rows) < 1e-12


def test_stochastic_pairwise_repeats_with_its_generator() -> None:
    current, frozen = activations((2, 16, 3, 4))
    runs = []
    for seed in (1, 1, 2):
        generator = torch.Generator().manual_seed(seed)
        args = (current, frozen, "stochastic_pairwise")
        runs.append([float(similarity(*args, generator=generator)) for _ in range(8)])
    assert runs[0] == runs[1] != runs[2]


def test_only_the_release_mixes_examples() -> None:
    current, frozen = activations()
    alone = [similarity(current[i : i + 1], frozen[i : i + 1]).sqrt() for i in range(3)]
    together = similarity(current, frozen).sqrt()
    assert float(together) == pytest.approx(float(sum(alone)) / 3)
    alone = [similarity(current[i : i + 1], frozen[i : i + 1], "gram_batch").sqrt() for i in (0, 1)]
    together = similarity(current[:2], frozen[:2], "gram_batch").sqrt()
    assert float(together) != pytest.approx(float(sum(alone)) / 2, rel=1e-3)


def test_a_dead_channel_has_cosine_0_and_a_finite_gradient() -> None:
    current, frozen = activations()
    current[0, 1] = 0
    current = current.float().requires_grad_()
    result = similarity(current, frozen.float())
    expected = loop_similarity(current.detach().double(), frozen, "gram", "cos_squared")
    assert float(result.detach()) == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(result, current)
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 10


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6])
def test_shrinking_activations_does_not_lower_the_similarity(scale: float) -> None:
    current, frozen = (values.float() for values in activations())
    expected = similarity(current, frozen)
    assert torch.allclose(similarity(scale * current, frozen), expected, rtol=1e-4)


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "none", "pairwise", "mul_comp_0.1"])
@pytest.mark.parametrize("distance", list(DISTANCES))
def test_gradients(aggregation: str, distance: str) -> None:
    generator = torch.Generator().manual_seed(3)
    current, frozen = torch.rand(2, 2, 3, 2, 3, generator=generator, dtype=torch.float64) + 0.1
    current.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: similarity(values, frozen, aggregation, distance), current
    )


def test_beta_multiplies_but_in_invorder_it_stands_inside() -> None:
    current, frozen = activations()
    grams = aggregate(current), aggregate(frozen)
    rows = aligned_rows(loop_gram(current.numpy()), loop_gram(frozen.numpy()))
    for distance in DISTANCES:
        term = weighted_distance(*grams, "gram", distance, beta=2.5)
        assert float(term) == pytest.approx(loop_distance(rows, distance, beta=2.5))


@pytest.mark.parametrize("aggregation", ["gram", "gram_batch", "none", "pairwise", "sum"])
def test_float32_under_autocast(aggregation: str) -> None:
    current, frozen = (values.bfloat16() for values in activations())
    with torch.autocast("cpu", torch.bfloat16):
        result = similarity(current, frozen, aggregation)
    assert result.dtype == torch.float32
    expected = loop_similarity(current.double(), frozen.double(), aggregation, "cos_squared")
    assert float(result) == pytest.approx(expected, rel=1e-5)


def test_wrong_arguments_are_named() -> None:
    current, frozen = activations()
    with pytest.raises(ValueError, match=r"current \(3, 4, 5, 6\), frozen \(3, 4, 5, 5\)"):
        similarity(current, frozen[..., :5])
    with pytest.raises(ValueError, match=r"must be \(batch, channels, frames, bins\), not \(4,"):
        similarity(current[0], frozen[0])
    with pytest.raises(ValueError, match="'grams' is not one of gram, gram_batch"):
        similarity(current, frozen, "grams")
    with pytest.raises(ValueError, match="'cosine' is not one of cos_squared"):
        similarity(current, frozen, distance="cosine")
    with pytest.raises(ValueError, match="aggregates differ in shape"):
        weighted_distance(current, frozen[:2], "none", "cos_squared")
    with pytest.raises(UserError, match=r"at_aggregation = mul_comp_0\.05: an activation is -1"):
        similarity(current - 1, frozen, "mul_comp_0.05")


def test_the_penalty_is_the_weighted_sum_of_its_logged_terms(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    with AntiTransferLoss(model, frozen, [2, 13], beta=0.7, name="noisyspeech") as penalty:
        model(inputs)
        value = penalty(inputs)
    expected = {}
    for layer, end in ((2, 4), (13, 30)):
        first, second = model.features[:end](inputs), frozen.features[:end](inputs)
        loops = loop_similarity(first.detach(), second.detach(), "gram", "cos_squared")
        expected[f"noisyspeech_layer{layer}"] = 0.7 * loops
    assert {name: float(t) for name, t in penalty.terms.items()} == pytest.approx(
        expected, rel=1e-4
    )
    assert not any(term.requires_grad for term in penalty.terms.values())
    assert float(value.detach()) == pytest.approx(sum(expected.values()), rel=1e-4)


@pytest.mark.parametrize("tap", ["output", "input"])
def test_gradient_of_a_step_is_that_of_two_separate_passes(inputs: Tensor, tap: Any) -> None:
    model, frozen = small(0).eval(), small(1)
    labels = torch.tensor([0, 1, 2])
    with AntiTransferLoss(model, frozen, [5], tap=tap) as penalty:
        logits = model(inputs)
        torch.autograd.backward(cross_entropy(logits, labels) + penalty(inputs))
    found = [parameter.grad for parameter in model.parameters()]
    end = 12 if tap == "output" else 10
    loss = cross_entropy(model(inputs), labels)
    loss = loss + similarity(model.features[:end](inputs), frozen.features[:end](inputs))
    expected = torch.autograd.grad(loss, list(model.parameters()))
    for first, second in zip(found, expected, strict=True):
        assert first is not None
        assert torch.allclose(first, second, rtol=1e-4, atol=1e-7)
    assert all(parameter.grad is None for parameter in frozen.parameters())


def test_a_network_is_like_itself_at_every_layer(inputs: Tensor) -> None:
    model = small(0).eval()
    with torch.no_grad():
        for parameter in model.features.parameters():
            parameter.abs_()  # no channel is dead
    with AntiTransferLoss(model, copy.deepcopy(model), range(1, 14)) as penalty:
        model(inputs.abs())
        penalty(inputs.abs())
    assert [float(term) for term in penalty.terms.values()] == pytest.approx([1] * 13, rel=1e-5)


def test_one_forward_pass_of_the_model_and_a_short_one_of_the_frozen(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    calls: list[tuple[str, str]] = []
    for owner, network in (("model", model), ("frozen", frozen)):
        for name, module in network.named_modules():
            module.register_forward_hook(lambda *_, key=(owner, name): calls.append(key))
    with AntiTransferLoss(model, frozen, [1, 4]) as penalty:
        logits = model(inputs)
        torch.autograd.backward(logits.sum() + penalty(inputs))
    names = [name for name, module in model.named_modules()]
    assert sorted(name for owner, name in calls if owner == "model") == sorted(names)
    run = [name for owner, name in calls if owner == "frozen"]
    assert run == [f"features.{index}" for index in range(9)]


def test_the_frozen_network_is_frozen_and_the_model_is_left_alone(inputs: Tensor) -> None:
    model, frozen = small(0).train(), small(1).train()
    model.features[3].eval()
    modes = [module.training for module in model.modules()]
    with AntiTransferLoss(model, frozen, [13]) as penalty:
        model(inputs)
        assert not penalty.frozen_aggregates(inputs.clone().requires_grad_())[13].requires_grad
        penalty(inputs)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in frozen.modules())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert num_hooks(model, frozen) == 0


def test_a_frozen_aggregate_kept_per_example_gives_the_same_penalty(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    with AntiTransferLoss(model, frozen, [3, 9]) as penalty:
        kept = [penalty.frozen_aggregates(inputs[i : i + 1]) for i in range(3)]
        model(inputs)
        direct = penalty(inputs)
        order = [2, 0, 1]
        model(inputs[order])
        cached = penalty.penalty(
            {layer: torch.cat([kept[i][layer] for i in order]) for layer in (3, 9)}
        )
    assert torch.allclose(direct, cached, rtol=1e-5)


def test_each_forward_pass_serves_one_penalty(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    penalty = AntiTransferLoss(model, frozen, [13])
    with pytest.raises(RuntimeError, match="inside its with block"):
        penalty(inputs)
    with penalty:
        with pytest.raises(RuntimeError, match="no forward pass through layer13"):
            penalty(inputs)
        model(inputs)
        penalty(inputs)
        with pytest.raises(RuntimeError, match=r"call model\(inputs\) before each"):
            penalty(inputs)
    with pytest.raises(ZeroDivisionError), penalty:
        model(inputs)
        raise ZeroDivisionError
    assert num_hooks(model, frozen) == 0


def test_several_frozen_networks_on_one_pass(inputs: Tensor) -> None:
    model, first, second = small(0), small(1), small(2)
    with (
        AntiTransferLoss(model, first, [13], name="noise") as noise,
        AntiTransferLoss(model, second, [13, 2], name="speaker", beta=2) as speaker,
    ):
        model(inputs)
        total = noise(inputs) + speaker(inputs)
    terms = noise.terms | speaker.terms
    assert list(terms) == ["noise_layer13", "speaker_layer13", "speaker_layer2"]
    assert float(total.detach()) == pytest.approx(
        sum(float(term) for term in terms.values()), rel=1e-5
    )
    assert num_hooks(model, first, second) == 0


def test_layers_by_name_in_any_network(inputs: Tensor) -> None:
    def network(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        stem = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU())
        return nn.Sequential(stem, nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(5 * 28 * 36, 2))

    model, frozen = network(0).eval(), network(1).eval()
    with AntiTransferLoss(model, frozen, ["0", 2], "mean", name="other") as penalty:
        model(inputs)
        penalty(inputs)
    first, second = model[0](inputs).detach(), frozen[0](inputs).detach()
    expected = loop_similarity(first.double(), second.double(), "mean", "cos_squared")
    assert float(penalty.terms["other_0"]) == pytest.approx(expected, rel=1e-4)
    assert list(penalty.terms) == ["other_0", "other_layer2"]


def test_it_prints_as_weighted_terms() -> None:
    penalty = AntiTransferLoss(small(0), small(1), [3, "features.28"], beta=0.5, name="noisyspeech")
    assert repr(penalty) == (
        "AntiTransferLoss("
        "0.5 * cos_squared(gram) at output of layer3 against noisyspeech + "
        "0.5 * cos_squared(gram) at output of features.28 against noisyspeech)"
    )


def test_unusable_arguments() -> None:
    model, frozen = small(0), small(1)
    for layers in ([], [3, 3]):
        with pytest.raises(UserError, match="layers must be"):
            AntiTransferLoss(model, frozen, layers)
    with pytest.raises(UserError, match="allowed: 1 to 13"):
        AntiTransferLoss(model, frozen, [14])
    with pytest.raises(ValueError, match="share parameters"):
        AntiTransferLoss(model, model, [1])
    with pytest.raises(ValueError, match="is not one of"):
        AntiTransferLoss(model, frozen, [1], "grams")
    assert all(parameter.requires_grad for parameter in frozen.parameters())


def test_a_frozen_network_of_another_width_is_named(inputs: Tensor) -> None:
    model, frozen = small(0), VGG16(3, width=1 / 32)
    with AntiTransferLoss(model, frozen, [4], name="noisyspeech") as penalty:
        model(inputs)
        with pytest.raises(ValueError, match=r"noisyspeech_layer4: .*\(3, 8, 8\).*\(3, 4, 4\)"):
            penalty(inputs)


def test_the_global_random_state_is_not_touched(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    before = torch.get_rng_state()
    penalty = AntiTransferLoss(model, frozen, [2, 7], "stochastic_pairwise")
    with penalty:
        for _ in range(3):
            model(inputs)
            penalty(inputs)
    model.train()
    layer_gradients(model, penalty, inputs)
    assert torch.equal(torch.get_rng_state(), before)


def test_autocast_bf16_step(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    with AntiTransferLoss(model, frozen, [6]) as penalty:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(inputs)
            value = penalty(inputs)
        assert logits.dtype == torch.bfloat16
        assert value.dtype == torch.float32
        torch.autograd.backward(value)
    assert all(p.grad is not None and p.grad.any() for p in model.features[:13].parameters())


def test_a_compiled_step(inputs: Tensor) -> None:
    def network(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        convolutions = nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3)
        return nn.Sequential(*convolutions, nn.ReLU(inplace=True))

    def step(model: nn.Module) -> list[Tensor | None]:
        with AntiTransferLoss(model, network(1), [1, 2]) as penalty:
            loss = model(inputs).sum() + penalty(inputs)
        torch.autograd.backward(loss)
        return [parameter.grad for parameter in model.parameters()]

    torch._dynamo.reset()
    compiled: Any = torch.compile(network(0), backend="aot_eager")
    for first, second in zip(step(compiled), step(network(0)), strict=True):
        assert first is not None
        assert second is not None
        assert torch.allclose(first, second, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("is_open", [True, False])
def test_every_penalised_layer_gets_a_gradient(inputs: Tensor, is_open: bool) -> None:
    model, frozen = small(0).train(), small(1)
    penalty = AntiTransferLoss(model, frozen, range(1, 14))
    if is_open:
        penalty.__enter__()
    assert layers_without_gradient(model, penalty, inputs) == []
    assert [g.name for g in layer_gradients(model, penalty, inputs)] == [
        f"frozen_layer{layer}" for layer in range(1, 14)
    ]
    assert penalty.taps.is_open is is_open
    penalty.__exit__(None, None, None)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert penalty.terms == {}
    assert num_hooks(model, frozen) == 0


def test_gradient_norms(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)
    (found,) = layer_gradients(model, AntiTransferLoss(model, frozen, [3], beta=3), inputs)
    activation = model.features[:7](inputs)
    value = 3 * similarity(activation, frozen.features[:7](inputs))
    grads = torch.autograd.grad(value, [activation, *model.features[:7].parameters()])
    assert found.activation == pytest.approx(float(grads[0].norm()), rel=1e-4)
    expected = math.sqrt(sum(float(grad.square().sum()) for grad in grads[1:]))
    assert found.parameters == pytest.approx(expected, rel=1e-4)


def test_the_gradient_check_does_not_shift_the_stochastic_blocks(inputs: Tensor) -> None:
    model, frozen = small(0).eval(), small(1)

    def values(check: bool) -> list[float]:
        with AntiTransferLoss(model, frozen, [13], "stochastic_pairwise") as penalty:
            if check:
                layer_gradients(model, penalty, inputs)
            result = []
            for _ in range(6):
                model(inputs)
                result.append(float(penalty(inputs).detach()))
            return result

    assert values(check=True) == values(check=False)


def test_the_input_of_the_first_convolution_gets_no_gradient(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    penalty = AntiTransferLoss(model, frozen, [1, 2], tap="input", name="release")
    (found,) = layers_without_gradient(model, penalty, inputs)
    assert (found.name, found.activation, found.parameters) == ("release_layer1", 0.0, 0.0)


def test_a_dead_or_saturated_layer_gets_no_gradient(inputs: Tensor) -> None:
    model, frozen = small(0), small(1)
    with torch.no_grad():
        model.get_parameter("features.10.bias").fill_(-1e6)
    penalty = AntiTransferLoss(model, frozen, [2, 5])
    assert [each.name for each in layers_without_gradient(model, penalty, inputs)] == [
        "frozen_layer5"
    ]
    penalty = AntiTransferLoss(model, frozen, [2], "sum", "mse_sigmoid")
    assert len(layers_without_gradient(model, penalty, 1e3 * inputs)) == 1


def test_the_gradient_check_changes_no_running_statistics(inputs: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    frozen = copy.deepcopy(model)
    with torch.no_grad():
        frozen[0].weight.mul_(-1)  # type: ignore[operator]
    before = copy.deepcopy(model.state_dict())
    penalty = AntiTransferLoss(model, frozen, [1])
    assert layers_without_gradient(model, penalty, inputs) == []
    assert all(torch.equal(values, before[name]) for name, values in model.state_dict().items())
    assert model.training
