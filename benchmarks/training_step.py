"""Seconds of a training step: plain, with anti-transfer, and the way the released code works.

python benchmarks/training_step.py --width 0.125 --batch-size 30 --layers 1 13
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.measuring import interleaved, median_ratio, report
from training.anti_transfer import AntiTransferLoss
from training.vgg import CONVOLUTION_INDICES, VGG16

NUM_FRAMES, NUM_BINS, NUM_CLASSES = 126, 129, 10


def released_step(
    model: VGG16, frozen: VGG16, optimizer: torch.optim.Optimizer, layer: int
) -> Callable[[Tensor, Tensor], None]:
    """One step as the released code makes it, written anew for this comparison.

    A second forward pass for the features, a frozen pass with gradient, and a Gram matrix over
    batch and channels together.
    """
    depth = CONVOLUTION_INDICES[layer - 1] + 2

    def gram(activation: Tensor) -> Tensor:
        rows = activation.flatten(0, 1).flatten(1)
        return rows @ rows.T / activation.numel()

    def step(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(inputs), labels)
        current = gram(model.features[:depth](inputs))
        other = gram(frozen.features[:depth](inputs))
        similarity = functional.cosine_similarity(current, other, dim=-1).abs().mean() ** 2
        torch.autograd.backward(loss + similarity)
        optimizer.step()

    return step


def our_step(
    model: VGG16, penalty: AntiTransferLoss | None, optimizer: torch.optim.Optimizer, bf16: bool
) -> Callable[[Tensor, Tensor], None]:
    """One step as training/fitting.py makes it; penalty None: a plain step."""

    def step(inputs: Tensor, labels: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(model(inputs).float(), labels)
            if penalty is not None:
                loss = loss + penalty(inputs)
        torch.autograd.backward(loss)
        optimizer.step()

    return step


def measure_layer(arguments: argparse.Namespace, layer: int, bf16: bool) -> dict[str, Any]:
    """Medians of the three kinds of step at one layer."""
    device = torch.device(arguments.device)
    inputs = torch.randn(arguments.batch_size, 1, NUM_FRAMES, NUM_BINS, device=device)
    labels = torch.randint(NUM_CLASSES, (arguments.batch_size,), device=device)

    def network() -> tuple[VGG16, torch.optim.Optimizer]:
        model = VGG16(NUM_CLASSES, width=arguments.width).to(device)
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model, torch.optim.Adam(model.parameters(), lr=5e-5)

    frozen: nn.Module = network()[0]
    plain_model, plain_optimizer = network()
    tapped_model, tapped_optimizer = network()
    released_model = VGG16(NUM_CLASSES, width=arguments.width).to(device)
    released_frozen = VGG16(NUM_CLASSES, width=arguments.width).to(device)
    released_optimizer = torch.optim.Adam(released_model.parameters(), lr=5e-5)
    with AntiTransferLoss(tapped_model, frozen, [layer]) as penalty:
        steps = {
            "plain": our_step(plain_model, None, plain_optimizer, bf16),
            "anti_transfer": our_step(tapped_model, penalty, tapped_optimizer, bf16),
            "released": released_step(released_model, released_frozen, released_optimizer, layer),
        }
        subjects = {name: lambda run=run: run(inputs, labels) for name, run in steps.items()}
        times = interleaved(subjects, arguments.repetitions)
    row: dict[str, Any] = {"layer": layer, "precision": "bf16" if bf16 else "fp32"}
    for name, seconds in times.items():
        row[f"{name} examples/s"] = arguments.batch_size / sorted(seconds)[len(seconds) // 2]
    row["anti_transfer/plain"] = median_ratio(times, "anti_transfer", "plain")
    row["released/anti_transfer"] = median_ratio(times, "released", "anti_transfer")
    return row


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 5, 9, 13])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--bf16", action="store_true", help="measure bfloat16 as well")
    parser.add_argument("--write", action="store_true", help="keep the JSON under results/")
    arguments = parser.parse_args()
    precisions = (False, True) if arguments.bf16 else (False,)
    rows = [measure_layer(arguments, layer, b) for b in precisions for layer in arguments.layers]
    name = f"training_step_width{arguments.width:g}_batch{arguments.batch_size}"
    report(name, rows, arguments.write)


if __name__ == "__main__":
    main()
