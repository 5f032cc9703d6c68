"""Which trial of a search is best on validation, and the runs that get its settings.

Nothing is kept of the choice: whoever needs it makes it from the results there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from config.errors import UserError
from config.experiments import Experiment
from config.text import counted
from training.engine.subsets import ALIGNED, CONFLICTING
from training.results.dictionary import differences
from training.results.loading import ResultReader
from training.results.method_names import search_of
from training.results.metric import Metric, metric_of
from training.sweep.runs import Run, runs_of

KINDS = (ALIGNED, CONFLICTING)


@dataclass(frozen=True)
class Trials:
    """How far the trials of an experiment are.

    Attributes:
        runs: all of them.
        values: on validation, of those that have a result which was made with today's settings.
        failed: those without one that failed when they were last tried.
    """

    runs: list[Run]
    values: Mapping[Run, float]
    failed: list[Run]

    @property
    def pending(self) -> list[Run]:
        """Return the trials that are still to be run."""
        return [each for each in self.runs if each not in self.values and each not in self.failed]

    @property
    def has_best(self) -> bool:
        """Whether the best trial is known."""
        return bool(self.values) and not self.pending

    def best(self) -> Run:
        """Return the trial that is best on validation, of equal ones the first.

        Raises:
            UserError: a trial is still to be run, or all have failed.
        """
        title = f"experiment {self.runs[0].experiment.id}: its search has no best trial"
        if self.pending:
            number = counted(len(self.runs), "trial")
            raise UserError(f"{title}: {len(self.pending)} of {number} are still to be run")
        if not self.values:
            raise UserError(f"{title}: all have failed")
        metric = _metric_of(self.runs[0])
        return max(self.values, key=lambda trial: metric.goodness(self.values[trial]))

    def describe_best(self) -> str:
        """Say which trial is best, how good it is, its settings, and which others failed."""
        best, metric = self.best(), _metric_of(self.runs[0])
        value = f"{metric.name} {self.values[best]:.{metric.digits}f}{metric.suffix}"
        own = best.instance.parameters
        _, searched = search_of(own)
        settings = ", ".join(f"{key} {own[key]}" for key in searched)
        lines = [
            f"experiment {best.experiment.id} search: trial {best.instance.number} of "
            f"{len(self.runs)} is best on validation ({value}): {settings}"
        ]
        if self.failed:
            numbers = ", ".join(str(trial.instance.number) for trial in self.failed)
            lines.append(f"trials that failed and were not compared: {numbers}")
        return "; ".join(lines)


def trials_of(experiment: Experiment, reader: ResultReader) -> Trials:
    """Look at what there is of an experiment's trials."""
    runs = [run for run in runs_of(experiment) if run.is_trial]
    values, failed = {}, []
    for trial in runs:
        result = reader.find(trial.files.json_path)
        if result and not differences(result, trial.instance.parameters, result["inputs"]):
            values[trial] = _value_of(result, _metric_of(trial))
        elif trial.files.failure.exists():
            failed.append(trial)
    return Trials(runs, values, failed)


def _value_of(result: Mapping[str, Any], metric: Metric) -> float:
    """Return how good a trial is on validation, in the metric's unit.

    Where a confounder follows the class, most of the validation set rewards using it, so examples
    with and without the usual value count alike, as far as the metric is known of both.
    """
    folds = [result[key] for key in result if key.isdecimal()]
    kinds = [fold.get("val_alignment", {}).get(each, {}) for fold in folds for each in KINDS]
    if all(metric.key in kind for kind in kinds):
        return metric.scale * fmean(kind[metric.key] for kind in kinds)
    return metric.scale * float(result["summary"]["validation"][f"mean_{metric.key}"])


def _metric_of(run: Run) -> Metric:
    settings = run.instance.settings.results
    return metric_of(run.instance.parameters["task"], settings.report_metric)


def with_chosen_settings(run: Run, reader: ResultReader) -> Run:
    """Return a run with the settings that its experiment's search chose; of no search, itself.

    Raises:
        UserError: the search has not chosen yet.
    """
    if not run.is_chosen:
        return run
    best = trials_of(run.experiment, reader).best().instance
    repetition = run.instance.parameters["repetition"]
    training = best.settings.training_defaults
    training = training.model_copy(update={"seed": training.seed + repetition})
    own: dict[str, Any] = {
        "seed": training.seed,
        "repetition": repetition,
        "search_trial": 0,
        "comment_2": f"trial{best.number}_repetition{repetition}",
    }
    instance = replace(
        run.instance,
        parameters=best.parameters | own,
        settings=best.settings.model_copy(update={"training_defaults": training}),
    )
    return replace(run, instance=instance)
