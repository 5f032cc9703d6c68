"""Download and unpack a corpus, or say how to get it: gsc, librispeech, nsynth, good-sounds, ...

A download that was cut goes on with the same command; checksums are compared where the corpus's
publishers or its usual loaders state them.
"""

from pathlib import Path

from config.command_line import CommandParser, log_to, run_command
from config.fields import path_argument
from config.files import waited_for
from config.log import logger
from config.text import PROJECT_FOLDER, display_path
from preprocessing.corpora import all_corpora
from preprocessing.pipeline.dataset import Corpus
from preprocessing.pipeline.downloads import download, unpack, unpacked_mark

DEFAULT_FOLDER = PROJECT_FOLDER / "dataset" / "corpora"
DOWNLOADS = "downloads"


def get_corpus(corpus: Corpus, folder: Path) -> None:
    """Download and unpack what is not there yet, and say which key to set.

    Args:
        folder: of all corpora; archives go into its folder downloads.

    Raises:
        UserError: a download failed or is not what it should be.
    """
    home = folder / corpus.folder_name
    for archive in corpus.archives:
        with waited_for(folder / DOWNLOADS / f".{archive.file}.lock", archive.file, "--to FOLDER"):
            if unpacked_mark(archive, home).exists():
                logger.info(f"{archive.file}: already unpacked in {display_path(home)}")
            else:
                unpack(archive, download(archive, folder / DOWNLOADS), home)
    if corpus.by_hand:
        logger.info(corpus.by_hand)
    logger.info(f"Licence: {corpus.licence}")
    if corpus.archives:
        logger.info(f"{display_path(folder / DOWNLOADS)}: no longer needed, can be removed")
    logger.info(f"Then set [preprocessing] {corpus.key} = {display_path(home)}  ({corpus.page})")


def main() -> None:
    """Get the corpus that the command line names."""
    corpora = all_corpora()
    parser = CommandParser(description=__doc__)
    parser.add_argument("corpus", choices=corpora)
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        type=path_argument,
        default=DEFAULT_FOLDER,
        help=f"where corpora go (default: {display_path(DEFAULT_FOLDER)})",
    )

    def command() -> None:
        arguments = parser.parse_args()
        folder = arguments.to.absolute()
        log_to(folder)
        get_corpus(corpora[arguments.corpus], folder)

    run_command(command)


if __name__ == "__main__":
    main()
