"""Which trial of a search is best on validation, and the runs that get its settings.

Nothing is kept of the choice: whoever needs it makes it from the results there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from config.errors import UserError
from config.experiments import Experiment
from config.text import counted
from training.results.dictionary import differences, fingerprinted
from training.results.loading import ResultReader
from training.results.method_names import keys_that_differ
from training.results.metric import METRICS, Metric
from training.sweep.runs import Run, runs_of


@dataclass(frozen=True)
class Search:
    """How far the trials of an experiment are.

    Attributes:
        trials: all of them.
        values: on validation, of those that have a result which was made with today's settings.
        failed: those without one that failed when they were last tried.
    """

    trials: list[Run]
    values: Mapping[Run, float]
    failed: list[Run]

    @property
    def pending(self) -> list[Run]:
        """Return the trials that are still to be run."""
        return [each for each in self.trials if each not in self.values and each not in self.failed]

    def best(self) -> Run:
        """Return the trial that is best on validation, of equal ones the first.

        Raises:
            UserError: a trial is still to be run, or all have failed.
        """
        title = f"experiment {self.trials[0].experiment.id}: its search has no best trial"
        if self.pending:
            number = counted(len(self.trials), "trial")
            raise UserError(f"{title}: {len(self.pending)} of {number} are still to be run")
        if not self.values:
            raise UserError(f"{title}: all have failed")
        metric = _metric_of(self.trials[0])
        return max(self.values, key=lambda trial: metric.goodness(self.values[trial]))

    def describe_best(self) -> str:
        """Say which trial is best, how good it is, its settings, and which others failed."""
        best, metric = self.best(), _metric_of(self.trials[0])
        value = f"{metric.name} {self.values[best]:.{metric.digits}f}{metric.suffix}"
        tried = [fingerprinted(trial.instance.parameters) for trial in self.trials]
        own = best.instance.parameters
        settings = ", ".join(f"{key} {own[key]}" for key in keys_that_differ(tried))
        lines = [
            f"experiment {best.experiment.id} search: trial {best.instance.number} of "
            f"{len(self.trials)} is best on validation ({value}): {settings}"
        ]
        if self.failed:
            numbers = ", ".join(str(trial.instance.number) for trial in self.failed)
            lines.append(f"trials that failed and were not compared: {numbers}")
        return "; ".join(lines)


def search_of(experiment: Experiment, reader: ResultReader) -> Search:
    """Look at what there is of an experiment's trials."""
    trials = [run for run in runs_of(experiment) if run.is_trial]
    values, failed = {}, []
    for trial in trials:
        result = reader.find(trial.files.json_path)
        if result and not differences(result, trial.instance.parameters, result["inputs"]):
            metric = _metric_of(trial)
            value = result["summary"]["validation"][f"mean_{metric.key}"]
            values[trial] = metric.scale * float(value)
        elif trial.files.failure.exists():
            failed.append(trial)
    return Search(trials, values, failed)


def _metric_of(run: Run) -> Metric:
    return METRICS[run.instance.parameters["task"]]


def with_chosen_settings(run: Run, reader: ResultReader) -> Run:
    """Return a run with the settings that its experiment's search chose; of no search, itself.

    Raises:
        UserError: the search has not chosen yet.
    """
    if not run.is_chosen:
        return run
    best = search_of(run.experiment, reader).best().instance
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
