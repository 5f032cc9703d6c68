"""What a corpus declares: where it lies, its clips, and the datasets that are made of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.errors import UserError
from config.log import logger
from config.settings import Settings
from config.text import display_path

SETS = ("train", "validation", "test")
RANDOM_BY_CLIP = "random by clip"
OWN_SPLIT = "the corpus's own"
OWN_FOLDS = "the corpus's own folds"


@dataclass(frozen=True)
class Clip:
    """One labelled stretch of audio of a corpus.

    name: unique in its dataset; what splits and indices call the clip.
    label: number of its class; of a regression, its value, whose class_name is empty.
    group: what must stay in one set together (clip, session, instrument).
    details: whatever else the corpus knows (speaker, noise type, SNR in dB).
    start, duration: the stretch of the file in s; duration None: to its end.
    fixed_set: train, validation or test where the corpus brings its own split, the name of a fold
        where it brings its own folds.
    """

    path: Path
    name: str
    label: float
    class_name: str
    group: str
    details: dict[str, str | float | int] = field(default_factory=dict)
    start: float = 0.0
    duration: float | None = None
    fixed_set: str | None = None


@dataclass(frozen=True)
class Archive:
    """A .tar.gz or .zip file of a corpus.

    checksum: as published, md5:... or sha256:...; None: none is.
    folder: where its content belongs, in the corpus's folder.
    inner_folder: the folder that all its content lies in and that is left out.
    """

    url: str
    checksum: str | None
    folder: str = "."
    inner_folder: str = ""

    @property
    def file(self) -> str:
        """Its name, without the host and the query."""
        return self.url.partition("?")[0].rpartition("/")[2]


@dataclass(frozen=True)
class Corpus:
    """Audio that somebody published, and where it comes from.

    name: what get_corpus.py calls it.
    title: its name in messages.
    key: the key of [preprocessing] that names its folder.
    folder_name: what get_corpus.py calls that folder.
    layout: what the folder must be, in words.
    page: its home on the web.
    archives: what to download.
    by_hand: what else to do, in words.
    licence: of its audio, in one line.
    """

    name: str
    title: str
    key: str
    folder_name: str
    layout: str
    page: str
    archives: tuple[Archive, ...] = ()
    by_hand: str = ""
    licence: str = ""

    def folder(self, settings: Settings, part: str = ".") -> Path:
        """Return the folder that the settings name, or a part of it.

        Raises:
            UserError: the key is empty, or there is no such folder.
        """
        folder: Path | None = getattr(settings.preprocessing, self.key.replace("-", "_"))
        if folder is None:
            raise UserError(
                f"[preprocessing] {self.key} is empty: get {self.title} from {self.page} and put "
                f"the path of {self.layout} there, or pass --set {self.key}=FOLDER"
            )
        if not (folder / part).is_dir():
            raise self.wrong_folder(folder / part, "there is no such folder")
        return folder / part

    def wrong_folder(self, place: Path, problem: str) -> UserError:
        """Return the error for a folder that is not the corpus."""
        return UserError(
            f"{display_path(place)}: {problem}; [preprocessing] {self.key} must be {self.layout}, "
            f"from {self.page}"
        )

    def expect(self, what: str, expected: int, found: int) -> None:
        """Print one line if the numbers differ: releases do, and part of one is enough to try."""
        if found != expected:
            logger.warning(f"warning: {self.title}: expected {expected:,} {what}, found {found:,}")


@dataclass(frozen=True)
class Dataset:
    """A corpus prepared for one task.

    name: prefix of its matrices.
    script: the file in preprocessing/ that makes them; empty: preprocess.py does.
    task: what the network is to tell, in words.
    sequence_length: of an example, in s.
    split_type: what the sets are divided by, in words; "random by clip" gives clips with equal
        audio one group.
    list_clips: finds the clips; raises UserError if the corpus is not where the settings say.
    classes: names in label order; empty: those of the clips.
    sources: details of a clip that say whom or what it was recorded from; values that stand in
        several sets are reported.
    orthogonal_labels: details of a clip that the task does not need, so that a network should not
        depend on them; training/invariance.py looks for them in its layers.
    confounder: the detail of a clip whose value follows the class in training, but need not in the
        test set, so that results say apart who has that of its class; empty: none is known.
    decisive_keys: keys of [preprocessing] that decide what the clips are; matrices and runs that
        have other values do not go together.
    leave_out_silence: whether clips without a sample above 0.05 are left out.
    shuffle_groups: whether groups are shuffled before they are divided; clips always are.
    is_regression: whether labels are values, not classes.
    validation_folds: of the corpus's own folds, the one that validates where another is the test
        set; the next one validates where none is named.
    declared: what the user's section says of it; matrices made by another one and runs do not go
        together.
    licence: of its audio, in one line.
    """

    name: str
    script: str
    task: str
    sequence_length: float
    split_type: str
    list_clips: Callable[[Settings], list[Clip]]
    classes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    orthogonal_labels: tuple[str, ...] = ()
    confounder: str = ""
    decisive_keys: tuple[str, ...] = ()
    leave_out_silence: bool = True
    shuffle_groups: bool = False
    is_regression: bool = False
    validation_folds: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""

    @property
    def command(self) -> str:
        """What a user types to make the matrices."""
        if not self.script:
            return f"python preprocessing/preprocess.py {self.name}"
        return f"python preprocessing/{self.script}.py"

    def decisive_values(self, settings: Settings) -> dict[str, float]:
        """Return the values of decisive_keys."""
        return {key: getattr(settings.preprocessing, key) for key in self.decisive_keys}

    def seconds(self, settings: Settings) -> float:
        """Return the length of an example in s: what the user set, or the dataset's own."""
        return (
            settings.pretraining.sequence_length
            or settings.feature_extraction.sequence_length
            or self.sequence_length
        )
