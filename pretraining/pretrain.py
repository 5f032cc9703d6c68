"""Train an extractor on its orthogonal task and write it where experiments look for it.

python pretraining/pretrain.py NAME [GPU]
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import advice
from config.command_line import log_to, run_command, settings_from, settings_parser
from config.declarations import TRAINING_AUDIO, Extractor
from config.errors import UserError
from config.files import read_json, remove_partial_files, waited_for, write_json, write_text
from config.fingerprints import fingerprint_of
from config.log import logger
from config.networks import Network
from config.provenance import provenance
from config.selection import CPU
from config.settings import Settings
from config.text import display_path, hint
from preprocessing.corpora import find_dataset
from preprocessing.pipeline.matrices import Matrices, matrices_name, open_matrices
from training.engine.distributed import (
    broadcast,
    is_distributed,
    is_main,
    join_processes,
    leave_processes,
    num_local_processes,
    only_main_speaks,
)
from training.engine.tracking import tracker_problem
from training.models.description import (
    describe_model,
    guessing,
    is_at_chance,
    quality,
    read_description,
)
from training.models.weights import WEIGHTS_FILE, save_model
from training.results.dictionary import changes, described_network

if TYPE_CHECKING:
    import torch

    from training.engine.fit import FitOptions

PREFERRED_SECTIONS = ("pretraining", "training_defaults")
# Of a training that is not finished.
STATE_FILE = "unfinished_state.pt"
# Of [training_defaults], what decides what an extractor becomes, besides its FitOptions.
FINGERPRINTED = {
    *("seed", "width", "precision", "learning_rate", "choose_optimizer", "regularization_lambda"),
    *("train_split", "validation_split", "test_split"),
}


def pretrain_command(name: str | None = None) -> None:
    """Do what every pre-training script does; name: the extractor, None: the first word says it."""
    parser = settings_parser(f"Pre-train {f'the extractor {name}' if name else 'an extractor'}.")
    if name is None:
        parser.add_argument("name", help="of an [extractor NAME] section of config.ini or --config")
    parser.add_argument(
        "gpu",
        nargs="?",
        type=_gpus,
        default=(),
        help="GPU number, -1: the CPU; under torchrun one number for each process, as in 0,1; "
        "default: GPU 0 if there is one",
    )
    parser.add_argument("--overwrite", action="store_true", help="train again, whatever is there")

    def command() -> None:
        arguments = parser.parse_args()
        settings = settings_from(arguments, prefer=PREFERRED_SECTIONS)
        wanted = name or arguments.name
        if wanted not in settings.extractors:
            raise UserError(f"no extractor {wanted}{hint(wanted, settings.extractors)}")
        only_main_speaks()
        log_to(settings.extractor_folder(wanted))
        pretrain(settings.extractors[wanted], settings, arguments.gpu, arguments.overwrite)
        # After an error the others may never come to the leave-taking; torchrun ends them.
        leave_processes()

    run_command(command)


def _gpus(text: str) -> tuple[int, ...]:
    """Return the numbers of 0, -1 or 0,1."""
    if not re.fullmatch(r"-1|\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no GPU number, nor -1, nor a list as in 0,1")
    return tuple(map(int, text.split(",")))


def pretrain(
    extractor: Extractor, settings: Settings, gpus: Sequence[int] = (), overwrite: bool = False
) -> Path:
    """Train an extractor unless it is there already; return its folder.

    Writes model.safetensors, extractor.json, results.json, history.png and .pdf, and the hashes of
    the audio that it was trained on (training_audio.txt). Under torchrun all processes call it,
    train together, and one of them writes.

    Args:
        gpus: of this machine's processes, one each; -1: the CPU; (): the first ones that are there.

    Raises:
        UserError: its matrices do not serve, another extractor of that name is there, or the GPUs
            are not as many as the processes.
    """
    if len(gpus) > 1 and not is_distributed():
        command = (
            f"torchrun --nproc-per-node {len(gpus)} pretraining/pretrain.py {extractor.name} "
            f"{','.join(map(str, gpus))}"
        )
        raise UserError(f"{len(gpus)} GPUs need as many processes: {advice.again(command)}")
    if problem := tracker_problem(settings.training_defaults.tracker):
        raise UserError(f"{problem}; pip install {settings.training_defaults.tracker}")
    # Alone it waits for torch until there is something to train.
    device = _device(gpus) if is_distributed() else None
    folder = settings.extractor_folder(extractor.name)
    matrices = _open_data(extractor, settings)
    options = _fit_options(extractor, settings)
    plan = {
        "dataset": extractor.dataset,
        "features_type": settings.feature_extraction.features_type,
        "data": matrices.fingerprint,
        **vars(options),
        "random_offset": extractor.random_offset,
        "task": "classification",
        **settings.training_defaults.model_dump(mode="json", include=FINGERPRINTED),
        **described_network(_network_of(extractor, settings)),
    }
    lock = folder / ".lock", f"extractor {extractor.name}", "--set pretraining_folder=FOLDER"
    if not broadcast(_is_done(extractor, folder, plan, overwrite)):
        with waited_for(*lock) if is_main() else nullcontext():
            if not broadcast(_is_done(extractor, folder, plan, overwrite)):
                device, started = device or _device(gpus), datetime.now(UTC)
                fingerprint = fingerprint_of(plan)
                trained = _train(
                    folder, extractor, matrices, settings, options, device, fingerprint
                )
                if is_main():
                    made = provenance(device, started, trained[0].pop("seconds"))
                    _write(folder, extractor, plan, matrices, made, *trained)
            broadcast(None)  # nobody goes on before it is written
    results = folder / "results.json"
    if is_main() and results.exists() and not (folder / TRAINING_AUDIO).exists():
        _write_training_audio(folder, matrices, read_json(results))
    if is_main() and not all(figure.exists() for figure in _figures(folder)):
        _draw_history(extractor, folder)
    return folder


def _open_data(extractor: Extractor, settings: Settings) -> Matrices:
    """Open what an extractor is trained on.

    Raises:
        UserError: the matrices are missing, damaged, made with other settings, or hold no classes.
    """
    name = matrices_name(extractor.dataset, settings.feature_extraction.features_type)
    try:
        matrices = open_matrices(settings.preprocessing.output_folder, name)
        matrices.check_parts()
        matrices.require_settings(extractor.dataset, settings)
    except UserError as error:
        command = advice.beforehand(find_dataset(extractor.dataset, settings).command)
        raise UserError(f"{error}; run {command}") from None
    if matrices.task == "regression":
        raise UserError(
            f"[extractor {extractor.name}] dataset = {extractor.dataset}: holds values, and an "
            "extractor tells classes; declare the dataset with task = classification"
        )
    return matrices


def _network_of(extractor: Extractor, settings: Settings) -> Network:
    return settings.networks[extractor.network or settings.training_defaults.network]


def _device(gpus: Sequence[int]) -> "torch.device":
    """Return the device of this process, once all of them are there."""
    from training.engine.devices import default_gpu

    if not gpus:
        gpus = (CPU,) if default_gpu() == CPU else range(num_local_processes())
    return join_processes(gpus)


def _fit_options(extractor: Extractor, settings: Settings) -> "FitOptions":
    from training.engine.fit import FitOptions

    own, training = settings.pretraining, settings.training_defaults
    patience = own.extractor_patience or extractor.patience
    return FitOptions(
        num_epochs=own.extractor_num_epochs or extractor.num_epochs,
        batch_size=own.extractor_batch_size or extractor.batch_size,
        patience=patience if training.early_stopping else None,
        best_metric=training.save_best_model_metric,
        train_metrics=training.train_metrics,
        shuffle=training.shuffle_training_data,
    )


def _is_done(extractor: Extractor, folder: Path, plan: Mapping[str, Any], overwrite: bool) -> bool:
    """Tell whether the extractor is there.

    Raises:
        UserError: it was trained with different settings.
    """
    try:
        stored = read_description(folder)
    except UserError:
        return False
    if overwrite:
        return False
    if stored.get("plan_fingerprint") == fingerprint_of(plan):
        logger.info(f"{display_path(folder)}: already there, unchanged; {quality(stored)}")
        return True
    different = "; ".join(changes(stored.get("plan", {}), plan))
    command = advice.again(f"{advice.on_gpu(extractor.command)} --overwrite")
    raise UserError(
        f"{display_path(folder)}: was trained with different settings ({different}); {command} "
        "trains it again, --set pretraining_folder=FOLDER puts it elsewhere"
    )


def _train(
    folder: Path,
    extractor: Extractor,
    matrices: Matrices,
    settings: Settings,
    options: "FitOptions",
    device: "torch.device",
    fingerprint: str,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return the metrics of the training, the best weights, and what describes the network.

    Args:
        fingerprint: of everything that decides the outcome.
    """
    from training.engine.checkpoints import Checkpoint
    from training.engine.folds import (
        Trained,
        build_learner,
        load_fold,
        require_classes,
        train_fold,
        train_in_memory,
    )
    from training.engine.seeds import RngSeeds
    from training.models.loading import to_device
    from training.models.registry import (
        architecture_of,
        build_network,
        check_outputs,
        example_batch,
    )

    if is_main():
        remove_partial_files(folder)
    logger.info(f"{extractor.name}: {extractor.task} on {matrices.name} -> {display_path(folder)}")
    training = settings.training_defaults
    (split,) = matrices.folds(training.fractions, 1)
    fold = load_fold(
        matrices, split, device, skip_padding=True, random_offset=extractor.random_offset
    )
    warning = require_classes(fold, matrices)
    if warning:
        logger.warning(warning)
    network = _network_of(extractor, settings)
    architecture = architecture_of(network, len(matrices.classes), training.width)
    tried = build_network(architecture, training.seed)
    check_outputs(tried, architecture, example_batch(matrices.predictors.shape))
    log_folder = settings.results.pretraining_folder / "tracking"
    title = f"pre-training {extractor.name}"

    def train(batch_size: int) -> Trained:
        seeds = RngSeeds.from_seed(training.seed, 0)
        model = to_device(build_network(architecture, seeds.initialization), device)
        learner = build_learner(model, [], "classification", training, log_folder, title)
        checkpoint = Checkpoint(folder / STATE_FILE, fingerprint, batch_size)
        own_options = replace(options, batch_size=batch_size)
        return train_fold(learner, fold, own_options, seeds, title, checkpoint)

    trained = train_in_memory(train, options.batch_size, title)
    precision = trained.values["numeric_precision"]
    described = describe_model(architecture, matrices, fold.normalization, True, precision)
    return trained.values, trained.state, described


def _write(
    folder: Path,
    extractor: Extractor,
    plan: Mapping[str, Any],
    matrices: Matrices,
    made: Mapping[str, Any],
    metrics: Mapping[str, Any],
    state: Mapping[str, Any],
    described: Mapping[str, Any],
) -> None:
    """Write all files of a trained extractor; made: its provenance."""
    description = {
        **described,
        "name": extractor.name,
        "task": extractor.task,
        "split": matrices.info["split"],
        "test_accuracy": metrics["test_acc"],
        "chance_level": metrics["test_chance"],
        "num_test_examples": metrics["test_examples"],
        "best_epoch": metrics["best_epoch"],
        "plan": plan,
        "plan_fingerprint": fingerprint_of(plan),
        "provenance": made,
    }
    write_json(folder / "results.json", metrics)
    _write_training_audio(folder, matrices, metrics)
    for figure in _figures(folder):
        figure.unlink(missing_ok=True)  # of an earlier training
    # Last, for it marks the extractor finished.
    save_model(folder / WEIGHTS_FILE, state, description)
    (folder / STATE_FILE).unlink(missing_ok=True)
    logger.info(f"{extractor.name}: {quality(description)}; written to {display_path(folder)}")
    if is_at_chance(description):
        logger.warning(
            f"warning: {extractor.name} is at chance level ({guessing(description)}); experiments "
            "will refuse it. More data, more epochs or another learning_rate may help"
        )


def _write_training_audio(folder: Path, matrices: Matrices, metrics: Mapping[str, Any]) -> None:
    contents = sorted(matrices.contents_of(metrics["training_actors"]))
    write_text(folder / TRAINING_AUDIO, "\n".join(contents) + "\n")


def _figures(folder: Path) -> list[Path]:
    return [folder / f"history{suffix}" for suffix in (".png", ".pdf")]


def _draw_history(extractor: Extractor, folder: Path) -> None:
    """Draw the curves of a training that is written."""
    from plotting.drawing import figures_attempted, write_figures
    from plotting.plot_loss_epochs import draw_history
    from training.results.result import FoldResult

    title = f"Pre-training {extractor.name}: {extractor.task}"
    with figures_attempted("the training"):
        history = FoldResult(**read_json(folder / "results.json"))
        write_figures({"history": draw_history(history, title)}, folder)


if __name__ == "__main__":
    pretrain_command()
