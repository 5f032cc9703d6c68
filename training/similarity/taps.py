"""Activations of chosen layers, captured while a network makes its one forward pass.

Works on any PyTorch network; hooks are removed whatever happens.
"""

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from numbers import Integral
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.hooks import RemovableHandle

from config.errors import UserError
from training.similarity.layout import (
    HIDDEN_STATES,
    Layout,
    first_tensor,
    layout_of,
    standard_activation,
    with_first_tensor,
)

Layer = int | str
Tap = Literal["output", "input"]
TAPS: tuple[Tap, ...] = ("output", "input")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)


class Taps:
    """Context manager that keeps the activations of chosen layers of each forward pass.

    Args:
        model: any network; one wrapped by torch.compile or DistributedDataParallel is looked into.
        layers: one or several; a number is a convolution (1 is the first Conv1d or Conv2d of
            `named_modules()`), a name is any module's.
        tap: "output": of a convolution, what leaves the ReLU that follows it in its Sequential, or
            the convolution itself if none follows; of a named module, its output. "input": what
            enters the convolution or the named module.

    Activations are (batch, channels, frames, bins): of three axes `training.similarity.layout`
    finds the channels, and there is one bin; (batch, features) stay so. Of a tuple the first tensor
    is taken, of a mapping last_hidden_state.

    Each forward pass of the model replaces what the one before left. Activations keep their
    autograd graph; where a later operation may work in place on one (`nn.ReLU(inplace=True)`), it
    gets a copy. Several Taps can be open on one model. With torch.compile, open the Taps before the
    first forward pass: a graph compiled without hooks never calls them.

    Raises:
        UserError: a layer is unknown; in the forward pass: a tapped module runs twice (a ReLU that
            is shared by several layers), what it passes on is no tensor, or it is not clear which
            of three axes are the channels.
        TypeError: layers are of another type.
    """

    def __init__(
        self, model: nn.Module, layers: Layer | Iterable[Layer], tap: Tap = "output"
    ) -> None:
        if tap not in TAPS:
            raise ValueError(f"tap must be one of {', '.join(TAPS)}, not {tap!r}")
        self.model = unwrap(model)
        self.layers = as_layers(layers)
        self.tap = tap
        self.modules = {layer: _find(self.model, layer, tap) for layer in self.layers}
        self._layouts = {
            layer: layout_of(self.model, module) for layer, module in self.modules.items()
        }
        self._handles: list[RemovableHandle] = []
        self._captured: dict[Layer, Tensor] = {}
        self._versions: dict[Layer, int] = {}
        self._recorded: dict[Layer, bool] = {}  # whether gradients were on where it ran
        self._running = False
        self._num_examples: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether forward passes are being listened to."""
        return bool(self._handles)

    def __enter__(self) -> Self:
        if self.is_open:
            raise RuntimeError("these Taps are open already")
        try:
            self._register()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def __getitem__(self, layer: Layer) -> Tensor:
        """Return the layer's activation in the last forward pass.

        Raises:
            KeyError: there was no forward pass, or it did not reach the layer.
            UserError: the activation was changed in place after it was captured.
        """
        activation = self._captured[layer]
        version = self._versions.get(layer)
        if version is not None and activation._version != version:
            raise UserError(
                f"{label(layer)}: its {self.tap} was changed in place later in the forward pass; "
                "tap the module that changes it, or make that one work out of place"
            )
        return activation

    @property
    def missing(self) -> list[Layer]:
        """Layers that nothing is captured of."""
        return [layer for layer in self.layers if layer not in self._captured]

    def take(self) -> dict[Layer, Tensor]:
        """Return all activations of the last forward pass, and forget them.

        Raises:
            KeyError: there was no forward pass since they were last taken.
        """
        activations = {layer: self[layer] for layer in self.layers}
        self.clear()
        return activations

    def require_gradients(self) -> None:
        """Make sure that a loss of the captured activations would train the network.

        Raises:
            RuntimeError: an activation has no gradient; says why.
        """
        for layer, activation in self._captured.items():
            if activation.requires_grad:
                continue
            cause = (
                "nothing that it is computed from requires one: the parameters before it are "
                "frozen, or there is a detach()"
                if self._recorded[layer]
                else "the forward pass ran without: in torch.no_grad, in torch.inference_mode, or "
                "in torch.utils.checkpoint with use_reentrant=True (use_reentrant=False works)"
            )
            raise RuntimeError(
                f"{label(layer)}: its {self.tap} has no gradient, so that the penalty would train "
                f"nothing; {cause}. To evaluate, call model.eval(), or the penalty in torch.no_grad"
            )

    def clear(self) -> None:
        """Let go of the captured tensors and their graphs."""
        self._captured.clear()
        self._versions.clear()
        self._recorded.clear()

    def _register(self) -> None:
        self._handles.append(self.model.register_forward_pre_hook(self._begin))
        for layer, module in self.modules.items():
            if self.tap == "input":
                handle = module.register_forward_pre_hook(partial(self._on_input, layer))
            else:
                handle = module.register_forward_hook(partial(self._on_output, layer))
            self._handles.append(handle)
        self._handles.append(self.model.register_forward_hook(self._end))

    def _close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running = False
        self.clear()

    def _begin(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.clear()
        self._running = True
        is_known = bool(inputs) and isinstance(inputs[0], Tensor)
        self._num_examples = inputs[0].shape[0] if is_known else None

    def _end(self, *_: Any) -> None:
        self._running = False

    def _on_input(self, layer: Layer, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        layout = self._layouts[layer]
        self._keep(layer, inputs[0] if inputs else None, layout)
        changes = not isinstance(module, CONVOLUTIONS)
        return (self._passed_on(layer, inputs[0], layout, changes=changes), *inputs[1:])

    def _on_output(self, layer: Layer, module: nn.Module, _: Any, output: Any) -> Any:
        values = first_tensor(output)
        layout = HIDDEN_STATES if isinstance(output, Mapping) else self._layouts[layer]
        self._keep(layer, values, layout)
        changes = not isinstance(module, nn.ReLU)
        return with_first_tensor(output, self._passed_on(layer, values, layout, changes=changes))

    def _keep(self, layer: Layer, values: Any, layout: Layout | None) -> None:
        if not isinstance(values, Tensor):
            raise UserError(
                f"{label(layer)}: its {self.tap} is {type(values).__name__}, not one tensor; "
                "tap another module"
            )
        if self._running and layer in self._captured:
            raise UserError(
                f"{label(layer)}: runs more than once in a forward pass, so it is not clear which "
                "activation is meant; tap a module that runs once, such as the block around it"
            )
        num_examples = self._num_examples if self._running else None
        place = f"{label(layer)}: its {self.tap}"
        activation = standard_activation(values, layout, num_examples, place)
        self._captured[layer] = activation
        self._recorded[layer] = torch.is_grad_enabled()
        if not torch.compiler.is_compiling() and not activation.is_inference():
            self._versions[layer] = activation._version

    def _passed_on(
        self, layer: Layer, values: Tensor, layout: Layout | None, *, changes: bool
    ) -> Tensor:
        """Return what the network goes on with instead of values that have been kept.

        It is made of the activation, so that the network's loss has a gradient with respect to it.

        Args:
            changes: whether what follows is likely to change it in place. If not, a change is
                noticed by the tensor's version, if it has one.
        """
        activation = self._captured[layer]
        if changes or layer not in self._versions:
            activation = activation.clone()
        return activation if values.ndim != 3 or layout is None else layout.original(activation)


class _ReachedLastLayerError(BaseException):
    """Ends a forward pass; no `except Exception` in the network's own code can stop it."""


class _StoppingTaps(Taps):
    def _keep(self, layer: Layer, values: Any, layout: Layout | None) -> None:
        super()._keep(layer, values, layout)
        if not self.missing:
            raise _ReachedLastLayerError


def activations_until(
    model: nn.Module, inputs: Tensor, layers: Layer | Iterable[Layer], tap: Tap = "output"
) -> dict[Layer, Tensor]:
    """Run a network only as far as the last of the layers.

    Returns:
        The activation of each layer, as `Taps` gives it.

    Raises:
        UserError: a layer is unknown, or the whole forward pass did not reach it.
    """
    with _StoppingTaps(model, layers, tap) as taps:
        try:
            taps.model(inputs)
        except _ReachedLastLayerError:
            return taps.take()
        names = ", ".join(label(layer) for layer in taps.missing)
        raise UserError(f"{names}: the forward pass of the network does not come by there")


def last_linear(model: nn.Module) -> str:
    """Name a network's last linear layer, which penultimate features enter; '': it has none."""
    modules = unwrap(model).named_modules()
    names: list[str] = [name for name, each in modules if isinstance(each, nn.Linear)]
    return names[-1] if names else ""


def penultimate_features(
    model: nn.Module, batches: Iterable[Tensor], name: str = "the network"
) -> Tensor:
    """Return what enters a network's last linear layer, (examples, features), on the CPU.

    Computed in float32 and evaluation mode; the network is left in the mode that it had.

    Args:
        batches: inputs (batch, channels, frames, bins) on the network's device.
        name: of the network, for the error.

    Raises:
        UserError: it has no linear layer.
    """
    last = last_linear(model)
    if not last:
        raise UserError(f"{name}: has no linear layer at its end")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    with torch.no_grad():
        found = (activations_until(model, each, last, "input")[last] for each in batches)
        features = torch.cat([each.float().cpu() for each in found])
    for module, training in modes.items():
        module.training = training
    return features


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside torch.compile and DistributedDataParallel."""
    compiled = getattr(model, "_orig_mod", None)
    if isinstance(compiled, nn.Module):
        return unwrap(compiled)
    if isinstance(model, DistributedDataParallel):
        inner: nn.Module = model.module
        return unwrap(inner)
    return model


def label(layer: Layer) -> str:
    """Return a layer's short name: layer13, or the module's own."""
    return f"layer{layer}" if isinstance(layer, int) else layer


def as_layers(layers: Layer | Iterable[Layer]) -> tuple[Layer, ...]:
    """Return one or several layers as a tuple.

    Raises:
        TypeError: one is neither a number nor a name.
    """
    several: Any = (layers,) if isinstance(layers, str | Integral) else layers
    if isinstance(several, bytes | Mapping) or not isinstance(several, Iterable):
        several = (several,)
    found: list[Layer] = []
    for each in several:
        if isinstance(each, bool) or not isinstance(each, str | Integral):
            raise TypeError(
                "layers must be convolution numbers (13), module names ('features.28') or a "
                f"sequence of them; found {type(each).__name__}"
            )
        found.append(each if isinstance(each, str) else int(each))
    return tuple(found)


def convolutions(model: nn.Module) -> list[nn.Conv1d | nn.Conv2d]:
    """Return a network's convolutions; the first is layer 1."""
    return [each for each in unwrap(model).modules() if isinstance(each, CONVOLUTIONS)]


def _find(model: nn.Module, layer: Layer, tap: Tap) -> nn.Module:
    if isinstance(layer, str):
        return _find_named(model, layer)
    found = convolutions(model)
    if not 1 <= layer <= len(found):
        allowed = f"1 to {len(found)}" if found else "a module name, as it has none"
        raise UserError(f"layer {layer}: no such convolution in this network; allowed: {allowed}")
    convolution = found[layer - 1]
    if tap == "input":
        return convolution
    return _following_relu(model, convolution) or convolution


def _find_named(model: nn.Module, name: str) -> nn.Module:
    modules: dict[str, nn.Module] = {known: each for known, each in model.named_modules() if known}
    if name not in modules:
        near = difflib.get_close_matches(name, modules, n=3, cutoff=0) or ["none"]
        hint = f" (convolution {name} is a number, not a text)" if name.isdecimal() else ""
        raise UserError(
            f"layer {name}: no such module in this network; nearest: {', '.join(near)}{hint}"
        )
    return modules[name]


def _following_relu(model: nn.Module, convolution: nn.Module) -> nn.ReLU | None:
    """Find the first ReLU after it in its Sequential, before the next convolution."""
    for parent in model.modules():
        members = list(parent) if isinstance(parent, nn.Sequential) else []
        if convolution not in members:
            continue
        for module in members[members.index(convolution) + 1 :]:
            if isinstance(module, nn.ReLU):
                return module
            if isinstance(module, CONVOLUTIONS):
                return None
    return None
