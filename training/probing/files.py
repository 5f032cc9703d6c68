"""What training/invariance.py leaves for each instance: where it lies, and whether it serves."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from config import advice
from config.errors import UserError
from config.files import read_json, require_fields
from config.text import display_path, shorten
from training.results.dictionary import InstanceFiles
from training.results.result import Result, Share

Name = Annotated[str, Field(min_length=1, max_length=200)]

# What was measured: a kind (norm, probe, shuffled, linear_cka, gram_cosine), a label or network.
Measure = tuple[str, str]
# What enters the last linear layer, beside the convolutions '1', '2', ... and modules by name.
PENULTIMATE = "penultimate"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class ProbedLabel(_Part):
    """A label that probes read: one that the network should not need, or its target.

    Attributes:
        chance: share of the most frequent value.
        grouped_by: columns whose values were on one side of the cross-validation only.
        not_apart: the label's own recordings, where they were on both sides.
    """

    role: Literal["orthogonal", "target"]
    num_examples: int
    chance: Share
    grouped_by: str | None = None
    not_apart: list[str] = []


class ProbeAccuracy(_Part):
    """Accuracy of a linear probe, and of one trained on shuffled labels."""

    accuracy: Share
    shuffled: Share


class FrozenSimilarity(_Part):
    """How alike a layer and the frozen network's are; None where that is not defined."""

    linear_cka: float | None = None
    gram_cosine: float | None = None


class ProbedLayer(_Part):
    """What was measured of a layer's features."""

    layer: Name
    activation_norm: float | None = None
    probes: dict[Name, ProbeAccuracy]
    frozen: dict[Name, FrozenSimilarity] = {}

    def measures(self) -> dict[Measure, float]:
        """Return all that was measured, by kind and label or frozen network; probes in percent."""
        found = {("norm", ""): self.activation_norm}
        for label, probe in self.probes.items():
            found["probe", label] = 100 * probe.accuracy
            found["shuffled", label] = 100 * probe.shuffled
        for network, similarity in self.frozen.items():
            found["linear_cka", network] = similarity.linear_cka
            found["gram_cosine", network] = similarity.gram_cosine
        return {measure: value for measure, value in found.items() if value is not None}


class AnalysisSettings(_Part):
    """What the values were made with: the labels' roles, the frozen networks' fingerprints."""

    labels: dict[str, str]
    frozen: dict[str, str]


class Analysis(_Part):
    """The measurements of one instance; fingerprint: of its result."""

    fingerprint: str
    experiment: int
    labels: dict[Name, ProbedLabel]
    left_out_labels: dict[Name, str] = {}
    layers: list[ProbedLayer]
    settings: AnalysisSettings


def load_analyses(
    results_folder: Path, results: Iterable[Result]
) -> tuple[dict[str, Analysis], list[str]]:
    """Read the measurements of all results that have some.

    Returns:
        them by the stem of the result; and a sentence for each file that was ignored because it
        belongs to an earlier result of the same instance.

    Raises:
        UserError: a file is damaged.
    """
    found: dict[str, Analysis] = {}
    ignored = []
    for result in results:
        path = path_in(results_folder / f"experiment_{result.experiment}", result.stem)
        if not path.exists():
            continue
        place = display_path(path)
        command = f"run {probing_command([result.experiment])}"
        try:
            analysis = require_fields(read_json(path), Analysis, place)
        except UserError as error:
            raise UserError(f"{error}; {command}") from None
        if analysis.fingerprint == result.fingerprint:
            found[result.stem] = analysis
        else:
            ignored.append(
                f"{shorten(place)} is not of the result that is there now; it is left out: "
                f"{command} again"
            )
    return found, ignored


def probing_command(experiments: Iterable[int], *options: str) -> str:
    """Return the command that analyses the instances of experiments."""
    identifiers = ",".join(map(str, experiments))
    words = ["python", "training/invariance.py", f"[{identifiers}]", str(advice.gpu()), *options]
    return advice.again(" ".join(words))


def apart_text(grouped_by: str | None, not_apart: Sequence[str]) -> str:
    """Say what a probe's cross-validation kept apart; empty where nothing is known of it.

    Args:
        grouped_by: the column, or "column, column", of which no value was on both sides.
        not_apart: columns that name the recordings of the label itself, if they were.
    """
    if not grouped_by:
        return ""
    text = f"no {' or '.join(grouped_by.split(', '))} is on both sides of the cross-validation"
    if not not_apart:
        return text
    return (
        f"{text}, but recordings ({', '.join(not_apart)}) are: with one recording per type, the "
        "type cannot be told from the recording"
    )


def invariance_path(files: InstanceFiles) -> Path:
    """Return where an instance's analysis lies."""
    return path_in(files.folder, files.stem)


def path_in(experiment_folder: Path, stem: str) -> Path:
    """Return results/experiment_<ID>/invariance/invariance_<stem>.json."""
    return experiment_folder / "invariance" / f"invariance_{stem}.json"


def is_analysed(path: Path, fingerprint: str, settings: Mapping[str, Any]) -> bool:
    """Whether an earlier command analysed the same result and was asked for no less.

    Args:
        fingerprint: the result's.
        settings: what is asked for; its "labels" and "frozen" may hold more in the file.
    """
    try:
        stored = read_json(path)
        require_fields(stored, Analysis, str(path))
    except UserError:
        return False
    made_with = dict(stored["settings"])
    for key in ("labels", "frozen"):
        made_with[key] = {name: made_with[key].get(name) for name in settings[key]}
    return bool(stored["fingerprint"] == fingerprint and made_with == dict(settings))
