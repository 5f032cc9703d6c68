"""What the terminal shows of an analysis of invariance: one table, and what could not be probed."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from config.text import aligned
from training.results.method_names import labels_of, layer_of, own_parameters, setting_of

if TYPE_CHECKING:
    from training.probing.analysis import Found

# Of an accuracy: more than chance only if it is further above than this many standard errors.
NUM_ERRORS = 2
TITLE = (
    "percent of the test examples whose label a linear probe names, by layer; chance: always the "
    "most frequent value; *: the last layer's cannot be told from chance"
)


def table(found: "Sequence[Found]") -> str:
    """Return the probes' accuracies, label by label and network by network, as text."""
    layers = [str(layer["layer"]) for layer in found[0].analysis["layers"]]
    header = ["label", "network", "runs", "chance", "shuffled", *layers[:-1], "last"]
    networks = _networks(found)
    rows = []
    for label in dict.fromkeys(label for each in found for label in each.analysis["labels"]):
        for name, members in networks.items():
            analyses = [each.analysis for each in members if label in each.analysis["labels"]]
            if analyses:
                rows.append([label, name, str(len(analyses)), *_percents(label, analyses)])
    first, *lines = aligned([header, *rows], num_left=2)
    return "\n".join([TITLE, first, "-" * len(first), *lines])


def left_out(found: "Sequence[Found]") -> list[str]:
    """Say which labels could not be probed, and why."""
    said = {
        f"{name}: not probed on {each.parameters['dataset']}: {reason}."
        for each in found
        for name, reason in each.analysis["left_out_labels"].items()
    }
    return sorted(said)


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


def _percents(label: str, analyses: Sequence[Any]) -> list[str]:
    """Average chance, the shuffled control, and the accuracy at each layer over repetitions."""
    described = [each["labels"][label] for each in analyses]
    probes = [[layer["probes"][label] for layer in each["layers"]] for each in analyses]
    chance = fmean(each["chance"] for each in described)
    shuffled = fmean(layers[-1]["shuffled"] for layers in probes)
    accuracies = [fmean(each["accuracy"] for each in layer) for layer in zip(*probes, strict=True)]
    num_examples = min(each["num_examples"] for each in described)
    error = (chance * (1 - chance) / num_examples) ** 0.5
    cells = [f"{100 * share:.0f}" for share in (chance, shuffled, *accuracies)]
    is_at_chance = accuracies[-1] <= max(chance, shuffled) + NUM_ERRORS * error
    return [*cells[:-1], cells[-1] + ("*" if is_at_chance else "")]
