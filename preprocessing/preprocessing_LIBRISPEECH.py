"""LibriSpeech, the most frequent words: audio to the matrices librispeech.

What is named on the command line wins over the settings.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from config.command_line import (
    BEGIN_ANEW,
    PREPARATION_SECTIONS,
    run_command,
    settings_from,
    settings_parser,
)
from preprocessing.corpora.librispeech import WORDS
from preprocessing.pipeline.extraction import preprocess


def main() -> None:
    """The matrices of the settings and arguments."""
    parser = settings_parser(__doc__)
    parser.add_argument("data_folder", nargs="?", help="where split and word_labels lie")
    parser.add_argument("destination", nargs="?", help="where the matrices go")
    parser.add_argument("num_classes", nargs="?", help="how many words are told apart")
    arguments = parser.parse_args()
    arguments.overrides += positional_overrides(arguments)
    run_command(lambda: prepare(arguments), BEGIN_ANEW)


def positional_overrides(arguments: argparse.Namespace) -> Iterator[str]:
    """The positional arguments as --set arguments; paths start where the command was typed."""
    if arguments.data_folder is not None:
        folder = Path(arguments.data_folder).absolute()
        yield f"preprocessing.input_librispeech_folder={folder}"
    if arguments.destination is not None:
        yield f"preprocessing.output_folder={Path(arguments.destination).absolute()}"
    if arguments.num_classes is not None:
        yield f"pretraining.num_classes_librispeech={arguments.num_classes}"


def prepare(arguments: argparse.Namespace) -> None:
    """Prepare the dataset; the folder that preprocess returns is no exit code."""
    preprocess(WORDS, settings_from(arguments, PREPARATION_SECTIONS))


if __name__ == "__main__":
    main()
