"""The table that a run ends with: accuracy over repetitions, chance, and what may be concluded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from training.results import NOT_IN_FINGERPRINT

NOT_IN_GROUP = (*NOT_IN_FINGERPRINT, "seed")


@dataclass(frozen=True)
class Group:
    """Repetitions of one configuration: results that differ in their seed alone."""

    experiment: int
    description: str
    label: str
    results: tuple[Mapping[str, Any], ...]

    def accuracies(self, set_name: str) -> list[float]:
        """Mean accuracy over the folds of each repetition; set_name: training, validation, test."""
        return [float(result["summary"][set_name]["mean_acc"]) for result in self.results]

    @property
    def has_accuracies(self) -> bool:
        """Whether it is a classification."""
        return "mean_acc" in self.results[0]["summary"]["test"]

    @property
    def chance(self) -> float:
        """Share of the most frequent class in the test set."""
        return mean(float(result["0"]["test_chance"]) for result in self.results)

    @property
    def kind(self) -> str:
        """baseline, weight_initialization, anti_transfer or dual_anti_transfer."""
        return str(self.results[0]["parameters"]["kind"])

    @property
    def setting(self) -> tuple[Any, ...]:
        """All that two configurations must have in common to be compared."""
        first = self.results[0]
        parameters = {
            key: value
            for key, value in first["parameters"].items()
            if key not in NOT_IN_GROUP and key != "anti_transfer" and not key.startswith("at_")
        }
        return parameters, first.get("inputs", {}).get("data"), first["0"].get("numeric_precision")

    @property
    def split(self) -> str:
        """What the split divides, and what its sets share."""
        return str(self.results[0]["model"]["split"])

    @property
    def by_seed(self) -> dict[int, float]:
        """Test accuracy of each seed."""
        seeds = [int(result["parameters"]["seed"]) for result in self.results]
        return dict(zip(seeds, self.accuracies("test"), strict=True))


def group_results(
    experiment: int, description: str, results: Iterable[Mapping[str, Any]]
) -> list[Group]:
    """Results of one experiment, put together where only the seed differs."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        parameters = result["parameters"]
        key = repr([(k, v) for k, v in parameters.items() if k not in NOT_IN_GROUP])
        groups.setdefault(key, []).append(result)
    return [
        Group(experiment, description, _label(members[0]["parameters"]), tuple(members))
        for members in groups.values()
    ]


def _label(parameters: Mapping[str, Any]) -> str:
    kind = str(parameters["kind"]).replace("_", " ")
    words = [kind]
    if parameters.get("at_pretraining"):
        words.append(f"from {parameters['at_pretraining']}")
    if parameters["anti_transfer"]:
        words.append(f"against {parameters['at_dataset']}, layer {parameters['at_layer']}")
    return " ".join(words)


def summary_table(groups: Sequence[Group]) -> str:
    """Experiment, what it is, validation and test accuracy as mean +- deviation, chance.

    A regression has no accuracies and no line.
    """
    header = ("experiment", "what", "runs", "validation %", "test %", "chance %", "split")
    rows = [header]
    for group in (group for group in groups if group.has_accuracies):
        rows.append(
            (
                str(group.experiment),
                group.label,
                str(len(group.results)),
                spread(group.accuracies("validation")),
                spread(group.accuracies("test")),
                f"{100 * group.chance:.1f}",
                group.split,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def spread(accuracies: Sequence[float]) -> str:
    """Mean and standard deviation over repetitions, in percent."""
    if len(accuracies) < 2:
        return f"{100 * mean(accuracies):.1f}"
    return f"{100 * mean(accuracies):.1f} ± {100 * stdev(accuracies):.1f}"


def conclusions(groups: Sequence[Group]) -> list[str]:
    """One plain sentence for each configuration beside a baseline of the same data and training."""
    groups = [group for group in groups if group.has_accuracies]
    sentences = []
    for baseline in (group for group in groups if group.kind == "baseline"):
        for other in groups:
            if other.kind != "baseline" and other.setting == baseline.setting:
                sentences.append(_compare(other, baseline))
    return sentences


def _compare(other: Group, baseline: Group) -> str:
    seeds = sorted(set(other.by_seed) & set(baseline.by_seed))
    name = f"{other.label} (experiment {other.experiment})"
    if not seeds:
        return f"{name}: no repetition shares its seed with the baseline; nothing to compare."
    gains = [100 * (other.by_seed[seed] - baseline.by_seed[seed]) for seed in seeds]
    text = f"{name} minus baseline, same seeds: {mean(gains):+.1f} points"
    if len(gains) < 2:
        return f"{text} in one pair; one pair cannot tell a gain from training noise."
    interval = _interval(gains)
    text += f", 95 % interval {interval[0]:+.1f} to {interval[1]:+.1f} ({len(gains)} pairs)"
    if interval[0] > 0:
        return f"{text}: it helped here."
    if interval[1] < 0:
        return f"{text}: it hurt here."
    return f"{text}: these runs do not show a difference."


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % confidence interval of a mean, by Student's t."""
    # Of all of scipy, the distribution alone: scipy.stats takes more than a second to import.
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half
