"""What experiments need (data, extractors, other results, disk), and the commands that make it."""

import shutil
from collections.abc import Collection, Iterator, Sequence

from config import advice
from config.advice import Missing
from config.errors import UserError
from config.experiments import Instance
from config.fields import Task
from config.selection import MANAGER
from config.settings import Settings, TrainingDefaults
from config.text import counted, display_path, nearest
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import Matrices, read_info
from training.data.shortcut_sampler import rows_of_sets, shortcut_of
from training.engine.tracking import tracker_problem
from training.methods.kinds import AT_METHODS
from training.models.frozen import COLUMN, column_of, sources_of
from training.models.frozen_source import Use
from training.models.weights import is_whole
from training.results.best_run import best_run, files_of_result
from training.results.dictionary import described_network
from training.similarity.aggregations import POOL
from training.sweep.input_cache import InputCache
from training.sweep.runs import Run, matrices_of
from training.sweep.search import trials_of

# Of VGG16.
NUM_CONVOLUTIONS = 13
FULL_MODEL_BYTES = 134_275_780 * 4


def input_fingerprints(instance: Instance, inputs: InputCache) -> dict[str, str]:
    """Return the fingerprints of what an instance reads: its data, and other networks' weights."""
    settings, training = instance.settings, instance.settings.training_defaults
    matrices = inputs.matrices(*matrices_of(instance))
    found = {"data": matrices.fingerprint, **described_network(settings.trained_network)}
    for source in sources_of(settings):
        found |= source.fingerprints(inputs)
    if training.source_experiment is not None:
        best = best_run(settings, inputs.results)
        found[str(training.at_pretraining)] = best["fingerprint"]
    return found


def find_missing(runs: Sequence[Run], force: bool, inputs: InputCache) -> list[Missing]:
    """Find everything that keeps the runs from starting, each thing once.

    Args:
        force: whether extractors at chance level are used.
    """
    chosen = {run.experiment.id for run in runs}
    found: list[Missing] = []
    for run in runs:
        found += _missing_tracker(run)
        of_data = [*_missing_matrices(run, inputs)]
        found += of_data
        matrices = None if of_data else inputs.matrices(*matrices_of(run.instance))
        use = Use(run.experiment, matrices, inputs, force)
        for source in sources_of(run.instance.settings):
            found += source.missing(use)
        found += _missing_experiment(run, inputs, chosen)
    found += _missing_groups(runs, inputs) if not found else []
    found += _missing_trials(runs, inputs)
    if not found:
        _check_networks(runs, inputs)
    return [*dict.fromkeys(found), *_missing_space(runs)]


def _check_networks(runs: Sequence[Run], inputs: InputCache) -> None:
    """Try the networks of the runs, but of those that are known to fit without waiting for torch.

    Raises:
        UserError: as training.sweep.network_checks.
    """
    unknown = [run for run in runs if not _is_as_published(run.instance.settings, inputs)]
    if unknown:
        from training.sweep.network_checks import check_networks

        check_networks(unknown, inputs)


def _is_as_published(settings: Settings, inputs: InputCache) -> bool:
    """Tell whether a run and its extractors are VGG16 of one width, with layers that it has."""
    training = settings.training_defaults
    layers = {layer for group in training.at_layer for layer in group}
    layers |= {training.gradient_reversal_layer or 1}
    return (
        settings.trained_network.is_published
        and not training.at_frozen_layer
        and layers <= {*range(1, NUM_CONVOLUTIONS + 1)}
        and all(source.is_like_trained(inputs) for source in sources_of(settings))
    )


def _missing_tracker(run: Run) -> Iterator[Missing]:
    tracker = run.instance.settings.training_defaults.tracker
    if problem := tracker_problem(tracker):
        yield Missing(problem, f"pip install {tracker}")


def _missing_matrices(run: Run, inputs: InputCache) -> Iterator[Missing]:
    folder, name = matrices_of(run.instance)
    if not inputs.has_matrices(folder, name):
        yield Missing(f"{display_path(folder)}: no matrices {name}", preparation_of(run))
        return
    try:
        matrices = inputs.whole_matrices(folder, name)
        matrices.require_settings(run.files.dataset, run.instance.settings)
    except UserError as error:
        yield Missing(str(error), preparation_of(run))
        return
    try:
        _check_task(run, matrices)
    except UserError as error:
        yield Missing(str(error))


def needs_expert(training: TrainingDefaults) -> bool:
    """Tell whether a training needs an expert's predictions, which need groups to hold out."""
    takes = AT_METHODS[training.at_method].expert if training.anti_transfer else ""
    return takes == "beliefs" or (takes == "guesses" and not column_of(training.at_dataset))


def nuisances_of(instance: Instance, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that knowledge may follow: the confounder, and those that are known."""
    columns = [name.removeprefix(COLUMN) for name in names if name.startswith(COLUMN)]
    return tuple(sorted({confounder_of(instance), *columns} - {""}))


def known_to(instance: Instance) -> list[tuple[str, ...]]:
    """Return what may tell of a run's target: names of at_dataset, and its confounder's column."""
    training, confounder = instance.settings.training_defaults, confounder_of(instance)
    known = [training.at_dataset] if training.anti_transfer and training.at_dataset else []
    if confounder:
        known.append((f"{COLUMN}{confounder}",))
    return [*dict.fromkeys(known)]


def _missing_groups(runs: Sequence[Run], inputs: InputCache) -> Iterator[Missing]:
    """Tell of which data no part can be held out for an expert that a method needs."""
    known = set()
    for run in runs:
        parameters, training = run.instance.parameters, run.instance.settings.training_defaults
        if not needs_expert(training):
            continue
        from training.probing.expert import held_out_folds

        nuisances = nuisances_of(run.instance, training.at_dataset)
        data = matrices_of(run.instance), shortcut_of(parameters), nuisances
        if data in known:
            continue
        known.add(data)
        matrices = inputs.matrices(*data[0])
        try:
            for split in matrices.folds(training.fractions, training.num_folds):
                rows = rows_of_sets(matrices, split, data[1])["training"]
                held_out_folds(matrices, rows, parameters["task"], nuisances)
        except UserError as error:
            place = f"{display_path(run.experiment.file)} [training_defaults]"
            yield Missing(f"{place} at_method = {training.at_method}: {error}")


def preparation_of(run: Run) -> str:
    """Return the command that makes a run's matrices; "": nobody here knows it."""
    settings = run.instance.settings
    known = all_datasets(settings)
    if run.files.dataset in known:
        return advice.beforehand(known[run.files.dataset].command, settings)
    try:
        command = str(read_info(*matrices_of(run.instance)).get("command", ""))
    except UserError:
        names = nearest(run.files.dataset, known) or f"; there are {', '.join(known)}"
        place = f"{display_path(run.experiment.file)} [experiment] dataset = {run.files.dataset}"
        raise UserError(f"{place}: there is no such dataset{names}") from None
    return advice.beforehand(command, settings) if command else ""


def confounder_of(instance: Instance) -> str:
    """Return the column that follows the class in training; "": none is declared.

    One by which examples are chosen so goes before that of the dataset.
    """
    if chosen := instance.settings.training_defaults.confounder:
        return chosen
    known = all_datasets(instance.settings)
    name = instance.parameters["dataset"]
    return known[name].confounder if name in known else ""


def _check_task(run: Run, matrices: Matrices) -> None:
    """Make sure that an experiment is for its matrices.

    Numbers of classes may be taken for the values of a regression.

    Raises:
        UserError: they cannot be divided into so many folds, have no such label or no classes, or
            others; says what to write into the experiment's file.
    """
    training, name = run.instance.settings.training_defaults, matrices.name
    task, given = run.instance.parameters["task"], run.instance.parameters["output_classes"]
    file = display_path(run.experiment.file)
    splits = matrices.folds(training.fractions, training.num_folds)
    if training.gradient_reversal_label:
        place = f"{file}: [training_defaults] gradient_reversal_label"
        matrices.require_column(training.gradient_reversal_label, place)
    if confounder := confounder_of(run.instance):
        section = "training_defaults" if training.confounder else f"dataset {run.files.dataset}"
        matrices.require_column(confounder, f"[{section}] confounder")
    if key := _needing_classes(training, task, matrices.task):
        raise UserError(
            f"{file} [training_defaults] {key} = {getattr(training, key)}: needs classes, "
            f"{name} holds values"
        )
    if shortcut := shortcut_of(run.instance.parameters):
        for split in splits:
            rows_of_sets(matrices, split, shortcut)
    if task == "classification" and matrices.task == "regression":
        raise UserError(
            f"{name}: holds values, task = classification; write task = regression into {file} "
            "[experiment]"
        )
    needed = 1 if task == "regression" else len(matrices.classes)
    if given != needed:
        found = "values" if task == "regression" else counted(needed, "class")
        raise UserError(
            f"{name}: {found}, output_classes = {given}; write output_classes = {needed} into "
            f"{file} [experiment]"
        )


def _needing_classes(training: TrainingDefaults, task: Task, held: Task) -> str:
    """Return a setting that has no meaning for values; "": there is none.

    Args:
        task: of the experiment, which may take numbers of classes for values.
        held: of the matrices.
    """
    method = AT_METHODS[training.at_method] if training.anti_transfer else None
    if method and method.needs_classes and task == "regression":
        return "at_method"
    if held != "regression":
        return ""
    if method and method.reads("at_aggregation") and training.at_aggregation == POOL:
        return "at_distance"
    return "confounder" if training.confounder else ""


def _missing_experiment(run: Run, inputs: InputCache, chosen: Collection[int]) -> Iterator[Missing]:
    settings = run.instance.settings
    source = settings.training_defaults.source_experiment
    if source is None or source in chosen:
        return
    start = f"experiment {run.experiment.id} starts from the best run of experiment {source}, which"
    command = f"{MANAGER} [{source}] {advice.gpu()}"
    if not inputs.num_finished(run.files.results_folder, source):
        yield Missing(f"{start} has no results", advice.beforehand(command))
        return
    try:
        best = best_run(settings, inputs.results)
    except UserError as error:
        yield Missing(str(error))
        return
    models = [
        files_of_result(run.files.results_folder, best).model(int(key))
        for key in best
        if key.isdecimal()
    ]
    if not all(map(is_whole, models)):
        number = int(best["number"])
        again = advice.beforehand(f"{command} {number} {number}")
        yield Missing(f"{start} has lost its model", again)


def _missing_trials(runs: Sequence[Run], inputs: InputCache) -> Iterator[Missing]:
    """Tell which trials must run before those runs that get the settings of the best one."""
    asked = {(run.experiment.id, run.instance.number) for run in runs}
    for experiment in {run.experiment.id: run.experiment for run in runs if run.is_chosen}.values():
        pending = [
            trial.instance.number
            for trial in trials_of(experiment, inputs.results).pending
            if (experiment.id, trial.instance.number) not in asked
        ]
        if pending:
            problem = f"experiment {experiment.id}: the best trial of its search is not known"
            problem += f", {counted(len(pending), 'trial')} must run before"
            yield Missing(problem, advice.run_again(experiment.id, pending))


def _missing_space(runs: Sequence[Run]) -> Iterator[Missing]:
    """Tell whether the disk takes the models of all runs; [results] is the same for all of them."""
    folder = runs[0].files.results_folder
    waiting = [run.instance for run in runs if not run.files.json_path.exists()]
    size = sum(map(_size_of_models, waiting))
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        yield Missing(
            f"{display_path(folder)}: {size / 1e6:,.0f} MB are needed for models, "
            f"{free / 1e6:,.0f} MB are free",
            "--set results_folder=FOLDER on a larger disk",
        )


def _size_of_models(instance: Instance) -> float:
    """Return the bytes that the models of all folds take."""
    training = instance.settings.training_defaults
    if instance.settings.trained_network.is_published:  # without waiting for torch
        return FULL_MODEL_BYTES * training.width**2 * training.num_folds
    if instance.parameters["output_classes"] is None:
        return 0  # not known before the data are prepared
    from training.models.registry import num_parameters, trained_architecture

    return num_parameters(trained_architecture(instance)) * 4 * training.num_folds
