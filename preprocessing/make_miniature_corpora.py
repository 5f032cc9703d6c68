"""Make miniature corpora in the layouts of the real ones, by synthesis of speech, notes and noise.

    python preprocessing/make_miniature_corpora.py --config config/demo.ini
    python preprocessing/make_miniature_corpora.py gsc --size clips_per_word=400 --config ...

Each corpus goes to the folder that its key in [preprocessing] names, where the real one would be.
A folder that holds anything else is left alone; a corpus whose key is empty is left out.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from config.command_line import (
    PREPARATION_SECTIONS,
    log_to,
    run_command,
    settings_from,
    settings_parser,
)
from config.errors import UserError
from config.log import logger
from config.settings import Settings
from config.text import display_path
from preprocessing.miniature import good_sounds
from preprocessing.miniature.folders import Content, make_corpus_folder
from preprocessing.miniature.good_sounds import make_good_sounds
from preprocessing.miniature.iemocap import make_iemocap
from preprocessing.miniature.librispeech import make_librispeech
from preprocessing.miniature.noises import make_ms_snsd
from preprocessing.miniature.nsynth import make_nsynth
from preprocessing.miniature.sounds import SAMPLE_RATE
from preprocessing.miniature.speech_commands import make_speech_commands, make_speech_commands_v2


@dataclass(frozen=True)
class Size:
    """A number that a corpus is made from: by default, with --tiny, and what it counts."""

    default: int
    tiny: int
    meaning: str


@dataclass(frozen=True)
class MiniatureCorpus:
    """What this script knows of a corpus.

    Attributes:
        title: the real corpus whose layout it has.
        key: the key of [preprocessing] that names its folder.
        make: yields its files: `make(seed=..., **sizes)`; see `make_corpus_folder`.
        sizes: what else `make` takes, by name.
        sample_rate: in Hz.
    """

    title: str
    key: str
    make: Callable[..., Iterable[tuple[str, Content]]]
    sizes: dict[str, Size]
    sample_rate: int = SAMPLE_RATE


CORPORA = {
    "gsc": MiniatureCorpus(
        "Google Speech Commands",
        "input_gsc_raw_folder",
        make_speech_commands,
        {
            "clips_per_word": Size(90, 4, "clips of each spoken digit"),
            "num_voices": Size(60, 4, "voices that speak the digits"),
        },
    ),
    "gsc_v2": MiniatureCorpus(
        "Google Speech Commands v0.02",
        "input_gsc_v2_folder",
        make_speech_commands_v2,
        {"training_voices": Size(3, 1, "voices to train on that say each of the 35 words")},
    ),
    "noisyspeech": MiniatureCorpus(
        "MS-SNSD",
        "input_noisyspeech_repo",
        make_ms_snsd,
        {
            "num_sentences": Size(80, 6, "clean sentences"),
            "files_per_noise": Size(6, 2, "files of each type of noise, 8 s each"),
        },
    ),
    "iemocap": MiniatureCorpus(
        "IEMOCAP",
        "input_iemocap_folder",
        make_iemocap,
        {"utterances_per_emotion": Size(5, 1, "utterances of each actor and emotion")},
    ),
    "goodsounds": MiniatureCorpus(
        "Good-Sounds",
        "input_good-sounds_folder",
        make_good_sounds,
        {"sounds_per_goodness": Size(4, 1, "notes of each instrument and goodness")},
        good_sounds.SAMPLE_RATE,
    ),
    "librispeech": MiniatureCorpus(
        "LibriSpeech",
        "input_librispeech_folder",
        make_librispeech,
        {
            "repetitions_per_word": Size(12, 3, "times that training speakers say each word"),
            "num_words": Size(20, 20, "words, as num_classes_librispeech says"),
        },
    ),
    "nsynth": MiniatureCorpus(
        "NSynth",
        "input_nsynth_folder",
        make_nsynth,
        {"notes_per_family": Size(12, 8, "training notes of each family of instruments")},
    ),
}
_SIZES = [name for corpus in CORPORA.values() for name in corpus.sizes]


def main() -> None:
    """Make the corpora that the command line asks for."""
    arguments = _parser().parse_args()
    settings = settings_from(arguments, PREPARATION_SECTIONS)
    folders = _folders(arguments.corpora, settings)
    log_to(next(iter(folders.values())).parent)
    for name, folder in folders.items():
        sizes = {
            size_name: size.tiny if arguments.tiny else size.default
            for size_name, size in CORPORA[name].sizes.items()
        }
        sizes |= {key: number for key, number in arguments.size if key in sizes}
        make_corpus(name, folder, settings.preprocessing.seed, sizes)


def make_corpus(name: str, folder: Path, seed: int, sizes: dict[str, int]) -> None:
    """Make a corpus unless it is there already, and print which of both.

    Raises:
        UserError: the folder holds something that is not a miniature corpus.
    """
    corpus = CORPORA[name]
    recipe = {"corpus": name, "seed": seed, "sizes": sizes}
    files = corpus.make(seed=seed, **sizes)
    is_new = make_corpus_folder(folder, recipe, files, corpus.sample_rate)
    summary = ", ".join(f"{value} {corpus.sizes[size].meaning}" for size, value in sizes.items())
    verb = "written to" if is_new else "already there:"
    logger.info(f"miniature {corpus.title} {verb} {display_path(folder)} ({summary})")


def _folders(chosen: list[str], settings: Settings) -> dict[str, Path]:
    """Return where each corpus goes that is asked for by name, or else that has a folder at all."""
    folders: dict[str, Path | None] = {
        name: getattr(settings.preprocessing, CORPORA[name].key.replace("-", "_"))
        for name in chosen or CORPORA
    }
    present = {name: folder for name, folder in folders.items() if folder is not None}
    missing = [name for name in folders if name not in present]
    if missing and (chosen or not present):
        raise UserError(
            f"[preprocessing] {CORPORA[missing[0]].key}: is empty, so there is no folder to write "
            "to; run: python preprocessing/make_miniature_corpora.py --config config/demo.ini"
        )
    for name in missing:
        logger.info(
            f"[preprocessing] {CORPORA[name].key}: is empty, no miniature {CORPORA[name].title}"
        )
    return present


def _parser() -> argparse.ArgumentParser:
    parser = settings_parser(str(__doc__))
    parser.add_argument(
        "corpora",
        nargs="*",
        type=_corpus_name,
        metavar="CORPUS",
        help=f"of {', '.join(CORPORA)}; none: all that [preprocessing] has a folder for",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="a few clips of each class, to try the scripts with"
    )
    parser.add_argument(
        "--size",
        action="append",
        default=[],
        type=_size,
        metavar="NAME=NUMBER",
        help=f"another size than usual, of {', '.join(_SIZES)}; may be given several times",
    )
    return parser


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if name not in _SIZES or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"must be NAME=NUMBER, NAME one of {', '.join(_SIZES)}")
    return name, int(number)


def _corpus_name(text: str) -> str:
    if text not in CORPORA:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(CORPORA)}")
    return text


if __name__ == "__main__":
    run_command(main)
