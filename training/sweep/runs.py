"""The runs that a command asks for: instances of experiments, with the names of their files."""

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from config.errors import UserError
from config.experiments import Experiment, Instance
from config.selection import RunSelection
from preprocessing.pipeline.matrices import matrices_name
from training.results.dictionary import InstanceFiles


@dataclass(frozen=True, eq=False)
class Run:
    """One instance to be run."""

    experiment: Experiment
    instance: Instance
    files: InstanceFiles

    @property
    def title(self) -> str:
        """What progress bars and messages show."""
        comment = self.instance.parameters["comment_2"] or self.instance.parameters["comment_1"]
        return f"experiment {self.experiment.id} run {self.instance.number} {comment}"

    @property
    def is_trial(self) -> bool:
        """Whether a search tries the run's settings."""
        return bool(self.instance.parameters.get("search_trial"))

    @property
    def is_chosen(self) -> bool:
        """Whether the run gets its settings from the best trial of a search."""
        return self.instance.parameters.get("search_trial") == 0


def files_of(experiment: Experiment, instance: Instance) -> InstanceFiles:
    """Return where an instance's results lie."""
    return InstanceFiles(
        results_folder=instance.settings.results.results_folder,
        experiment=experiment.id,
        number=instance.number,
        dataset=experiment.dataset,
        features=str(instance.parameters["features_type"]),
    )


def matrices_of(instance: Instance) -> tuple[Path, str]:
    """Return the folder and the name of the matrices that an instance is trained on."""
    parameters = instance.parameters
    name = matrices_name(parameters["dataset"], parameters["features_type"])
    return instance.settings.preprocessing.output_folder, name


def runs_of(experiment: Experiment) -> list[Run]:
    """Return all instances of an experiment."""
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for instance in experiment.instances
    ]


def choose_runs(experiments: Sequence[Experiment], selection: RunSelection) -> list[Run]:
    """Return the instances asked for, in order.

    Raises:
        UserError: an experiment has not so many instances.
    """
    return [
        Run(experiment, instance, files_of(experiment, instance))
        for experiment in experiments
        for instance in selection.instances_of(experiment)
    ]


def dependencies(experiment: Experiment) -> set[int]:
    """Return the IDs of the experiments whose best run this one starts from."""
    sources = {each.settings.training_defaults.source_experiment for each in experiment.instances}
    return {source for source in sources if source is not None}


def in_order(experiments: Sequence[Experiment]) -> list[Experiment]:
    """Return experiments after those whose best run they start from.

    Raises:
        UserError: they wait for each other.
    """
    by_id = {experiment.id: experiment for experiment in experiments}
    sorter = TopologicalSorter({each.id: dependencies(each) & by_id.keys() for each in experiments})
    try:
        return [by_id[identifier] for identifier in sorter.static_order()]
    except CycleError as error:
        ids = sorted(set(error.args[1]))
        raise UserError(f"experiments {ids} start from each other's results") from None
