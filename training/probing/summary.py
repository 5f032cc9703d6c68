"""What the terminal shows of an analysis of invariance: one table, one sentence for each label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any, Protocol

from training.probing.files import PENULTIMATE, apart_text
from training.results.dictionary import decisive

# Of an accuracy: more than chance only if it is further above than this many standard errors.
NUM_ERRORS = 2
# What only methods have, and of it what every name says.
METHOD_KEYS = ("at_", "gradient_reversal_", "anti_transfer")
SAID_BY_NAMES = (
    *("at_dataset", "at_layer", "at_beta", "at_pretraining"),
    *("gradient_reversal_label", "gradient_reversal_layer"),
)


class Found(Protocol):
    """What the analysis of an instance gave."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    @property
    def analysis(self) -> Mapping[str, Any]: ...


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
        """Accuracy from the penultimate features."""
        return self.accuracies[list(self.accuracies)[-1]]

    @property
    def above_chance(self) -> bool:
        """Whether more can be read from the penultimate features than naming the most frequent."""
        error = float((self.chance * (1 - self.chance) / self.num_examples) ** 0.5)
        return self.last > max(self.chance, self.shuffled) + NUM_ERRORS * error


def curves(found: Sequence[Found]) -> list[Curve]:
    """Label by label, all networks in the order given."""
    networks = _networks(found)
    labels = dict.fromkeys(label for each in found for label in each.analysis["labels"])
    return [
        _curve(label, name, known)
        for label in labels
        for name, members in networks.items()
        if (known := [each for each in members if label in each.analysis["labels"]])
    ]


def _networks(found: Sequence[Found]) -> dict[str, list[Found]]:
    """Repetitions, which differ in their seed alone, by what tells them from others."""
    groups: dict[str, dict[Any, Found]] = {}
    for each in found:
        same = groups.setdefault(repr(sorted(_configuration(each.parameters).items())), {})
        # Two experiments may hold the same run.
        same.setdefault(each.parameters.get("seed"), each)
    repetitions = [list(group.values()) for group in groups.values()]
    named: dict[str, list[Found]] = {}
    for members, name in zip(repetitions, _names(repetitions), strict=True):
        named.setdefault(name, []).extend(members)
    return named


def _configuration(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """All that decides a result but the seed."""
    used = {key: value for key, value in decisive(parameters).items() if key != "seed"}
    if not parameters.get("anti_transfer"):
        used = {k: v for k, v in used.items() if k == "at_pretraining" or not k.startswith("at_")}
    return {**used, "kind": parameters["kind"]}


def _names(groups: Sequence[Sequence[Found]]) -> list[str]:
    """A name for each group that says in what it differs from the others."""
    firsts = [_configuration(members[0].parameters) for members in groups]
    settings = [key for key in _differing(firsts) if not key.startswith(METHOD_KEYS)]
    names = []
    for members, first in zip(groups, firsts, strict=True):
        of_kind = [each for each in firsts if each["kind"] == first["kind"]]
        own = [key for key in _differing(of_kind) if key.startswith(METHOD_KEYS)]
        keys = settings + [key for key in own if key not in SAID_BY_NAMES]
        details = [f"{key.removeprefix('at_')} {first[key]}" for key in keys if key in first]
        name = _network(members)
        names.append(f"{name} ({', '.join(details)})" if details else name)
    return names


def _differing(configurations: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for each in configurations for key in each if key != "kind")
    return [key for key in keys if len({repr(each.get(key)) for each in configurations}) > 1]


def _curve(label: str, network: str, members: Sequence[Found]) -> Curve:
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
        mean(float(each["chance"]) for each in described),
        mean(float(probe["shuffled"]) for probe in layers[PENULTIMATE]),
        {name: mean(float(probe["accuracy"]) for probe in each) for name, each in layers.items()},
        apart_text(described[0].get("grouped_by"), described[0].get("not_apart", [])),
    )


def _network(members: Sequence[Found]) -> str:
    """IDs and method."""
    identifiers = dict.fromkeys(str(each.analysis["experiment"]) for each in members)
    return f"{','.join(identifiers)} {_method(members[0].parameters)}"


def _method(parameters: Mapping[str, Any]) -> str:
    words = [str(parameters["kind"]).replace("_", " ")]
    if parameters.get("anti_transfer"):
        words.append(f"{parameters['at_dataset']} layer {parameters['at_layer']}")
        words.append(f"beta {parameters['at_beta']}")
    if parameters.get("at_pretraining"):
        words.append(f"from {parameters['at_pretraining']}")
    if parameters.get("gradient_reversal_label"):
        words.append(f"{parameters['gradient_reversal_label']}")
        words.append(f"layer {parameters['gradient_reversal_layer']}")
    return " ".join(words)


def table(found: Sequence[Found]) -> str:
    """Percent of the test examples whose label a probe names, by layer."""
    rows = []
    for curve in curves(found):
        figures = (curve.chance, curve.shuffled, *curve.accuracies.values())
        percent = [f"{100 * value:.0f}" for value in figures]
        rows.append([curve.label, curve.network, str(curve.num_runs), *percent])
    layers = [str(layer["layer"]) for layer in found[0].analysis["layers"]]
    header = ["label", "network", "runs", "chance", "shuffled", *layers[:-1], "last"]
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    text = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    title = "percent of the test examples whose label a linear probe names, by layer"
    return "\n".join([title, text[0], "-" * max(map(len, text)), *text[1:]])


def sentences(found: Sequence[Found]) -> list[str]:
    """What was found, label by label and dataset by dataset, and what could not be probed."""
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
        f"{100 * mean(curve.shuffled for curve in members):.1f} %"
    )
    if first.apart:
        text = f"{text} ({first.apart})"
    at_chance = [curve.network for curve in members if not curve.above_chance]
    if len(at_chance) == len(members):
        return f"{text}: none of them can be told from chance."
    if at_chance:
        return f"{text}; not to be told from chance: {'; '.join(at_chance)}."
    return f"{text}: all of them hold it."
