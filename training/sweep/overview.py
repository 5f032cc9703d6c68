"""What runs will use, for people: their data and split, their extractors, known risks."""

from collections.abc import Iterator, Sequence

from config.errors import UserError
from config.experiments import Experiment
from config.log import logger
from config.text import counted
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import read_info
from training.data.shortcut_sampler import rows_of_sets, shortcut_of
from training.models.frozen import sources_of
from training.similarity.aggregations import POOL
from training.sweep.input_cache import InputCache
from training.sweep.runs import Run, matrices_of, runs_of
from training.sweep.search import trials_of

# Of the experimental similarity, in a trial on synthetic digits.
RISKY_POOL_LAYER, RISKY_POOL_BETA = 7, 3.0


def split_of(experiment: Experiment) -> str:
    """Return how an experiment's data are divided: as its matrices say, or its dataset."""
    first = experiment.instances[0]
    try:
        return str(read_info(*matrices_of(first))["split"])
    except UserError:
        dataset = all_datasets(first.settings).get(experiment.dataset)
        return dataset.split_type if dataset else "?"


def describe_inputs(runs: Sequence[Run], inputs: InputCache) -> None:
    """Print what the runs will use.

    That is: the data with their split, and each extractor with its own accuracy and the share of
    the test set that it was trained on.
    """
    lines: dict[str, None] = {}
    for run in runs:
        settings, training = run.instance.settings, run.instance.settings.training_defaults
        matrices = inputs.matrices(*matrices_of(run.instance))
        examples = counted(matrices.info["num_examples"], "example")
        lines[f"data {matrices.name}: {examples}, split {matrices.info['split']}"] = None
        if shortcut := shortcut_of(run.instance.parameters):
            split = matrices.folds(training.fractions, training.num_folds)[0]
            rows = rows_of_sets(matrices, split, shortcut)
            sizes = ", ".join(f"{len(numbers)} {name}" for name, numbers in rows.items())
            follows = f"the class follows {shortcut.column} (strength {shortcut.strength:g})"
            lines[f"sample {matrices.name}: {follows}: {sizes} examples"] = None
        for source in sources_of(settings):
            if line := source.describe(matrices, inputs):
                lines[line] = None
        if (best_of := training.source_experiment) is not None:
            finished = inputs.num_finished(run.files.results_folder, best_of)
            start = f"experiment {run.experiment.id} starts from the best of experiment {best_of}"
            lines[f"{start}, which has {counted(finished, 'finished run')} now"] = None
    searching = {run.experiment.id: run for run in runs if "search" in run.instance.parameters}
    for run in searching.values():
        lines |= dict.fromkeys(_search_lines(run, inputs))
    for warning in _warnings(runs):
        lines[warning] = None
    logger.info("\n".join(lines))


def _search_lines(run: Run, inputs: InputCache) -> Iterator[str]:
    """Say what the search of a run's experiment tries, and what it has chosen, if it has."""
    number, words = run.experiment.id, run.instance.parameters["search"]
    chosen = counted(sum(each.is_chosen for each in runs_of(run.experiment)), "run")
    after = f"then {chosen} with other seeds of the trial that is best on validation"
    yield f"experiment {number} search: {words}; {after}"
    trials = trials_of(run.experiment, inputs.results)
    if trials.has_best:
        yield trials.describe_best()


def _warnings(runs: Sequence[Run]) -> list[str]:
    """Say what is known to go wrong with settings that are allowed."""
    for run in runs:
        training = run.instance.settings.training_defaults
        layers = [layer for group in training.at_layer for layer in group if isinstance(layer, int)]
        is_risky = (
            max(layers, default=0) >= RISKY_POOL_LAYER
            or max(training.at_beta, default=0) >= RISKY_POOL_BETA
        )
        if training.anti_transfer and training.at_aggregation == POOL and is_risky:
            return [
                f"warning: at_aggregation = {POOL} at layers of {RISKY_POOL_LAYER} and more, or "
                f"with at_beta of {RISKY_POOL_BETA:g} and more, fell to chance in a trial; a run "
                "that does is reported as collapsed"
            ]
    return []
