"""What the terminal shows of an analysis of invariance: one table, one sentence for each label."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from config.text import aligned
from training.probing.files import PENULTIMATE, apart_text
from training.results.methods import labels_of, layer_of, own_parameters, setting_of

if TYPE_CHECKING:
    from training.probing.analysis import Found

# Of an accuracy: more than chance only if it is further above than this many standard errors.
NUM_ERRORS = 2


@dataclass(frozen=True)
class Curve:
    """Probe accuracies of one label by layer, means over the repetitions of one configuration."""

    label: str
    role: str
    network: str
    dataset: str
    num_runs: int
    num_examples: int
    chance: float
    shuffled: float
    accuracies: dict[str, float]
    apart: str = ""

    @property
    def last(self) -> float:
        """Return the accuracy from the penultimate features."""
        return self.accuracies[list(self.accuracies)[-1]]

    @property
    def above_chance(self) -> bool:
        """Whether more can be read from the penultimate features than naming the most frequent."""
        error = float((self.chance * (1 - self.chance) / self.num_examples) ** 0.5)
        return self.last > max(self.chance, self.shuffled) + NUM_ERRORS * error


def curves(found: "Sequence[Found]") -> list[Curve]:
    """Return label by label all networks in the order given."""
    networks = _networks(found)
    labels = dict.fromkeys(label for each in found for label in each.analysis["labels"])
    return [
        _curve(label, name, known)
        for label in labels
        for name, members in networks.items()
        if (known := [each for each in members if label in each.analysis["labels"]])
    ]


def _networks(found: "Sequence[Found]") -> "dict[str, list[Found]]":
    """Group repetitions, which differ in their seed alone, by experiments, method and layer."""
    groups: dict[str, dict[Any, Found]] = {}
    for each in found:
        own, setting = own_parameters(each.parameters), setting_of(each.parameters)
        key = repr((each.parameters["kind"], sorted(own.items()), sorted(setting.items())))
        # Two experiments may hold the same run.
        groups.setdefault(key, {}).setdefault(each.parameters.get("seed"), each)
    repetitions = [list(group.values()) for group in groups.values()]
    firsts = [members[0].parameters for members in repetitions]
    named: dict[str, list[Found]] = {}
    for members, label in zip(repetitions, labels_of(firsts, with_settings=True), strict=True):
        identifiers = dict.fromkeys(str(each.analysis["experiment"]) for each in members)
        layer = layer_of(members[0].parameters)
        name = f"{','.join(identifiers)} {label}{f', layer {layer}' if layer else ''}"
        named.setdefault(name, []).extend(members)
    return named


def _curve(label: str, network: str, members: "Sequence[Found]") -> Curve:
    described = [each.analysis["labels"][label] for each in members]
    layers = {
        layer["layer"]: [each.analysis["layers"][position]["probes"][label] for each in members]
        for position, layer in enumerate(members[0].analysis["layers"])
    }
    return Curve(
        label,
        str(described[0]["role"]),
        network,
        str(members[0].parameters["dataset"]),
        len(members),
        min(int(each["num_examples"]) for each in described),
        fmean(float(each["chance"]) for each in described),
        fmean(float(probe["shuffled"]) for probe in layers[PENULTIMATE]),
        {name: fmean(float(probe["accuracy"]) for probe in each) for name, each in layers.items()},
        apart_text(described[0].get("grouped_by"), described[0].get("not_apart", [])),
    )


def table(found: "Sequence[Found]") -> str:
    """Return percent of the test examples whose label a probe names, by layer."""
    layers = [str(layer["layer"]) for layer in found[0].analysis["layers"]]
    header = ["label", "network", "runs", "chance", "shuffled", *layers[:-1], "last"]
    rows = []
    for curve in curves(found):
        shares = (curve.chance, curve.shuffled, *curve.accuracies.values())
        percent = [f"{100 * share:.0f}" for share in shares]
        rows.append([curve.label, curve.network, str(curve.num_runs), *percent])
    first, *lines = aligned([header, *rows], num_left=2)
    title = "percent of the test examples whose label a linear probe names, by layer"
    return "\n".join([title, first, "-" * len(first), *lines])


def sentences(found: "Sequence[Found]") -> list[str]:
    """Say what was found, label by label and dataset by dataset, and what could not be probed."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for curve in curves(found):
        groups.setdefault((curve.label, curve.dataset), []).append(curve)
    said = [_sentence(members) for members in groups.values()]
    left_out = {
        f"{name}: not probed on {each.parameters['dataset']}: {reason}."
        for each in found
        for name, reason in each.analysis["left_out_labels"].items()
    }
    return [*said, *sorted(left_out)]


def _sentence(members: Sequence[Curve]) -> str:
    first = members[0]
    lowest = min(members, key=lambda curve: curve.last)
    highest = max(members, key=lambda curve: curve.last)
    figure = f"{100 * lowest.last:.1f} % ({lowest.network})"
    if len(members) > 1:
        figure += f" to {100 * highest.last:.1f} % ({highest.network})"
    text = (
        f"{first.label} ({first.role}, {first.dataset}): from the penultimate features a linear "
        f"probe names {figure} of the test examples; always naming the most frequent value names "
        f"{100 * first.chance:.1f} %, a probe of shuffled labels "
        f"{100 * fmean(curve.shuffled for curve in members):.1f} %"
    )
    if first.apart:
        text = f"{text} ({first.apart})"
    at_chance = [curve.network for curve in members if not curve.above_chance]
    if len(at_chance) == len(members):
        return f"{text}: none of them can be told from chance."
    if at_chance:
        return f"{text}; not to be told from chance: {'; '.join(at_chance)}."
    return f"{text}: all of them hold it."
