"""Make miniature corpora in the layouts of the real ones, by synthesis of speech, notes and noise.

    python preprocessing/make_miniature_corpora.py --config config/demo.ini

Each corpus goes to the folder that its key in [preprocessing] names, where the real one would be.
A folder that holds anything else is left alone; a corpus whose key is empty is left out.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.command_line import (
    PREPARATION_SECTIONS,
    run_command,
    settings_from,
    settings_parser,
)
from config.errors import UserError
from config.settings import Settings, display_path
from preprocessing.miniature.acted_emotions import make_iemocap
from preprocessing.miniature.family_notes import make_nsynth
from preprocessing.miniature.folders import make_corpus_folder
from preprocessing.miniature.good_sounds import make_good_sounds
from preprocessing.miniature.noises import make_ms_snsd
from preprocessing.miniature.read_sentences import FEWEST_WORDS, NOUNS, make_librispeech
from preprocessing.miniature.speakers import distinct_variants
from preprocessing.miniature.spoken_digits import make_speech_commands


@dataclass(frozen=True)
class MiniatureCorpus:
    """What this script knows of a corpus.

    Attributes:
        title: the real corpus whose layout it has.
        key: the key of [preprocessing] that names its folder.
        sizes: the command-line options that `make` takes, by their names in `make`.
        make: writes it: `make(folder, seed=..., **sizes)`.
    """

    title: str
    key: str
    sizes: tuple[str, ...]
    make: Callable[..., int]


@dataclass(frozen=True)
class Size:
    """A number that a corpus is made from: by default, with --tiny, and what it counts."""

    default: int
    tiny: int
    meaning: str


CORPORA = {
    "gsc": MiniatureCorpus(
        "Google Speech Commands",
        "input_gsc_raw_folder",
        ("clips_per_word", "num_voices"),
        make_speech_commands,
    ),
    "noisyspeech": MiniatureCorpus(
        "MS-SNSD",
        "input_noisyspeech_repo",
        ("num_sentences", "files_per_noise"),
        make_ms_snsd,
    ),
    "iemocap": MiniatureCorpus(
        "IEMOCAP", "input_iemocap_folder", ("utterances_per_emotion",), make_iemocap
    ),
    "goodsounds": MiniatureCorpus(
        "Good-Sounds", "input_good-sounds_folder", ("sounds_per_goodness",), make_good_sounds
    ),
    "librispeech": MiniatureCorpus(
        "LibriSpeech",
        "input_librispeech_folder",
        ("repetitions_per_word", "num_words"),
        make_librispeech,
    ),
    "nsynth": MiniatureCorpus("NSynth", "input_nsynth_folder", ("notes_per_family",), make_nsynth),
}
SIZES = {
    "clips_per_word": Size(90, 4, "clips of each spoken digit"),
    "num_voices": Size(60, 4, "voices that speak the digits"),
    "num_sentences": Size(80, 6, "clean sentences"),
    "files_per_noise": Size(6, 2, "files of each type of noise, 8 s each"),
    "utterances_per_emotion": Size(8, 1, "utterances of each actor and emotion"),
    "sounds_per_goodness": Size(4, 1, "notes of each instrument and kind of bad sound"),
    "repetitions_per_word": Size(24, 3, "times that training speakers say each word"),
    "num_words": Size(20, 20, "words, which num_classes_librispeech must be too"),
    "notes_per_family": Size(24, 8, "training notes of each family of instruments"),
}


def main() -> None:
    """Make the corpora that the command line asks for."""
    arguments = _parser().parse_args()
    settings = settings_from(arguments, PREPARATION_SECTIONS)
    sizes = _sizes_of(arguments)
    _check_sizes(sizes)
    for name, folder in _folders(arguments.corpora, settings).items():
        own = {size: sizes[size] for size in CORPORA[name].sizes}
        _make(name, folder, settings.preprocessing.seed, own)


def _sizes_of(arguments: argparse.Namespace) -> dict[str, int]:
    """The sizes of all corpora: what the command line says, or else the default."""
    sizes = {}
    for name, size in SIZES.items():
        given: int | None = getattr(arguments, name)
        default = size.tiny if arguments.tiny else size.default
        sizes[name] = default if given is None else given
    return sizes


def _check_sizes(sizes: dict[str, int]) -> None:
    """Refuse more than there is to make a corpus from."""
    num_distinct = len(distinct_variants())
    if sizes["num_voices"] > num_distinct:
        raise UserError(
            f"--num-voices {sizes['num_voices']}: eSpeak NG has {num_distinct} distinct voices"
        )
    if not FEWEST_WORDS <= sizes["num_words"] <= len(NOUNS):
        raise UserError(f"--num-words {sizes['num_words']}: must be {FEWEST_WORDS} to {len(NOUNS)}")


def _folders(chosen: list[str], settings: Settings) -> dict[str, Path]:
    """Where each corpus goes that is asked for by name, or else that has a folder at all."""
    folders = {name: _folder_of(CORPORA[name], settings) for name in chosen or CORPORA}
    present = {name: folder for name, folder in folders.items() if folder is not None}
    missing = [name for name in folders if name not in present]
    if missing and (chosen or not present):
        raise UserError(
            f"[preprocessing] {CORPORA[missing[0]].key}: is empty, so there is no folder to write "
            "to; run: python preprocessing/make_miniature_corpora.py --config config/demo.ini"
        )
    for name in missing:
        print(f"[preprocessing] {CORPORA[name].key}: is empty, no miniature {CORPORA[name].title}")
    return present


def _folder_of(corpus: MiniatureCorpus, settings: Settings) -> Path | None:
    folder: Path | None = getattr(settings.preprocessing, corpus.key.replace("-", "_"))
    return folder


def _make(name: str, folder: Path, seed: int, sizes: dict[str, int]) -> None:
    corpus = CORPORA[name]
    recipe = {"corpus": name, "seed": seed, "sizes": sizes}
    is_new = make_corpus_folder(
        folder, recipe, lambda aside: corpus.make(aside, seed=seed, **sizes)
    )
    summary = ", ".join(f"{value} {SIZES[size].meaning}" for size, value in sizes.items())
    verb = "written to" if is_new else "already there:"
    print(f"miniature {corpus.title} {verb} {display_path(folder)} ({summary})", flush=True)


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
    for name, size in SIZES.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_count,
            metavar="N",
            help=f"{size.meaning} (default: {size.default}, with --tiny {size.tiny})",
        )
    return parser


def _corpus_name(text: str) -> str:
    if text not in CORPORA:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(CORPORA)}")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"must be 1 to 100000, is {text}")
    return int(text)


if __name__ == "__main__":
    run_command(main)
