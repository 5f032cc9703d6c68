"""Which labels of a test set can be probed, and what examples have in common that must not be on
both sides of a probe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from config.text import first_of
from training.probing.probes import NoProbeError, ProbePlan, joined_recordings, plan_probe

if TYPE_CHECKING:
    import pandas as pd

TARGET_LABEL = "class_name"
# What examples may have in common, best first: no value of it is on both sides of a probe.
GROUPINGS = ("speaker", "session", "speech", "group", "clip")
# Columns that name the recordings a label is a property of: they come before all others, for a
# probe that knows a recording knows its label.
RECORDINGS: Mapping[str, tuple[str, ...]] = {"noise_type": ("noise",)}


@dataclass(frozen=True)
class ProbedLabels:
    """The labels of a fold's test set.

    Attributes:
        plans: how each is probed.
        recordings: the columns that name the recordings of each label, if it has any.
        left_out: why others are not.
    """

    plans: dict[str, ProbePlan]
    recordings: dict[str, tuple[str, ...]]
    left_out: dict[str, str]


def labels_of(names: Iterable[str], index: "pd.DataFrame") -> ProbedLabels:
    """Plan how labels are probed.

    Args:
        names: columns of the index.
        index: rows of the matrices' index, of the test set only.
    """
    found = ProbedLabels({}, {}, {})
    for name in names:
        if name not in index.columns:
            found.left_out[name] = "the index of the matrices has no such column"
            continue
        values = index[name].astype(str).tolist()
        recordings = _recordings(values, name, index)
        groupings = {
            column: joined_recordings(index[column].astype(str).tolist())
            for column in recordings
            if column in index.columns
        }
        for column in GROUPINGS:
            if column in index.columns and column != name:
                groupings.setdefault(column, index[column].astype(str).tolist())
        try:
            found.plans[name] = plan_probe(values, groupings)
            found.recordings[name] = recordings
        except NoProbeError as error:
            found.left_out[name] = "; ".join([str(error), *_unknown(values, index)])
    return found


def _unknown(values: Sequence[str], index: "pd.DataFrame") -> list[str]:
    """Say how many examples have no value, and of which clips; nothing if all have one."""
    clips = [clip for clip, value in zip(index["clip"], values, strict=True) if not value]
    if not clips:
        return []
    return [f"{len(clips)} of {len(values)} have none: {first_of(list(dict.fromkeys(clips)), 3)}"]


def _recordings(values: Sequence[str], name: str, index: "pd.DataFrame") -> tuple[str, ...]:
    """Return those of the label, or of one that has the same values under another name."""
    for label, columns in RECORDINGS.items():
        same = label in index.columns and index[label].astype(str).tolist() == list(values)
        if label == name or same:
            return columns
    return ()


def described(name: str, role: str, folds: Sequence[ProbedLabels]) -> dict[str, Any]:
    """Describe a label for the file, over all folds."""
    plans = [fold.plans[name] for fold in folds]
    recordings = folds[0].recordings[name]
    apart = all(plan.grouped_by in recordings for plan in plans)
    return {
        "role": role,
        "num_classes": max(len(plan.classes) for plan in plans),
        "chance": mean(plan.chance for plan in plans),
        "num_folds": min(len(plan.folds) for plan in plans),
        "grouped_by": ", ".join(dict.fromkeys(plan.grouped_by for plan in plans)),
        "not_apart": [] if apart else list(recordings),
        "num_examples": sum(len(plan.rows) for plan in plans),
        "left_out_classes": sorted({each for plan in plans for each in plan.left_out_classes}),
    }
