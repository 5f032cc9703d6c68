"""What a network gave for each example of each set, as a table for analyses of one's own.

Altered copies of training clips have rows of their own, as they count in the training set's
metrics; the column augmented tells them from the clips.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config.files import written_aside
from config.text import no_formula
from training.results.result import SUMMARY_KEYS

if TYPE_CHECKING:
    import pandas as pd

    from preprocessing.pipeline.matrices import Matrices
    from training.engine.evaluation import Evaluation

# Columns of the index that the truth says.
SAID = ["label", "class_name"]


def write_predictions(
    path: Path,
    evaluations: "Mapping[str, Evaluation]",
    matrices: "Matrices",
    fold: int | None = None,
) -> None:
    """Write a fold's table, whole or not at all.

    Args:
        evaluations: of the training, validation and test set.
        fold: its number, where there are several.
    """
    import pandas as pd

    table = pd.concat(
        _table_of(name, evaluations[key], matrices, fold) for name, key in SUMMARY_KEYS.items()
    )
    for column in table.select_dtypes(exclude="number"):
        table[column] = table[column].map(no_formula)
    digits = "%.9g" if evaluations["test"].task == "regression" else "%.6g"
    with written_aside(path) as aside:
        table.rename(columns=no_formula).to_csv(aside, index=False, float_format=digits)


def _table_of(
    set_name: str, evaluation: "Evaluation", matrices: "Matrices", fold: int | None
) -> "pd.DataFrame":
    """Return a row for each example: truth, prediction, probabilities, and what the index has.

    segment counts the examples of a clip from 0; clip_prediction is the clip's one decision. A
    column of the index that is called as another one gets the prefix index_.
    """
    import pandas as pd

    classes = np.array(matrices.classes if evaluation.task == "classification" else [])

    def named(values: Any) -> Any:
        return classes[values] if len(classes) else values

    clips = matrices.clip_numbers[evaluation.rows]
    _, of_clips = evaluation.by_clip(matrices.clip_numbers)
    _, place_in_clips = np.unique(clips, return_inverse=True)
    index = matrices.index.iloc[evaluation.rows].reset_index(drop=True)
    table = {
        "clip": index["clip"],
        "segment": index.groupby(clips)["first_frame"].rank("first").astype(int) - 1,
        "set": set_name,
        "truth": named(evaluation.labels),
        "prediction": named(evaluation.predictions),
        **{f"p_{name}": evaluation.probabilities[:, each] for each, name in enumerate(classes)},
        "clip_prediction": named(of_clips[place_in_clips]),
        **({} if fold is None else {"fold": fold}),
    }
    for name in index.columns.drop(["clip", *SAID]):
        table[f"index_{name}" if name in table else name] = index[name]
    return pd.DataFrame(table)


def join_predictions(path: Path, parts: Sequence[Path]) -> None:
    """Write the tables of all folds as one, whole or not at all."""
    import pandas as pd

    tables = [pd.read_csv(part, dtype=str, keep_default_na=False) for part in parts]
    with written_aside(path) as aside:
        pd.concat(tables).to_csv(aside, index=False)
