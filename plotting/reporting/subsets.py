"""Tables of the test set in parts: who is wrong, and fold by fold as papers on IEMOCAP have it."""

from collections import Counter
from collections.abc import Iterator
from statistics import fmean

from config.text import counted, shorten
from plotting.reporting.findings import Findings
from plotting.reporting.groups import Group, spread_of
from plotting.reporting.table import Cell, Column, Table, file_name, make_table
from plotting.reporting.tables import describe
from training.engine.subsets import FEWEST_EXAMPLES, worst_value
from training.results.metric import DEFAULTS, METRICS, Metric

SPEAKER = "speaker"
MOST_VALUES = 20
# What papers on each task give, by metric; accuracy is called weighted there.
PAPERS = {
    "classification": {"acc": "WA %", "uar": "UAR %"},
    "regression": {"RMSE": "RMSE", "MAE": "MAE", "CCC": "CCC"},
}
# A method's name and its runs.
Row = tuple[str, Group]
METHOD_COLUMNS = (
    Column("method", lambda row: row[0]),
    Column("runs", lambda row: len(row[1].results), "count"),
)

WORST_NOTE = (
    f"worst: of each run the value with the worst result, of those with at least {FEWEST_EXAMPLES} "
    "test examples; which it is in most runs stands beside it. The worst of many is partly so by "
    "chance: the column serves to compare methods."
)
VALUES_NOTE = "Of examples, not of clips. ±: standard deviation over repetitions."
ORDER_NOTE = (
    "What the first method does worst on comes first, what has fewer than "
    f"{FEWEST_EXAMPLES} test examples last."
)
FOLDS_NOTE = (
    "±: standard deviation (n - 1) over the folds, each the mean over its repetitions. In all "
    "other tables a run is the mean over its folds, and ± and p are over repetitions. WA: "
    "accuracy; UAR: unweighted average recall; clip: one decision a clip (utterance), the mean of "
    "its segments."
)


def subset_tables(findings: Findings, prefix: str) -> Iterator[Table]:
    """Yield the tables of folds, of parts of the test set, and of each label value by value."""
    if _num_folds(findings) > 1:
        yield _folds_table(findings, prefix)
    folds = [fold for result in findings.comparison.results for fold in result.folds]
    labels = list(dict.fromkeys(label for fold in folds for label in fold.test_groups))
    if labels:
        yield _worst_table(findings, labels, prefix)
    for label in labels:
        yield _values_table(findings, label, prefix)


def _num_folds(findings: Findings) -> int:
    return max(len(result.folds) for result in findings.comparison.results)


def _own_metric(findings: Findings) -> Metric:
    """Return the metric that all parts of a test set have."""
    return DEFAULTS[findings.comparison.first.parameters.task]


def _folds_table(findings: Findings, prefix: str) -> Table:
    """Return methods by metrics, mean and standard deviation over the folds."""
    number = _num_folds(findings)
    has_segments = any(result.has_segments for result in findings.comparison.results)
    clip, word = ("clip_", "clip ") if has_segments else ("", "")

    def column(key: str, heading: str) -> Column:
        metric = METRICS[f"{clip}{key}".lower()]
        return Column(
            f"{word}{heading}", lambda row: _over_folds(row[1], metric), "spread", metric.digits
        )

    papers = PAPERS[findings.comparison.first.parameters.task]
    return make_table(
        file_name(prefix, "folds"),
        f"What differs is the method: mean ± standard deviation over {counted(number, 'fold')}",
        [
            *METHOD_COLUMNS,
            *(column(key, heading) for key, heading in papers.items()),
        ],
        findings.shown,
        (FOLDS_NOTE,),
        describe(findings.comparison),
    )


def _over_folds(group: Group, metric: Metric) -> Cell:
    """Return mean and deviation over the folds of a test metric's mean over the repetitions."""
    folds = list(zip(*(result.folds for result in group.results), strict=True))
    if not all(metric.key in fold.test_metrics for runs in folds for fold in runs):
        return None
    return spread_of(
        [metric.scale * fmean(fold.test_metrics[metric.key] for fold in runs) for runs in folds]
    )


def _worst_table(findings: Findings, labels: list[str], prefix: str) -> Table:
    """Return methods by the worst value of each label."""
    metric = _own_metric(findings)

    def worst(label: str) -> list[Column]:
        def found(row: Row) -> list[tuple[str, float]]:
            pooled = [result.groups_of(label) for result in row[1].results]
            values = [(worst_value(groups, metric.key), groups) for groups in pooled if groups]
            return [(value, metric.scale * groups[value][metric.key]) for value, groups in values]

        def commonest(row: Row) -> Cell:
            names = Counter(name for name, _ in found(row)).most_common(1)
            return shorten(names[0][0]) if names else None

        name = f"worst {shorten(label)}"
        numbers = Column(
            f"{name} {metric.unit}",
            lambda row: spread_of([value for _, value in found(row)]),
            "spread",
            metric.digits,
        )
        return [numbers, Column(name, commonest)]

    return make_table(
        file_name(prefix, "worst"),
        f"Who is wrong: {', '.join(f'the worst {shorten(each)}' for each in labels)}",
        [
            *METHOD_COLUMNS,
            *(column for label in labels for column in worst(label)),
        ],
        findings.shown,
        (WORST_NOTE,),
        describe(findings.comparison),
    )


def _values_table(findings: Findings, label: str, prefix: str) -> Table:
    """Return a label's values, a row each, by methods."""
    metric = _own_metric(findings)
    papers = PAPERS[metric.task]
    by_fold = label == SPEAKER and _num_folds(findings) > 1
    pooled = {
        name: [result.groups_of(label) for result in group.results]
        for name, group in findings.shown
    }

    def read(value: str, name: str, key: str) -> list[float]:
        return [groups[value][key] for groups in pooled[name] if value in groups]

    def examples(value: str) -> float:
        return fmean(number for name in pooled for number in read(value, name, "examples"))

    def rank(value: str) -> tuple[bool, float, str]:
        found = next(found for name in pooled if (found := read(value, name, metric.key)))
        return examples(value) < FEWEST_EXAMPLES, metric.goodness(fmean(found)), value

    def column(name: str, key: str, heading: str) -> Column:
        scale, digits = METRICS[key.lower()].scale, METRICS[key.lower()].digits
        return Column(
            f"{name} {heading}",
            lambda value: spread_of([scale * each for each in read(value, name, key)]),
            "spread",
            digits,
            "page" if by_fold or key == metric.key else "csv",
        )

    values = {value for runs in pooled.values() for groups in runs for value in groups}
    return make_table(
        file_name(prefix, "values", label),
        f"Who is wrong, {shorten(label)} by {shorten(label)}",
        [
            Column(label, shorten),
            Column("examples", examples, "count"),
            *(column(name, key, text) for name in pooled for key, text in papers.items()),
        ],
        sorted(values, key=None if by_fold else rank),
        (VALUES_NOTE,) if by_fold else (VALUES_NOTE, ORDER_NOTE),
        describe(findings.comparison),
        not by_fold,
        MOST_VALUES,
    )
