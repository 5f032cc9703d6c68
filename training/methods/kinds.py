"""The methods that at_method names: what each reads of the settings, and the file that has it.

A new one is a file of this folder with a function `build`, and one entry here. Loading the table
loads no torch.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from training.methods import Method, MethodInputs

SIMILARITY = "similarity"
# Belong to every method: what it is, what it reads, and what the training starts from.
OF_ALL = ("at_method", "at_dataset", "at_pretraining")


@dataclass(frozen=True)
class AtMethod:
    """A way of training away that at_method names.

    Attributes:
        title: its name for people.
        module: has `build`, a function of MethodInputs that returns a list of Methods.
        uses: settings that it reads, beside OF_ALL; not the others that begin with at_.
        required: those of them that may not be empty.
        needs_knowledge: whether it needs at_dataset, else it may have none.
        needs_classes: whether it has no meaning for a regression.
        expert: what it takes of an expert on at_dataset: its beliefs, which change nothing where
            it knows nothing; guesses, in place of a column's labels; "": neither.
    """

    title: str
    module: str
    uses: tuple[str, ...] = ("at_beta",)
    required: tuple[str, ...] = ()
    needs_knowledge: bool = True
    needs_classes: bool = False
    expert: Literal["", "beliefs", "guesses"] = ""

    def reads(self, key: str) -> bool:
        """Tell whether a setting means anything to it."""
        return not key.startswith("at_") or key in (*OF_ALL, *self.uses)


AT_METHODS: dict[str, AtMethod] = {
    SIMILARITY: AtMethod(
        "anti-transfer",
        "training.methods.anti_transfer",
        uses=(
            *("at_beta", "at_layer", "at_frozen_layer", "at_tap", "at_aggregation"),
            *("at_distance", "at_ramp", "at_cache"),
        ),
        required=("at_layer",),
    ),
    "product_of_experts": AtMethod(
        "product of experts", "training.methods.product_of_experts", expert="beliefs"
    ),
    "learned_mixin": AtMethod("learned mixin", "training.methods.learned_mixin", expert="beliefs"),
    "expert_weighting": AtMethod(
        "weighting by the expert",
        "training.methods.expert_weighting",
        needs_classes=True,
        expert="beliefs",
    ),
    "hsic": AtMethod(
        "independence (HSIC)", "training.methods.hsic", uses=("at_beta", "at_layer", "at_ramp")
    ),
    "spectral_decoupling": AtMethod(
        "spectral decoupling", "training.methods.spectral_decoupling", needs_knowledge=False
    ),
    "group_dro": AtMethod(
        "GroupDRO", "training.methods.group_dro", needs_classes=True, expert="guesses"
    ),
    "balanced_sampling": AtMethod(
        "group-balanced sampling",
        "training.methods.balanced_sampling",
        uses=(),
        needs_classes=True,
        expert="guesses",
    ),
    "last_layer_retraining": AtMethod(
        "last-layer retraining",
        "training.methods.last_layer_retraining",
        uses=(),
        needs_classes=True,
        expert="guesses",
    ),
    "leace": AtMethod(
        "linear erasure (LEACE)",
        "training.methods.leace",
        uses=(),
        needs_classes=True,
        expert="guesses",
    ),
}


def build_methods(inputs: "MethodInputs") -> "list[Method]":
    """Build all that the settings ask for: the one of at_method, and gradient reversal."""
    training = inputs.training
    modules = [AT_METHODS[training.at_method].module] if training.anti_transfer else []
    if training.gradient_reversal_label:
        modules.append("training.methods.gradient_reversal")
    return [method for module in modules for method in import_module(module).build(inputs)]
