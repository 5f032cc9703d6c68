"""Download and unpack a corpus, or say how to get it: gsc, librispeech, nsynth, good-sounds, ...

A download that was cut goes on with the same command; checksums are compared where the corpus's
publishers or its usual loaders state them.
"""

from dataclasses import dataclass
from pathlib import Path

from config.command_line import CommandParser, run_command
from config.settings import PROJECT_FOLDER, display_path
from preprocessing.pipeline.downloads import Archive, download, unpack, unpacked_mark

DEFAULT_FOLDER = PROJECT_FOLDER / "dataset" / "corpora"
DOWNLOADS = "downloads"
OPENSLR = "https://www.openslr.org/resources/12"
MAGENTA = "http://download.magenta.tensorflow.org/datasets/nsynth"


@dataclass(frozen=True)
class Corpus:
    """Where a corpus comes from.

    key: the key of [preprocessing] that names its folder.
    folder: what that key must name, in the folder of all corpora.
    page: its home on the web.
    archives: what to download.
    by_hand: what else to do, in words.
    """

    key: str
    folder: str
    page: str
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""


# Checksums: LibriSpeech, Speech Commands: torchaudio.datasets; Good-Sounds: Zenodo (as in mirdata).
# None is published for NSynth and for GitHub's archives.
CORPORA = {
    "gsc": Corpus(
        key="input_gsc_raw_folder",
        folder="speech_commands_v0.01",
        page="https://arxiv.org/abs/1804.03209",
        archives=(
            Archive(
                "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
                "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
            ),
        ),
    ),
    "librispeech": Corpus(
        key="input_librispeech_folder",
        folder="LibriSpeech",
        page="https://www.openslr.org/12",
        archives=(
            Archive(
                f"{OPENSLR}/dev-clean.tar.gz",
                "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
                folder="split",
                inner_folder="LibriSpeech",
            ),
            Archive(
                f"{OPENSLR}/test-clean.tar.gz",
                "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
                folder="split",
                inner_folder="LibriSpeech",
            ),
            Archive(
                f"{OPENSLR}/train-clean-100.tar.gz",
                "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
                folder="split",
                inner_folder="LibriSpeech",
            ),
        ),
        by_hand=(
            "Then download the folder word_labels, to which https://github.com/bepierre/SpeechVGG "
            "links (a page for browsers, https://imperialcollegelondon.app.box.com/s/"
            "yd541e9qsmctknaj6ggj5k2cnb4mabkc), and put it beside split."
        ),
    ),
    "nsynth": Corpus(
        key="input_nsynth_folder",
        folder="NSynth",
        page="https://magenta.tensorflow.org/datasets/nsynth",
        archives=tuple(
            Archive(f"{MAGENTA}/nsynth-{name}.jsonwav.tar.gz", None)
            for name in ("test", "valid", "train")
        ),
    ),
    "good-sounds": Corpus(
        key="input_good-sounds_folder",
        folder="good-sounds",
        page="https://www.upf.edu/web/mtg/good-sounds",
        archives=(
            Archive(
                "https://zenodo.org/records/820937/files/good-sounds.zip?download=1",
                "md5:2137bbb2d32c1d60aa51e1301225f541",
                inner_folder="good-sounds",
            ),
        ),
    ),
    "ms-snsd": Corpus(
        key="input_noisyspeech_repo",
        folder="MS-SNSD",
        page="https://github.com/microsoft/MS-SNSD",
        archives=(
            Archive(
                "https://github.com/microsoft/MS-SNSD/archive/refs/heads/master.zip",
                None,
                inner_folder="MS-SNSD-master",
            ),
        ),
    ),
    "iemocap": Corpus(
        key="input_iemocap_folder",
        folder="IEMOCAP_full_release",
        page="https://sail.usc.edu/iemocap/",
        by_hand=(
            "IEMOCAP is given to researchers who ask for it: read its licence and fill in the form "
            "at https://sail.usc.edu/iemocap/iemocap_release.htm. The answer names the download; "
            "unpack it, so that the folder holds Session1 to Session5."
        ),
    ),
}


def get_corpus(corpus: Corpus, folder: Path) -> None:
    """Download and unpack what is not there yet, and say which key to set.

    Args:
        folder: of all corpora; archives go into its folder downloads.

    Raises:
        UserError: a download failed or is not what it should be.
    """
    home = folder / corpus.folder
    for archive in corpus.archives:
        if unpacked_mark(archive, home).exists():
            print(f"{archive.file}: already unpacked in {display_path(home)}")
            continue
        unpack(archive, download(archive, folder / DOWNLOADS), home)
    if corpus.by_hand:
        print(corpus.by_hand)
    if corpus.archives:
        print(f"{display_path(folder / DOWNLOADS)}: no longer needed, can be removed")
    print(f"Then set [preprocessing] {corpus.key} = {display_path(home)}  ({corpus.page})")


def main() -> None:
    """Get the corpus that the command line names."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("corpus", choices=CORPORA)
    parser.add_argument(
        "--to",
        metavar="FOLDER",
        type=Path,
        default=DEFAULT_FOLDER,
        help=f"where corpora go (default: {display_path(DEFAULT_FOLDER)})",
    )
    arguments = parser.parse_args()
    run_command(lambda: get_corpus(CORPORA[arguments.corpus], arguments.to.absolute()))


if __name__ == "__main__":
    main()
