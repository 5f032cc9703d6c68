"""LibriSpeech, the most frequent words: audio to the matrices librispeech.

What is named on the command line wins over the settings.
"""

import argparse
from pathlib import Path

from config.command_line import (
    BEGIN_ANEW,
    PREPARATION_SECTIONS,
    log_to,
    run_command,
    settings_from,
    settings_parser,
)
from preprocessing.corpora.librispeech import WORDS
from preprocessing.pipeline.extraction import preprocess


def prepare(arguments: argparse.Namespace) -> None:
    """Prepare the dataset; paths start where the command was typed."""
    if arguments.data_folder:
        folder = Path(arguments.data_folder).absolute()
        arguments.overrides.append(f"preprocessing.input_librispeech_folder={folder}")
    if arguments.destination:
        folder = Path(arguments.destination).absolute()
        arguments.overrides.append(f"preprocessing.output_folder={folder}")
    if arguments.num_classes:
        arguments.overrides.append(f"pretraining.num_classes_librispeech={arguments.num_classes}")
    settings = settings_from(arguments, PREPARATION_SECTIONS)
    log_to(settings.preprocessing.output_folder)
    preprocess(WORDS, settings)


if __name__ == "__main__":
    parser = settings_parser(__doc__)
    parser.add_argument("data_folder", nargs="?", help="where split and word_labels lie")
    parser.add_argument("destination", nargs="?", help="where the matrices go")
    parser.add_argument("num_classes", nargs="?", help="how many words are told apart")
    run_command(lambda: prepare(parser.parse_args()), BEGIN_ANEW)
