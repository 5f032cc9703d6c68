"""The networks that can be trained and frozen: each has a name and a function that builds it.

A network of one's own is one more entry of NETWORKS; nothing else knows which there are.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from training.models.vgg import VGG16

# Called with num_classes, in_channels, and the further keys of an architecture, such as width.
NETWORKS: dict[str, Callable[..., nn.Module]] = {"vgg16": VGG16}
DEFAULT_NETWORK = "vgg16"


def architecture_of(
    num_classes: int, width: float, network: str = DEFAULT_NETWORK
) -> dict[str, Any]:
    """Describe a network for spectra: all that `build_network` needs and extractor.json keeps."""
    return {"network": network, "num_classes": num_classes, "in_channels": 1, "width": width}


def build_network(architecture: Mapping[str, Any], seed: int) -> nn.Module:
    """Build a network whose first weights depend on the seed alone."""
    options = {key: value for key, value in architecture.items() if key != "network"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[architecture["network"]](**options)


def num_parameters(architecture: Mapping[str, Any]) -> int:
    """Count a network's weights and biases, without memory for them."""
    with torch.device("meta"):
        network = build_network(architecture, seed=0)
    return sum(parameter.numel() for parameter in network.parameters())
