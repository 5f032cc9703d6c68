"""How many examples the datasets of the paper hold, where the matrices themselves are not there.

Facts are what the scripts in preprocessing/ make by their own declaration; the rest is assumed.
"""

from dataclasses import dataclass

from config.experiments import Experiment
from config.settings import Settings
from preprocessing.corpora import all_datasets
from preprocessing.pipeline.matrices import matrices_name, matrices_ready, read_info

RATE, HOP = 16_000, 128  # Hz, samples: of spectrum_fast
NUM_BINS = 129
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Size:
    """Number of examples of a dataset, and where the number comes from."""

    num_examples: int
    is_assumed: bool
    reason: str


_DIGITS = Size(10_000, False, "1,000 clips of each of ten words")
_EMOTIONS = Size(7_500, True, "four emotions of IEMOCAP in pieces of 4 s")
_SOUNDS = Size(5_000, True, "five classes of Good-Sounds, each as large as the smallest")
SIZES = {
    "gsc_randsplit": _DIGITS,
    "gsc_noisy_randsplit": _DIGITS,
    "gsc_noisy_more_randsplit": _DIGITS,
    "gsc_confounded_speakersplit": _DIGITS,
    "iemocap_randsplit": _EMOTIONS,
    "iemocap_actorsplit": _EMOTIONS,
    "goodsounds_randsplit": _SOUNDS,
    "goodsounds_instrumentsplit": _SOUNDS,
    # What extractors are trained on.
    "iemocap_speaker_randsplit": Size(15_000, True, "all of IEMOCAP in pieces of 4 s"),
    "iemocap_1sec_actorsplit": Size(20_000, True, "four emotions of IEMOCAP in pieces of 1 s"),
    "goodsounds_instrument_randsplit": Size(9_000, True, "the recordings of Good-Sounds"),
    "noisyspeech_randsplit": Size(72_000, False, "at most: 20 hours in pieces of 1 s"),
    "nsynth": Size(72_774, False, "notes of the three sets, 56,000 at most"),
    "librispeech": Size(750_000, True, "the 1,000 most frequent words of train-clean-100"),
}


@dataclass(frozen=True)
class Corpus:
    """What a dataset's matrices hold.

    Attributes:
        num_frames: of an example.
        is_assumed: whether the number of examples is.
    """

    name: str
    num_examples: int
    num_frames: int
    is_assumed: bool

    @property
    def num_bytes(self) -> int:
        """Of the predictors."""
        return self.num_examples * bytes_per_example(self.num_frames)


def bytes_per_example(num_frames: int) -> int:
    """Of a spectrum, float32."""
    return num_frames * NUM_BINS * FLOAT


def frames_of(seconds: float) -> int:
    """Frames of an example of spectrum_fast: 126 for 1 s, 501 for 4 s, 751 for 6 s."""
    return round(seconds * RATE) // HOP + 1


def corpus_of(dataset: str, settings: Settings) -> Corpus:
    """A dataset's size: of its matrices if they are there, else of the table."""
    num_frames = frames_of(all_datasets()[dataset].seconds(settings))
    name = matrices_name(dataset, settings.feature_extraction.features_type)
    folder = settings.preprocessing.output_folder
    if matrices_ready(folder, name):
        return Corpus(dataset, int(read_info(folder, name)["num_examples"]), num_frames, False)
    size = SIZES[dataset]
    return Corpus(dataset, size.num_examples, num_frames, size.is_assumed)


def corpus_of_experiment(experiment: Experiment) -> Corpus:
    """The size of what an experiment trains on."""
    return corpus_of(experiment.dataset, experiment.instances[0].settings)
