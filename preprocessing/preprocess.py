"""Prepare a dataset by its name: one of the built-in ones, or a [dataset NAME] of one's own.

python preprocessing/preprocess.py NAME
"""

from config.command_line import (
    BEGIN_ANEW,
    PREPARATION_SECTIONS,
    log_to,
    run_command,
    settings_from,
    settings_parser,
)
from preprocessing.corpora import find_dataset
from preprocessing.pipeline.extraction import preprocess


def main() -> None:
    """Prepare what the command line names."""
    parser = settings_parser(str(__doc__))
    parser.add_argument("name", help="of a dataset, built-in or in a [dataset NAME] section")
    arguments = parser.parse_args()
    settings = settings_from(arguments, PREPARATION_SECTIONS)
    log_to(settings.preprocessing.output_folder)
    preprocess(find_dataset(arguments.name, settings), settings)


if __name__ == "__main__":
    run_command(main, BEGIN_ANEW)
