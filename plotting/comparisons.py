"""Which results may be compared: repetitions into groups, layers into methods, methods into tables.

Two results are compared only if all but the method and the seed are equal.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev
from typing import Any, TypeVar

from config.settings import RANDOM
from plotting.paired_statistics import PairedDifference, paired_difference
from plotting.runs import KINDS, Metric, Run
from training.results.dictionary import decisive

TRANSFER_KINDS = ("anti_transfer", "dual_anti_transfer")
# Where methods act: of these, a method is run at several values.
LAYER_KEYS = {
    **dict.fromkeys(TRANSFER_KINDS, "at_layer"),
    "gradient_reversal": "gradient_reversal_layer",
}
NOT_IN_GROUP = ("seed", "anti_transfer")
REVERSAL = "gradient_reversal_"
# Named by every label, or not a choice of method.
SAID_BY_LABELS = (
    *("at_layer", "at_dataset", "at_pretraining"),
    *(f"{REVERSAL}layer", f"{REVERSAL}label"),
)
# How parameters are called in labels; the values of some say enough.
PARAMETER_NAMES = {"gradient_reversal_weight": "weight", "at_aggregation": "", "at_distance": ""}
Item = TypeVar("Item")


@dataclass(frozen=True)
class Group:
    """Repetitions of one configuration: runs that differ in their seed alone, by seed."""

    runs: tuple[Run, ...]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Those of its first run; all but seed and names are those of every run."""
        return self.runs[0].parameters

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return self.runs[0].kind

    @property
    def layer(self) -> str:
        """Where the method acts: '3', '3, 5; 13'; empty for those that act nowhere."""
        key = LAYER_KEYS.get(self.kind)
        return _text(self.parameters.get(key)) if key else ""

    @property
    def against(self) -> str:
        """The frozen networks that anti-transfer pushes away from; empty for other methods."""
        return ", ".join(self.networks)

    @property
    def networks(self) -> list[str]:
        """Names of the frozen networks, of which each has a term of its own."""
        if self.kind not in TRANSFER_KINDS:
            return []
        names = _text(self.parameters.get("at_dataset")).split(",")
        return [name.strip() for name in names if name.strip()]

    @property
    def is_random(self) -> bool:
        """Whether it pushes away from untrained networks alone."""
        return set(self.networks) == {RANDOM}

    @property
    def experiments(self) -> list[int]:
        """IDs, without repetition."""
        return sorted({run.experiment for run in self.runs})

    @property
    def num_collapsed(self) -> int:
        """How many of its runs name one class only, or are no better than chance."""
        return sum(run.collapsed for run in self.runs)

    def by_seed(self, set_name: str = "test") -> dict[int, float]:
        """The figure of merit of each seed; set_name: train, validation, test."""
        return {run.seed: run.values[set_name] for run in self.runs}

    def values(self, set_name: str = "test") -> list[float]:
        """The figures of merit, by seed."""
        return list(self.by_seed(set_name).values())

    def mean(self, set_name: str = "test") -> float:
        """Over the repetitions."""
        return fmean(self.values(set_name))

    def deviation(self, set_name: str = "test") -> float | None:
        """Standard deviation (n - 1) over the repetitions; None of a single one."""
        return stdev(self.values(set_name)) if len(self.runs) > 1 else None

    def minus(self, other: "Group", set_name: str = "test") -> PairedDifference:
        """This group's runs minus the other's of the same seeds."""
        mine, theirs = self.by_seed(set_name), other.by_seed(set_name)
        return paired_difference([mine[seed] - theirs[seed] for seed in mine if seed in theirs])


@dataclass(frozen=True)
class Method:
    """Groups that differ in the layer alone, by layer; most methods that act nowhere have one."""

    groups: tuple[Group, ...]
    label: str
    metric: Metric

    @property
    def kind(self) -> str:
        return self.groups[0].kind

    @property
    def against(self) -> str:
        return self.groups[0].against

    @property
    def is_random_control(self) -> bool:
        """Whether it pushes away from an untrained network."""
        return self.groups[0].is_random

    @property
    def adds_reversal(self) -> bool:
        """Whether gradient reversal is combined with anti-transfer, as nothing published is."""
        return bool(self.against and self.groups[0].parameters.get(f"{REVERSAL}label"))

    @cached_property
    def chosen(self) -> Group:
        """The group of the layer with the best mean validation figure; the test set has no say.

        Only layers with the most repetitions take part: of an unfinished sweep, a layer that was
        run once would win by one lucky run.
        """
        return best_of(self.groups, self.metric, "validation")

    @cached_property
    def oracle(self) -> Group:
        """The group that is best on the test set: a choice that nobody can make beforehand."""
        return best_of(self.groups, self.metric, "test")

    @property
    def incomplete(self) -> list[str]:
        """'layer 9 has 1 of 6 repetitions', for layers that the choice leaves out."""
        most = max(len(group.runs) for group in self.groups)
        layers: dict[int, list[str]] = {}
        for group in self.groups:
            if len(group.runs) < most:
                layers.setdefault(len(group.runs), []).append(group.layer)
        return [
            f"layer {names[0]} has {number} of {most} repetitions"
            if len(names) == 1
            else f"layers {' / '.join(names)} have {number} of {most} repetitions"
            for number, names in layers.items()
        ]

    def at_layer(self, layer: str) -> Group | None:
        """The group of a layer, if there is one."""
        return next((group for group in self.groups if group.layer == layer), None)

    @property
    def single_runs(self) -> bool:
        """Whether every layer was run once only."""
        return all(len(group.runs) == 1 for group in self.groups)


def best_of(groups: Sequence[Group], metric: Metric, set_name: str) -> Group:
    """The group with the best mean figure among those with the most repetitions."""
    most = max(len(group.runs) for group in groups)
    complete = [group for group in groups if len(group.runs) == most]
    # Of equals the first wins: the lower layer.
    return max(complete, key=lambda group: metric.goodness(group.mean(set_name)))


@dataclass(frozen=True)
class Comparison:
    """All methods on one dataset and split, trained alike.

    Attributes:
        baseline: None if no baseline trained alike is among the results.
        methods: the others: initialization, anti-transfer, controls, gradient reversal.
    """

    baseline: Group | None
    methods: tuple[Method, ...]
    metric: Metric

    @cached_property
    def groups(self) -> list[Group]:
        """Of the baseline and all methods."""
        own = [self.baseline] if self.baseline else []
        return [*own, *(group for method in self.methods for group in method.groups)]

    @property
    def first(self) -> Run:
        """A run that stands for what all share."""
        return self.groups[0].runs[0]

    @property
    def dataset(self) -> str:
        return self.first.dataset

    @property
    def split(self) -> str:
        """What the split divides, and what its sets share."""
        return self.first.split

    @property
    def experiments(self) -> list[int]:
        """IDs, without repetition."""
        return sorted({identifier for group in self.groups for identifier in group.experiments})

    def alike(self, method: Method) -> list[Method]:
        """Methods that differ in their frozen networks alone, of which they have as many."""
        wanted = _family(method.groups[0])
        return [
            each
            for each in self.methods
            if each is not method and each.against and _family(each.groups[0]) == wanted
        ]


def compare(runs: Iterable[Run]) -> list[Comparison]:
    """Put runs together that may be compared, in the order in which their data first appears."""
    settings: dict[str, list[Run]] = {}
    for run in runs:
        settings.setdefault(_setting(run), []).append(run)
    return [_comparison(members) for members in settings.values()]


def _comparison(runs: Sequence[Run]) -> Comparison:
    groups = [_group(members) for members in _by(runs, _group_key).values()]
    groups.sort(key=lambda group: KINDS.index(group.kind))
    metric = groups[0].runs[0].metric
    baselines = [group for group in groups if group.kind == "baseline"]
    families = list(_by([g for g in groups if g.kind != "baseline"], _method_key).values())
    methods = [
        Method(tuple(sorted(family, key=lambda group: layer_order(group.layer))), label, metric)
        for family, label in zip(families, _labels(families), strict=True)
    ]
    methods.sort(key=_position)
    return Comparison(baselines[0] if baselines else None, tuple(methods), metric)


def _position(method: Method) -> tuple[int, bool]:
    """Initialization, anti-transfer, its random control, dual anti-transfer, gradient reversal."""
    return KINDS.index(method.kind), method.is_random_control


def _group(runs: Sequence[Run]) -> Group:
    """One run for each seed, by seed; of two of the same seed, the first experiment's."""
    by_seed: dict[int, Run] = {}
    for run in sorted(runs, key=lambda run: (run.experiment, run.number)):
        by_seed.setdefault(run.seed, run)
    return Group(tuple(by_seed[seed] for seed in sorted(by_seed)))


def _setting(run: Run) -> str:
    """All that two configurations must have in common to be compared."""
    shared = {
        key: value
        for key, value in decisive(run.parameters).items()
        if key not in NOT_IN_GROUP and not key.startswith(("at_", REVERSAL))
    }
    return repr((sorted(shared.items()), run.inputs.get("data"), run.split, run.precision))


def _own_parameters(run: Run) -> dict[str, Any]:
    """What a run's method is made of: without what it does not use."""
    used = {
        "baseline": (),
        "weight_initialization": ("at_pretraining",),
        "anti_transfer": ("at_", REVERSAL),
        "dual_anti_transfer": ("at_", REVERSAL),
        "gradient_reversal": (REVERSAL, "at_pretraining"),
    }[run.kind]
    return {key: value for key, value in decisive(run.parameters).items() if key.startswith(used)}


def _group_key(run: Run) -> str:
    # Seeds of a random network may differ with the repetition, as everything else does that is
    # drawn; another frozen network of the same name is another method.
    inputs = {key: value for key, value in run.inputs.items() if key != f"extractor {RANDOM}"}
    return repr((run.kind, sorted(_own_parameters(run).items()), sorted(inputs.items())))


def _method_key(group: Group) -> str:
    return repr((group.kind, method_parameters(group), _inputs(group)))


def method_parameters(group: Group, *others: str) -> list[tuple[str, Any]]:
    """What its method is made of, without the layer it acts at, and some others."""
    own = _own_parameters(group.runs[0])
    return sorted(
        (key, own[key]) for key in own if key not in (LAYER_KEYS.get(group.kind), *others)
    )


def _inputs(group: Group) -> list[tuple[str, Any]]:
    inputs = group.runs[0].inputs
    return sorted((key, inputs[key]) for key in inputs if key != f"extractor {RANDOM}")


def _family(group: Group) -> str:
    return repr((group.kind, len(group.networks), method_parameters(group, "at_dataset")))


def _differing(groups: Sequence[Group]) -> list[str]:
    """Parameters in which methods of one kind differ without their labels saying so."""
    names: dict[str, None] = {}
    for members in _by(groups, lambda group: group.kind).values():
        owns = [_own_parameters(group.runs[0]) for group in members]
        for key in dict.fromkeys(key for own in owns for key in own):
            # That a method has no gradient reversal is said by its label.
            known = [own for own in owns if key in own or not key.startswith(REVERSAL)]
            if key not in SAID_BY_LABELS and len({repr(own.get(key)) for own in known}) > 1:
                names[key] = None
    return list(names)


def _label(group: Group, differing: Sequence[str]) -> str:
    own = _own_parameters(group.runs[0])
    kind = group.kind.replace("_", " ").replace("anti transfer", "anti-transfer")
    words = [kind]
    if own.get("at_pretraining"):
        words.append(f"from {_text(own['at_pretraining'])}")
    if group.is_random:
        number = len(group.networks)
        what = "a random network" if number == 1 else f"{number} random networks"
        words.append(f"against {what} (control)")
    elif group.against:
        words.append(f"against {group.against}")
    if group.kind == "gradient_reversal":
        words.append(f"of {_text(own.get(f'{REVERSAL}label'))}")
    elif f"{REVERSAL}label" in own:
        layer = _text(own.get(f"{REVERSAL}layer"))
        words.append(f"with gradient reversal of {own[f'{REVERSAL}label']} at layer {layer}")
    details = [
        f"{_name(key)} {_text(own[key])}".strip() for key in differing if own.get(key) is not None
    ]
    return " ".join(words) + (f" ({', '.join(details)})" if details else "")


def _labels(families: Sequence[Sequence[Group]]) -> list[str]:
    """A label for each; methods whose frozen networks share a name get their experiment, too."""
    differing = _differing([family[0] for family in families])
    labels = [_label(family[0], differing) for family in families]
    return [
        f"{label}, experiment {family[0].experiments[0]}" if labels.count(label) > 1 else label
        for family, label in zip(families, labels, strict=True)
    ]


def _name(key: str) -> str:
    return PARAMETER_NAMES.get(key, key.removeprefix("at_"))


def layer_order(layer: str) -> tuple[list[int], str]:
    """Sorts layers by their numbers: 2 before 13, '3, 5' after 3."""
    numbers = "".join(mark if mark.isdigit() else " " for mark in layer).split()
    return [int(number) for number in numbers], layer


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _by(items: Iterable[Item], key: Callable[[Item], str]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found
