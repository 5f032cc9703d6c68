"""Reads what training/invariance.py measured of a network, if it fits the result beside it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from config.json_files import read_json, require_fields
from config.text import display_path, printable
from plotting.runs import Run, shorten
from training.probing.files import path_in

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Similarity = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Label(_Part):
    """A label that a probe reads: one that the network should not need, or its target.

    Attributes:
        grouped_by: columns whose values were on one side of the probe's cross-validation only.
        not_apart: the label's own recordings, where they were on both sides.
    """

    role: Literal["orthogonal", "target"]
    num_classes: int
    chance: Share
    grouped_by: str | None = None
    not_apart: list[str] = []


class Probe(_Part):
    """Accuracy of a linear probe, and of one trained on shuffled labels."""

    accuracy: Share
    shuffled: Share


class FrozenSimilarity(_Part):
    """How alike a layer and the frozen network's are; null where that is not defined."""

    linear_cka: Similarity | None = None
    gram_cosine: Similarity | None = None


class Layer(_Part):
    """What was measured of a layer's features."""

    layer: Name
    activation_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    probes: dict[Name, Probe] = {}
    frozen: dict[Name, FrozenSimilarity] = {}


class Invariance(_Part):
    """One network's measurements."""

    fingerprint: str
    num_examples: int
    labels: dict[Name, Label]
    left_out_labels: dict[Name, str] = {}
    layers: list[Layer]

    def layer(self, name: str) -> Layer | None:
        """The measurements of a layer, if there are any."""
        return next((each for each in self.layers if each.layer == name), None)


@dataclass(frozen=True)
class Measured:
    """The networks that were measured, and what was ignored and why.

    Attributes:
        by_run: by experiment and stem; results on other features have the same numbers.
    """

    by_run: dict[tuple[int, str], Invariance] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def of(self, run: Run) -> Invariance | None:
        """A run's measurements."""
        return self.by_run.get((run.experiment, run.stem))


def read_measured(results_folder: Path, runs: Iterable[Run]) -> Measured:
    """The measurements of all runs that have some.

    A file that belongs to an earlier result of the same instance is ignored, and said to be.

    Raises:
        UserError: a file is damaged.
    """
    measured = Measured()
    for run in runs:
        path = path_in(results_folder / f"experiment_{run.experiment}", run.stem)
        if not run.stem or not path.exists():
            continue
        place = printable(display_path(path))
        content = read_json(path, follow_links=False)
        require_fields(content, Invariance, place)
        invariance = Invariance.model_validate(content)
        if invariance.fingerprint == run.fingerprint:
            measured.by_run[run.experiment, run.stem] = invariance
        else:
            measured.ignored.append(
                f"{shorten(place)} is not of the result that is there now; it is left out: run "
                f"python training/invariance.py [{run.experiment}] again"
            )
    return measured
