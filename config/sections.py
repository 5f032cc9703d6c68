"""The sections of config.ini as typed, frozen classes; every range and choice is declared here.

config.ini holds every default; the classes hold none.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from config.text import CONTROL_CHARACTER, PROJECT_FOLDER

NUM_CONVOLUTIONS = 13
MUL_COMP_EXPONENTS = (0.001, 0.005, 0.01, 0.05, 0.1)
AGGREGATIONS = (
    "gram",
    "gram_batch",
    "mean",
    "sum",
    "max",
    "mul",
    *(f"mul_comp_{exponent}" for exponent in MUL_COMP_EXPONENTS),
    "none",
    "pairwise",
    "stochastic_pairwise",
    "pool",
)
# The two halves of the experimental similarity; neither means anything without the other.
POOL, WITHIN_CLASS = "pool", "cka_within_class"
# As at_dataset: a frozen network whose weights nothing trained, the control.
RANDOM = "random"
EXTRACTOR_PATH_KEY = re.compile(r"at_(?P<name>\w+)_model_path")
SOURCE_EXPERIMENT = re.compile(r"experiment ([0-9]{1,9})")


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _project_path(value: Path) -> Path:
    if CONTROL_CHARACTER.search(str(value)):
        raise ValueError("a path must not hold NUL or another control character")
    try:
        return PROJECT_FOLDER / value.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {value.parts[0].removeprefix('~')}") from None


def _split_list(value: Any, separator: str) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(separator)) if value.strip() else ()
    return value if isinstance(value, Sequence) else (value,)


def _split_layers(value: Any) -> Any:
    """'3, 5; 13' -> (('3', '5'), ('13',)), one group for each frozen network."""
    return tuple(_split_list(group, ",") for group in _split_list(value, ";"))


def _known_aggregation(value: str) -> str:
    if value not in AGGREGATIONS:
        raise ValueError(f"must be one of {', '.join(AGGREGATIONS)}")
    return value


def _known_features_type(value: str) -> str:
    names = features_types()
    if value not in names:
        raise ValueError(f"must be one of {', '.join(names)}")
    return value


def features_types() -> tuple[str, ...]:
    """Return the names of the registered feature types; the libraries behind them are not read."""
    from preprocessing.pipeline.features import FEATURES

    return tuple(FEATURES)


def _clean_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("must be a name of letters, digits, - and _")
    return value


def _pretraining_source(value: str | None) -> str | None:
    if value is None or SOURCE_EXPERIMENT.fullmatch(value):
        return value
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("must be the name of an extractor, or 'experiment' and its ID")
    return value


def _cluster_address(value: str) -> str:
    if value in ("", "auto") or re.fullmatch(r"[\w.\-\[\]:]+:[0-9]{1,5}", value):
        return value
    raise ValueError("must be auto or HOST:PORT")


Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
WindowSize = Annotated[int, Field(ge=16, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Folder = Annotated[Path, AfterValidator(_project_path)]
OptionalFolder = Annotated[
    Annotated[Path, AfterValidator(_project_path)] | None, BeforeValidator(_empty_is_none)
]
OptionalSeconds = Annotated[Seconds | None, BeforeValidator(_empty_is_none)]
OptionalCount = Annotated[Count | None, BeforeValidator(_empty_is_none)]
Layer = Annotated[int, Field(ge=1, le=NUM_CONVOLUTIONS)]
Names = Annotated[
    tuple[Annotated[str, AfterValidator(_clean_name)], ...],
    BeforeValidator(lambda value: _split_list(value, ",")),
]
Betas = Annotated[tuple[NonNegative, ...], BeforeValidator(lambda value: _split_list(value, ";"))]
OptionalLayer = Annotated[Layer | None, BeforeValidator(_empty_is_none)]
OptionalName = Annotated[
    Annotated[str, AfterValidator(_clean_name)] | None, BeforeValidator(_empty_is_none)
]
LayerGroups = Annotated[tuple[tuple[Layer, ...], ...], BeforeValidator(_split_layers)]


class Section(BaseModel):
    """One section: every key must be known and valid, and none can be changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FeatureExtraction(Section):
    features_type: Annotated[str, AfterValidator(_known_features_type)]
    features_backend: Literal["cpu", "torchaudio"]
    power_law_compression: bool
    sequence_length: OptionalSeconds
    sequence_overlap: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    segmentation: bool
    augmentation: bool
    num_aug_samples: Annotated[int, Field(ge=1, le=1000)]
    normalization: bool
    window_size: WindowSize
    fft_size: WindowSize
    hop_size_stft: Count
    window_type: Literal["hann", "hamming", "blackman", "boxcar"]
    hop_size_cqt: Count
    bins_per_octave: Count
    n_bins: Count
    fmin: Positive
    window_size_mfcc: WindowSize
    fft_size_mfcc: WindowSize
    hop_size_mfcc: Count
    window_type_mfcc: Literal["hann", "hamming", "blackmanharris62", "triangular", "square"]
    n_mfcc: Count
    hop_size_mel: Count
    fft_size_mel: WindowSize


class Sampling(Section):
    sr_target: Annotated[int, Field(ge=1000, le=384_000)]


class Pretraining(Section):
    num_classes_librispeech: Annotated[int, Field(ge=2, le=1_000_000)]
    sequence_length: OptionalSeconds
    extractor_num_epochs: OptionalCount
    extractor_patience: OptionalCount
    extractor_batch_size: OptionalCount


class Preprocessing(Section):
    input_noisyspeech_repo: OptionalFolder
    generated_noisyspeech_folder: Folder
    input_gsc_raw_folder: OptionalFolder
    augmented_gsc_folder: Folder
    input_iemocap_folder: OptionalFolder
    input_good_sounds_folder: Annotated[OptionalFolder, Field(alias="input_good-sounds_folder")]
    input_librispeech_folder: OptionalFolder
    input_nsynth_folder: OptionalFolder
    output_folder: Folder
    seed: Seed
    items_per_class: Count
    total_hours: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
    snr_convention: Literal["ms_snsd", "decibel"]
    confounding: Fraction
    speaker_label: Literal["actor", "session"]
    workers: Annotated[int, Field(ge=0, le=4096)]
    max_skipped_fraction: Fraction


class TrainingDefaults(Section):
    train_split: Fraction
    validation_split: Fraction
    test_split: Fraction
    num_folds: Annotated[int, Field(ge=1, le=1000)]
    shuffle_training_data: bool
    save_best_model_metric: Literal["val_loss", "val_task_loss", "val_acc"]
    early_stopping: bool
    patience: Count
    batch_size: Count
    num_epochs: Count
    regularization_lambda: NonNegative
    learning_rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
    choose_optimizer: Literal["adam", "adamw", "sgd", "rmsprop"]
    seed: Seed
    width: Annotated[float, Field(ge=1 / 64, le=16, allow_inf_nan=False)]
    precision: Literal["auto", "fp32", "bf16"]
    train_metrics: Literal["full", "running"]
    anti_transfer: bool
    at_dataset: Names
    at_beta: Betas
    at_layer: LayerGroups
    at_tap: Literal["output", "input"]
    at_aggregation: Annotated[str, AfterValidator(_known_aggregation)]
    at_distance: Literal["cos_squared", "mse_sigmoid", "mse_sigmoid_invorder", "cka_within_class"]
    at_ramp: Fraction
    at_pretraining: Annotated[
        str | None, BeforeValidator(_empty_is_none), AfterValidator(_pretraining_source)
    ]
    at_cache: Literal["auto", "disk", "off"]
    gradient_reversal_label: OptionalName
    gradient_reversal_layer: OptionalLayer
    gradient_reversal_weight: NonNegative
    torch_compile: bool
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"]
    extractor_paths: dict[str, OptionalFolder]

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Train, validation and test."""
        return self.train_split, self.validation_split, self.test_split

    @property
    def source_experiment(self) -> int | None:
        """ID of the experiment whose best run at_pretraining names."""
        match = SOURCE_EXPERIMENT.fullmatch(self.at_pretraining or "")
        return int(match[1]) if match else None

    @property
    def source_extractor(self) -> str | None:
        """The extractor that at_pretraining names."""
        return self.at_pretraining if self.source_experiment is None else None

    @property
    def extractors(self) -> tuple[str, ...]:
        """What the training reads: the networks it is pushed away from, and that it starts from."""
        names = self.at_dataset if self.anti_transfer else ()
        frozen = tuple(name for name in names if name != RANDOM)
        return frozen if self.source_extractor is None else (*frozen, self.source_extractor)


class Results(Section):
    results_folder: Folder
    figures_folder: Folder
    pretraining_folder: Folder
    cache_folder: Folder


class Cluster(Section):
    """Where work runs; nothing here changes what comes out of it."""

    launcher: Literal["local", "ray"]
    address: Annotated[str, AfterValidator(_cluster_address)]
    gpus_per_run: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    cpus_per_run: Annotated[int, Field(ge=1, le=4096)]
    send_results: Literal["auto", "always"]


class Settings(Section):
    """Everything a user can set, checked. Attributes are the sections of config.ini."""

    feature_extraction: FeatureExtraction
    sampling: Sampling
    pretraining: Pretraining
    preprocessing: Preprocessing
    training_defaults: TrainingDefaults
    results: Results
    cluster: Cluster

    def extractor_folder(self, extractor: str) -> Path:
        """Where an extractor's model lies, or will lie."""
        chosen = self.training_defaults.extractor_paths.get(extractor)
        return chosen or self.results.pretraining_folder / extractor


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type)
}
