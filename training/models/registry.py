"""The networks that can be trained and frozen, from their declarations: [network NAME] sections.

config.ini declares those that are built in. Importing a declared factory is the only way in which a
configuration makes code run that is not the project's.
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from config.errors import UserError
from config.experiments import Instance
from config.networks import Factory, Network
from config.text import PROJECT_FOLDER, display_path, hint

# What was imported from the folder of a configuration: another folder's may have the same names.
_modules: dict[Path, dict[str, ModuleType]] = {}
_built: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True)
class Architecture:
    """A network with everything that its factory is called with."""

    network: Network
    options: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.network.factory, *self.options.items()))

    def described(self) -> dict[str, Any]:
        """Return it as extractor.json and a result's parameters file keep it."""
        return {"network": self.network.name, **self.options}


def architecture_of(network: Network, num_classes: int, width: float | None) -> Architecture:
    """Return how a network for spectra is built for a number of classes.

    Args:
        width: that it gets if its factory takes one, and its declaration gives none; None: the
            factory's own, as of a network that was trained elsewhere.
    """
    options = {"num_classes": num_classes, "in_channels": 1, **network.options}
    if width is not None and "width" in inspect.signature(factory_of(network)).parameters:
        options.setdefault("width", width)
    return Architecture(network, options)


def trained_architecture(instance: Instance) -> Architecture:
    """Return what the network of an experiment's instance is built from."""
    settings, num_classes = instance.settings, int(instance.parameters["output_classes"])
    return architecture_of(settings.trained_network, num_classes, settings.training_defaults.width)


def stored_architecture(
    networks: Mapping[str, Network], described: Mapping[str, Any], place: str
) -> Architecture:
    """Return the architecture that extractor.json describes, its network as it is declared now.

    Raises:
        UserError: no such network is declared; place: the file.
    """
    name = described["network"]
    if name not in networks:
        raise UserError(
            f"{place}: is a network {name}, which no [network {name}] declares"
            f"{hint(name, networks)}; give the file that does with --config"
        )
    options = {key: value for key, value in described.items() if key != "network"}
    return Architecture(networks[name], options)


def build_network(architecture: Architecture, seed: int) -> nn.Module:
    """Build a network whose first weights depend on the seed alone.

    Raises:
        UserError: its factory cannot be imported, cannot be called like that, or returns no new
            module. What its own code raises is not caught.
    """
    network, options = architecture.network, architecture.options
    factory = factory_of(network)
    place = _place(network)
    try:
        inspect.signature(factory).bind(**options)
    except TypeError as error:
        raise UserError(f"{place}: cannot be called with {', '.join(options)}: {error}") from None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = factory(**options)
    if not isinstance(built, nn.Module):
        raise UserError(f"{place}: returned {type(built).__name__}, must return a torch.nn.Module")
    if built in _built:  # trained already, by another run
        raise UserError(f"{place}: returned the same module twice, must build a new one each time")
    _built.add(built)
    lazy = [name for name, each in built.named_parameters() if is_lazy(each)]
    if lazy:
        raise UserError(f"{place}: {lazy[0]} has no size yet; give lazy layers their sizes")
    return built


def build_skeleton(architecture: Architecture) -> nn.Module:
    """Build a network to look at: what is built in without memory for its weights.

    Another's code may need values (`tensor.item()`), which there are none of on the meta device.
    """
    with torch.device("meta" if architecture.network.factory.is_built_in else "cpu"):
        return build_network(architecture, seed=0).eval()


def example_batch(shape: Sequence[int]) -> Tensor:
    """Return a batch to try a network with, (2, 1, frames, bins), as of matrices of a shape."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, *shape[1:], generator=generator)


def check_outputs(model: nn.Module, architecture: Architecture, inputs: Tensor) -> None:
    """Make sure that a network takes the data, and gives a value for each class of each example.

    One example alone is tried as well, as an epoch may end with: `squeeze` takes out its axis.

    Args:
        model: its mode is set to evaluation.

    Raises:
        UserError: it gives something else. What its own code raises is not caught.
    """
    for batch in (inputs, inputs[:1]):
        _check_outputs(model, architecture, batch)


def _check_outputs(model: nn.Module, architecture: Architecture, inputs: Tensor) -> None:
    network, shape = architecture.network, tuple(inputs.shape)
    try:
        with torch.no_grad():
            outputs = model.eval()(inputs)
    except Exception as error:
        error.add_note(f"raised by {network.place} for inputs {shape}: (batch, 1, frames, bins)")
        raise
    expected = len(inputs), architecture.options["num_classes"]
    found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if found != expected:
        raise UserError(
            f"{_place(network)}: its network makes {found} of {shape}, must make {expected}: "
            "(batch, num_classes)"
        )


@cache
def num_parameters(architecture: Architecture) -> int:
    """Count a network's weights and biases."""
    return sum(parameter.numel() for parameter in build_skeleton(architecture).parameters())


def factory_of(network: Network) -> Callable[..., nn.Module]:
    """Import what builds a network.

    Raises:
        UserError: there is no such module, or nothing in it of that name can be called.
    """
    factory, place = network.factory, _place(network)
    try:
        module = _import(factory)
    except ImportError as error:
        raise UserError(
            f"{place}: cannot be imported: {error}; modules are looked for in "
            f"{display_path(factory.folder)}, then among those that are installed"
        ) from error
    found = getattr(module, factory.name, None)
    if not callable(found):
        problem = "is nothing that can be called"
        if found is None:
            names = [name for name in vars(module) if not name.startswith("_")]
            problem = f"{module.__file__} has no {factory.name}{hint(factory.name, names)}"
        raise UserError(f"{place}: {problem}")
    return found  # type: ignore[no-any-return]


def _place(network: Network) -> str:
    return f"{network.place} factory = {network.factory}"


@cache
def _import(factory: Factory) -> ModuleType:
    """Import a factory's module: from the factory's folder if it is there, else as usual."""
    folder, top = factory.folder.resolve(), factory.module.partition(".")[0]
    if not (folder / f"{top}.py").exists() and not (folder / top).is_dir():
        return import_module(factory.module)
    for other, modules in _modules.items():
        for name in modules if other != folder else ():
            sys.modules.pop(name, None)
    sys.modules.update(_modules.get(folder, {}))
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    invalidate_caches()
    try:
        module = import_module(factory.module)
    finally:
        sys.path.remove(str(folder))
        if folder != PROJECT_FOLDER:
            new = {name: each for name, each in sys.modules.items() if name not in known}
            own = {name: each for name, each in new.items() if _lies_in(folder, name, each)}
            _modules[folder] = _modules.get(folder, {}) | own
    if not _lies_in(folder, factory.module, module):
        raise ImportError(f"{top} is {module.__file__} already; give that of {folder} another name")
    return module


def _lies_in(folder: Path, name: str, module: ModuleType) -> bool:
    """Tell whether a module was imported from the folder itself, not from one somewhere in it."""
    place = folder.joinpath(*name.split("."))
    found = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    return not {place, place / "__init__.py", Path(f"{place}.py")}.isdisjoint(
        Path(each).resolve() for each in found if each
    )
