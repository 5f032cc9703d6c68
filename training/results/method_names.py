"""How results name and group methods: the one place where a new method is added.

A method is told from the parameters of a run: `kind` is its entry in METHODS, and the entry says
which parameters are the method's own. All other parameters are the setting, which two runs must
share to be compared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.methods.kinds import AT_METHODS, SIMILARITY
from training.models.frozen import COLUMN, is_untrained
from training.results.dictionary import fingerprinted

Parameters = Mapping[str, Any]
REVERSAL = "gradient_reversal_"
NAMED_OF_REVERSAL = (f"{REVERSAL}layer", f"{REVERSAL}label", f"{REVERSAL}conditional")
# Given by the repetition and by the kind of the method; neither a setting nor a choice.
NOT_IN_SETTING = ("seed", "anti_transfer")
SEARCHED = "searched"
# How parameters are called in labels; the values of some say enough.
PARAMETER_NAMES = {f"{REVERSAL}weight": "weight", "at_aggregation": "", "at_distance": ""}


def text_of(value: Any) -> str:
    """Return a parameter's value as text; empty for None."""
    return "" if value is None else str(value)


def starts_from(own: Parameters) -> str:
    """Return 'from X', what the weights start from."""
    return f"from {own['at_pretraining']}" if own.get("at_pretraining") else ""


def pushes_away(own: Parameters) -> str:
    """Return 'against X', the frozen networks; several untrained ones are counted."""
    names = _names(own.get("at_dataset"))
    if names and all(map(is_untrained, names)):
        what = "a random network" if len(names) == 1 else f"{len(names)} random networks"
        kinds = [name.partition(":")[2] for name in names if ":" in name]
        like = f" like {', '.join(dict.fromkeys(kinds))}" if kinds else ""
        return f"against {what}{like} (control)"
    known = [
        f"the true {name.removeprefix(COLUMN)}" if name.startswith(COLUMN) else name
        for name in names
    ]
    return f"against {', '.join(known)}" if known else ""


def reverses(own: Parameters) -> str:
    """Return 'of X [given the class]', the label that gradient reversal removes."""
    given = " given the class" if own.get(f"{REVERSAL}conditional") else ""
    return f"of {own[f'{REVERSAL}label']}{given}"


def reverses_too(own: Parameters) -> str:
    """Return 'with gradient reversal of X at layer N', where it is combined with a method."""
    if not own.get(f"{REVERSAL}label"):
        return ""
    return f"with gradient reversal {reverses(own)} at layer {text_of(own[f'{REVERSAL}layer'])}"


@dataclass(frozen=True)
class MethodKind:
    """A kind of method.

    Attributes:
        title: its name for people.
        own: beginnings of the names of its parameters.
        layer: the parameter that is the layer it acts at; of its values, validation chooses one.
        networks: the parameter that names the frozen networks it uses. The control of such a
            method is the same with networks that nothing trained.
        words: what else a label says, each from the method's own parameters.
        named: parameters that the words name.
    """

    title: str
    own: tuple[str, ...] = ()
    layer: str | None = None
    networks: str | None = None
    words: tuple[Callable[[Parameters], str], ...] = ()
    named: tuple[str, ...] = ()

    def own_parameters(self, parameters: Parameters) -> dict[str, Any]:
        """Return the parameters that the method is made of, without those it does not use."""
        used = fingerprinted(parameters)
        return {key: used[key] for key in used if key.startswith(self.own)}


_TRANSFER = MethodKind(
    "anti-transfer",
    own=("at_", REVERSAL),
    layer="at_layer",
    networks="at_dataset",
    words=(starts_from, pushes_away, reverses_too),
    named=("at_method", "at_layer", "at_dataset", "at_pretraining", *NAMED_OF_REVERSAL),
)
# By the parameter `kind`, in the order of tables.
METHODS: dict[str, MethodKind] = {
    "baseline": MethodKind("baseline"),
    "weight_initialization": MethodKind(
        "weight initialization",
        own=("at_pretraining",),
        words=(starts_from,),
        named=("at_pretraining",),
    ),
    "anti_transfer": _TRANSFER,
    "dual_anti_transfer": replace(_TRANSFER, title="dual anti-transfer"),
    **{
        name: replace(_TRANSFER, title=method.title)
        for name, method in AT_METHODS.items()
        if name != SIMILARITY
    },
    "gradient_reversal": MethodKind(
        "gradient reversal",
        own=(REVERSAL, "at_pretraining"),
        layer=f"{REVERSAL}layer",
        words=(starts_from, reverses),
        named=("at_pretraining", *NAMED_OF_REVERSAL),
    ),
}


def kind_of(parameters: Parameters) -> MethodKind:
    """Return the kind of a run's method."""
    return METHODS[parameters["kind"]]


def order_of(parameters: Parameters) -> tuple[int, bool]:
    """Return where a method stands in tables: in the order of METHODS, its control last."""
    return list(METHODS).index(parameters["kind"]), uses_random_networks(parameters)


def search_of(parameters: Parameters) -> tuple[str, list[str]]:
    """Return 'random, 20 trials' and the parameters that they chose; of other runs, nothing."""
    budget, _, searched = text_of(parameters.get("search")).partition(":")
    return budget, _names(searched)


def setting_of(parameters: Parameters) -> dict[str, Any]:
    """Return what two runs must share to be compared: all that is no method's own.

    Of a tuned method that is how it was tuned, not what was found for it.
    """
    methods = tuple({start for kind in METHODS.values() for start in kind.own})
    budget, searched = search_of(parameters)
    used = fingerprinted(parameters) | dict.fromkeys(searched, SEARCHED)
    setting = {
        key: used[key] for key in used if key not in NOT_IN_SETTING and not key.startswith(methods)
    }
    return setting | ({"search": budget} if budget else {})


def own_parameters(parameters: Parameters) -> dict[str, Any]:
    """Return the parameters that a run's method is made of, those found by a search among them."""
    _, searched = search_of(parameters)
    found = {key: parameters[key] for key in searched if key in parameters}
    return kind_of(parameters).own_parameters(parameters) | found


def layer_of(parameters: Parameters) -> str:
    """Return where the method acts: '3', '3, 5; 13'; empty for those that act nowhere."""
    key = kind_of(parameters).layer
    return text_of(parameters.get(key)) if key else ""


def networks_of(parameters: Parameters) -> list[str]:
    """Return the names of the frozen networks that the method uses, each with a term of its own."""
    key = kind_of(parameters).networks
    return _names(parameters.get(key)) if key else []


def uses_random_networks(parameters: Parameters) -> bool:
    """Whether the method uses untrained networks alone: then it is a control."""
    networks = networks_of(parameters)
    return bool(networks) and all(map(is_untrained, networks))


def labels_of(methods: Sequence[Parameters]) -> list[str]:
    """Name methods, given by the parameters of one run of each, by what tells them apart."""
    differing = _differing(methods)
    return [_label(parameters, differing) for parameters in methods]


def _label(parameters: Parameters, differing: Sequence[str]) -> str:
    kind, own = kind_of(parameters), own_parameters(parameters)
    words = [kind.title, *filter(None, (write(own) for write in kind.words))]
    details = [
        f"{PARAMETER_NAMES.get(key, key.removeprefix('at_'))} {own[key]}".strip()
        for key in differing
        if own.get(key) is not None
    ]
    return " ".join(words) + (f" ({', '.join(details)})" if details else "")


def _differing(methods: Sequence[Parameters]) -> list[str]:
    """Return the parameters in which methods of one kind differ and that no word names."""
    names: dict[str, None] = {}
    for kind_name in dict.fromkeys(parameters["kind"] for parameters in methods):
        kind = METHODS[kind_name]
        owns = [kind.own_parameters(each) for each in methods if each["kind"] == kind_name]
        # That a method has no gradient reversal is said by its label.
        reversing = [own for own in owns if f"{REVERSAL}label" in own]
        keys = [key for key in keys_that_differ(owns) if not key.startswith(REVERSAL)]
        keys += [key for key in keys_that_differ(reversing) if key.startswith(REVERSAL)]
        names |= dict.fromkeys(key for key in keys if key not in kind.named)
    # What a search found has a column of its own.
    return [key for key in names if not any(key in search_of(each)[1] for each in methods)]


def keys_that_differ(dictionaries: Sequence[Parameters]) -> list[str]:
    """Return the keys that do not have the same value everywhere."""
    keys = dict.fromkeys(key for each in dictionaries for key in each)
    return [key for key in keys if len({repr(each.get(key)) for each in dictionaries}) > 1]


def _names(value: Any) -> list[str]:
    return [name.strip() for name in text_of(value).split(",") if name.strip()]
