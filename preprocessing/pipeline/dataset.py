"""A dataset is declared: a corpus, a task, a length of examples, and what its split divides."""

from collections.abc import Callable
from dataclasses import dataclass

from config.settings import Settings
from preprocessing.pipeline.audio import Clip

RANDOM_BY_CLIP = "random by clip"


@dataclass(frozen=True)
class Dataset:
    """A corpus prepared for one task.

    name: prefix of its matrices.
    script: the file in preprocessing/ that makes them.
    task: what the network is to tell, in words.
    sequence_length: of an example, in s.
    split_type: what the sets are divided by, in words; "random by clip" shuffles first.
    list_clips: finds the clips; raises UserError if the corpus is not where the settings say.
    classes: names in label order; empty: those of the clips.
    sources: details of a clip that say whom or what it was recorded from; values that stand in
        several sets are reported.
    orthogonal_labels: details of a clip that the task does not need, so that a network should not
        depend on them; training/invariance.py looks for them in its layers.
    decisive_keys: keys of [preprocessing] that decide what the clips are; matrices and runs that
        have other values do not go together.
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
    decisive_keys: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What a user types to make the matrices."""
        return f"python preprocessing/{self.script}.py"

    def decisive_values(self, settings: Settings) -> dict[str, float]:
        """The values of decisive_keys."""
        return {key: getattr(settings.preprocessing, key) for key in self.decisive_keys}

    def seconds(self, settings: Settings) -> float:
        """Length of an example in s: what the user set, or the dataset's own."""
        return (
            settings.pretraining.sequence_length
            or settings.feature_extraction.sequence_length
            or self.sequence_length
        )
