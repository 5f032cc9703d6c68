"""The stages that are killed: what each reads, made once, and the command that writes a folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import experiments_manager
from config.extractors import EXTRACTORS
from config.settings import load_settings
from preprocessing.corpora import noisyspeech
from preprocessing.make_miniature_corpora import CORPORA, make_corpus
from preprocessing.pipeline import extraction
from pretraining.pretrain import pretrain
from tests.conftest import Suite
from training.engine import checkpoints

CPU = -1
Command = Callable[[Path], int]
AGAINST_NOISE = {"anti_transfer": True, "at_dataset": "noisyspeech"}


@dataclass(frozen=True)
class Stage:
    """A stage's ways to run: each is a command that writes all its results into a folder."""

    name: str
    variants: tuple[Command, ...]


HEAVY_MODULES = (
    "accelerate",
    "matplotlib.backends.backend_agg",
    "matplotlib.backends.backend_pdf",
    "openpyxl",
    "pandas",
    "plotting.figures",
    "plotting.plot_loss_epochs",
    "plotting.summary",
    "sklearn.metrics",
    "soundfile",
    "soxr",
    "torch._dynamo",  # optimizers import it, which takes seconds
    "training.sweep.instance",
    "training.results.spreadsheet",
    "xlsxwriter",
)


def import_once() -> None:
    """What the processes then have from their parent, which starts them in no time."""
    for name in HEAVY_MODULES:
        import_module(name)


def save_often() -> None:
    """Every epoch's state and every few clips: the more that is kept, the more can go wrong."""
    checkpoints.SAVING_SHARE = float("inf")
    extraction.BLOCK_CLIPS = 4


def experiments(folder: Path) -> Stage:
    """A baseline, two kinds of anti-transfer and a dual one that starts from the baseline."""
    suite = _suite(folder)
    suite.write_matrices()
    suite.write_extractor()
    suite.write_experiment(1, {"num_epochs": 4}, {"repeat": 2})
    suite.write_experiment(
        2, {**AGAINST_NOISE, "at_layer": 3, "num_folds": 2, "num_epochs": 3, "at_cache": "disk"}
    )
    suite.write_experiment(
        3,
        {
            **AGAINST_NOISE,
            "at_layer": 5,
            "at_aggregation": "stochastic_pairwise",
            "at_pretraining": "experiment 1",
            "learning_rate": 0.02,
            "num_epochs": 9,
            "patience": 2,
        },
    )

    def run(results: Path) -> int:
        words = ["[1,2,3]", str(CPU), *suite.arguments]
        words += ["--set", f"results_folder={results}", "--set", f"cache_folder={results}/cache"]
        parser = experiments_manager.build_parser()
        return experiments_manager.main(parser.parse_intermixed_args(words))

    return Stage("experiments", (run,))


def pretraining(folder: Path) -> Stage:
    """An extractor of several epochs, with early stopping on."""
    suite = _suite(folder)
    suite.write_matrices("noisyspeech_randsplit")

    def run(results: Path) -> int:
        settings = suite.settings(
            pretraining_folder=results, extractor_num_epochs=8, extractor_batch_size=10
        )
        pretrain(EXTRACTORS["noisyspeech"], settings, CPU)
        return 0

    return Stage("pretraining", (run,))


def preprocessing(folder: Path) -> Stage:
    """Matrices of a miniature Good-Sounds, in this process and in two others."""
    from preprocessing.corpora.goodsounds import RANDSPLIT

    corpus = _corpus("goodsounds", folder)

    def run(results: Path, workers: int) -> int:
        values = {"input_good-sounds_folder": corpus, "output_folder": results, "workers": workers}
        extraction.preprocess(RANDSPLIT, load_settings(overrides=values))
        return 0

    return Stage("preprocessing", (lambda path: run(path, 1), lambda path: run(path, 2)))


def mixing(folder: Path) -> Stage:
    """Mixtures of a miniature MS-SNSD, in this process and in two others."""
    corpus = _corpus("noisyspeech", folder)

    def run(results: Path, workers: int) -> int:
        values = {
            "input_noisyspeech_repo": corpus,
            "generated_noisyspeech_folder": results,
            "total_hours": 0.1,
            "workers": workers,
        }
        noisyspeech.write_noisyspeech(load_settings(overrides=values))
        return 0

    return Stage("mixing", (lambda path: run(path, 1), lambda path: run(path, 2)))


STAGES: dict[str, Callable[[Path], Stage]] = {
    "experiments": experiments,
    "pretraining": pretraining,
    "preprocessing": preprocessing,
    "mixing": mixing,
}


def _suite(folder: Path) -> Suite:
    folder.mkdir(parents=True)
    os.environ.pop("ANTI_TRANSFER_CONFIG", None)
    return Suite(folder)


def _corpus(name: str, folder: Path) -> Path:
    make_corpus(name, folder, 0, {key: size.tiny for key, size in CORPORA[name].sizes.items()})
    return folder


def rounds(stage: Stage, folder: Path) -> Iterator[tuple[Command, Path]]:
    """The stage's variants in turn, each with an empty folder for its results."""
    while True:
        for command in stage.variants:
            shutil.rmtree(folder, ignore_errors=True)
            yield command, folder
