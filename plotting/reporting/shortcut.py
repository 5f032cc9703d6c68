"""The table of shortcuts: what predicts the target, and could mislead."""

from plotting.reporting.findings import Findings
from plotting.reporting.groups import spread_of
from plotting.reporting.table import Column, Table, file_name, make_table
from plotting.reporting.tables import describe
from training.results.shortcut import VERDICTS, ShortcutStrength, by_source, mean_strength

# What is known, and what was found of it in each run and fold.
Row = tuple[str, list[ShortcutStrength]]
NOTE = (
    "What an expert, a linear model that is given nothing but what is known, predicts. training: "
    "out of fold, so that no group (speaker, clip) is on both sides; shuffled: the same with the "
    "labels in random order; test: of the expert on the whole training set. What tells the target "
    "in training and not in the test set misleads a network that learns it. ±: standard deviation "
    "over runs and folds; without it, all of them share one expert."
)


def shortcut_table(findings: Findings, prefix: str) -> Table:
    """Return what each thing that is known predicts, a row each."""
    scale, unit, digits = (100, " %", 1)
    if findings.comparison.first.parameters.task == "regression":
        scale, unit, digits = (1, " R²", 2)

    folds = [fold for result in findings.comparison.results for fold in result.folds]

    def column(name: str) -> Column:
        def read(row: Row) -> tuple[float, ...] | None:
            return spread_of([scale * getattr(each, name) for each in row[1]])

        return Column(f"{name}{unit}", read, "spread", digits)

    return make_table(
        file_name(prefix, "shortcut"),
        "What predicts the target, and could mislead",
        [
            Column("known", lambda row: row[0]),
            *map(column, ("training", "validation", "test", "chance", "shuffled")),
            Column("so", lambda row: VERDICTS[mean_strength(row[1]).verdict].partition(";")[0]),
            Column("held out", lambda row: row[1][0].grouped_by, shown_in="csv"),
            Column("C", lambda row: row[1][0].regularization, "number", 4, shown_in="csv"),
        ],
        by_source(fold.shortcut for fold in folds).items(),
        (NOTE,),
        describe(findings.comparison),
    )
