"""Make miniature corpora in the layouts of the real ones, by speech and noise synthesis.

    python preprocessing/make_miniature_corpora.py --config config/demo.ini

Each corpus goes to the folder that its key in [preprocessing] names, where the real one would be.
A folder that holds anything else is left alone.
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
from preprocessing.miniature.folders import make_corpus_folder
from preprocessing.miniature.noises import make_ms_snsd
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
}
SIZES = {
    "clips_per_word": (90, "clips of each spoken digit"),
    "num_voices": (60, "voices that speak the digits"),
    "num_sentences": (80, "clean sentences"),
    "files_per_noise": (6, "files of each type of noise, 8 s each"),
}


def main() -> None:
    """Make the corpora that the command line asks for."""
    arguments = _parser().parse_args()
    settings = settings_from(arguments, PREPARATION_SECTIONS)
    chosen = arguments.corpora or list(CORPORA)
    folders = {name: _folder_of(CORPORA[name], settings) for name in chosen}
    num_distinct = len(distinct_variants())
    if arguments.num_voices > num_distinct:
        raise UserError(
            f"--num-voices {arguments.num_voices}: eSpeak NG has {num_distinct} distinct voices"
        )
    for name, folder in folders.items():
        _make(name, folder, settings.preprocessing.seed, arguments)


def _make(name: str, folder: Path, seed: int, arguments: argparse.Namespace) -> None:
    corpus = CORPORA[name]
    sizes = {size: getattr(arguments, size) for size in corpus.sizes}
    recipe = {"corpus": name, "seed": seed, "sizes": sizes}
    is_new = make_corpus_folder(
        folder, recipe, lambda aside: corpus.make(aside, seed=seed, **sizes)
    )
    summary = ", ".join(f"{value} {SIZES[size][1]}" for size, value in sizes.items())
    verb = "written to" if is_new else "already there:"
    print(f"miniature {corpus.title} {verb} {display_path(folder)} ({summary})", flush=True)


def _folder_of(corpus: MiniatureCorpus, settings: Settings) -> Path:
    folder: Path | None = getattr(settings.preprocessing, corpus.key)
    if folder is None:
        raise UserError(
            f"[preprocessing] {corpus.key}: is empty, so there is no folder to write to; run: "
            "python preprocessing/make_miniature_corpora.py --config config/demo.ini"
        )
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = settings_parser(str(__doc__))
    parser.add_argument(
        "corpora",
        nargs="*",
        type=_corpus_name,
        metavar="CORPUS",
        help=f"of {', '.join(CORPORA)}; none: all",
    )
    for size, (default, meaning) in SIZES.items():
        parser.add_argument(
            f"--{size.replace('_', '-')}",
            type=_count,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default})",
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
