"""One instance of an experiment with the names of its files."""

from collections.abc import Sequence
from dataclasses import dataclass

from config.experiments import Experiment, Instance
from config.words import Request
from training.results.dictionary import InstanceFiles


@dataclass(frozen=True)
class Run:
    """One instance to be run."""

    experiment: Experiment
    instance: Instance
    files: InstanceFiles

    @property
    def title(self) -> str:
        """What the progress bar shows."""
        comment = self.instance.parameters["comment_2"] or self.instance.parameters["comment_1"]
        return f"experiment {self.experiment.id} run {self.instance.number} {comment}"


def files_of(experiment: Experiment, instance: Instance) -> InstanceFiles:
    """Where an instance's results lie."""
    return InstanceFiles(
        results_folder=instance.settings.results.results_folder,
        experiment=experiment.id,
        number=instance.number,
        dataset=experiment.dataset,
        features=str(instance.parameters["features_type"]),
    )


def choose_runs(experiments: Sequence[Experiment], request: Request) -> list[Run]:
    """The instances asked for, in order.

    Raises:
        UserError: an experiment has no instance between first and last.
    """
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for experiment in experiments
        for instance in request.instances_of(experiment)
    ]
