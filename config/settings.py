"""Everything a user can set, as typed, frozen sections; every range and choice is declared here.

config.ini holds the defaults and says what each key means; the classes hold neither.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from config.declarations import DatasetDeclaration, Embedding, Extractor
from config.fields import (
    EMPTY_IS_NONE,
    NAME,
    Betas,
    ContradictionError,
    Count,
    Folder,
    Fraction,
    LayerGroups,
    Name,
    NonNegative,
    OptionalCount,
    OptionalFolder,
    OptionalLayer,
    OptionalName,
    OptionalSeconds,
    Positive,
    PositiveFraction,
    Section,
    Seed,
    WindowSize,
    registered,
    split_layers,
    split_list,
)
from config.networks import PUBLISHED_NETWORK, Network
from config.released import convolutions_of
from training.methods.kinds import AT_METHODS, SIMILARITY
from training.similarity.aggregations import AGGREGATIONS, ALIASES, PAIRWISE_COSINE
from training.similarity.distances import known_pair

if TYPE_CHECKING:
    from training.models.frozen_source import FrozenSource

SOURCE_EXPERIMENT = re.compile(r"experiment ([0-9]{1,9})")


def _pretraining_source(value: str | None) -> str | None:
    if value == "random":
        raise ValueError("every training starts from random weights; leave it empty")
    if value and not NAME.fullmatch(value) and not SOURCE_EXPERIMENT.fullmatch(value):
        raise ValueError("must be the name of an extractor, or experiment and an ID: experiment 31")
    return value


def _frozen_kind(name: str) -> "type[FrozenSource]":
    # Not at the top: what a kind does is done with settings.
    from training.models.frozen import kind_of

    return kind_of(name)


def _cluster_address(value: str) -> str:
    if value in ("", "auto") or re.fullmatch(r"[\w.\-\[\]:]+:[0-9]{1,5}", value):
        return value
    raise ValueError("must be auto or HOST:PORT")


# The released code's word for none.
FALSE_IS_NONE = BeforeValidator(lambda value: None if value in ("", "False") else value)
FrozenNames = Annotated[
    tuple[Annotated[str, AfterValidator(lambda name: _frozen_kind(name) and name)], ...],
    BeforeValidator(lambda value: split_list(",", value)),
]
# Where a model lies is no property of a training: it is left out of its parameters.
ExtractorFolder = Annotated[OptionalFolder, Field(exclude=True)]


class FeatureExtraction(Section):
    features_type: Annotated[str, registered("preprocessing.pipeline.features", "FEATURES")]
    features_backend: Literal["cpu", "torchaudio"]
    compression: Literal["none", "power", "log"]
    log_floor: Annotated[float, Field(ge=1e-9, le=1)]
    sequence_length: OptionalSeconds
    sequence_overlap: PositiveFraction
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
    n_mels: Annotated[int, Field(ge=1, le=1000)]
    fmin_mel: NonNegative
    fmax_mel: Annotated[Positive | None, EMPTY_IS_NONE]
    power_mel: Annotated[float, Field(gt=0, le=4)]

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if self.fft_size < self.window_size:
            reason = f"must be at least window_size ({self.window_size})"
            raise ContradictionError("fft_size", reason)
        if self.fft_size_mfcc < self.window_size_mfcc:
            reason = f"must be at least window_size_mfcc ({self.window_size_mfcc})"
            raise ContradictionError("fft_size_mfcc", reason)
        return self


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
    input_gsc_v2_folder: OptionalFolder
    augmented_gsc_folder: Folder
    input_iemocap_folder: OptionalFolder
    input_good_sounds_folder: Annotated[OptionalFolder, Field(alias="input_good-sounds_folder")]
    input_librispeech_folder: OptionalFolder
    input_nsynth_folder: OptionalFolder
    output_folder: Folder
    seed: Seed
    items_per_class: Count
    total_hours: Annotated[float, Field(gt=0, le=10_000)]
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
    confounder: OptionalName
    confounder_strength: Annotated[Fraction | None, EMPTY_IS_NONE]
    shuffle_training_data: bool
    save_best_model_metric: Literal["val_loss", "val_task_loss", "val_acc", "val_uar"]
    early_stopping: bool
    patience: Count
    batch_size: Count
    num_epochs: Count
    regularization_lambda: NonNegative
    learning_rate: Annotated[float, Field(gt=0, le=1000)]
    choose_optimizer: Annotated[str, registered("training.engine.optimizers", "OPTIMIZERS")]
    seed: Seed
    network: Name
    width: Annotated[float, Field(ge=1 / 64, le=16)]
    precision: Literal["auto", "fp32", "bf16"]
    train_metrics: Literal["full", "running"]
    anti_transfer: bool
    at_method: Annotated[str, registered("training.methods.kinds", "AT_METHODS")]
    at_dataset: FrozenNames
    at_beta: Betas
    at_layer: LayerGroups
    at_frozen_layer: LayerGroups
    at_tap: Literal["output", "input"]
    at_aggregation: Annotated[
        str,
        BeforeValidator(lambda name: ALIASES.get(name, name)),
        registered("training.similarity.aggregations", "AGGREGATIONS"),
    ]
    at_distance: Annotated[str, registered("training.similarity.distances", "DISTANCES")]
    at_ramp: Fraction
    at_pretraining: Annotated[str | None, AfterValidator(_pretraining_source), FALSE_IS_NONE]
    at_librispeech_model_path: ExtractorFolder
    at_iemocap_model_path: ExtractorFolder
    at_iemocap_1sec_model_path: ExtractorFolder
    at_goodsounds_model_path: ExtractorFolder
    at_nsynth_model_path: ExtractorFolder
    at_noisyspeech_model_path: ExtractorFolder
    at_cache: Literal["auto", "off"]
    gradient_reversal_label: OptionalName
    gradient_reversal_layer: OptionalLayer
    gradient_reversal_weight: NonNegative
    gradient_reversal_conditional: bool
    torch_compile: bool
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"]

    @model_validator(mode="before")
    @classmethod
    def _read_released_distance(cls, values: Any) -> Any:
        keys = ("at_aggregation", "at_distance")
        pair = [values.get(key) for key in keys]
        if PAIRWISE_COSINE not in pair:
            return values
        try:
            return {**values, **dict(zip(keys, known_pair(*pair), strict=True))}
        except ValueError as error:
            raise ContradictionError(keys[pair.index(PAIRWISE_COSINE)], str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _read_feature_indices(cls, values: Any) -> Any:
        if values.get("network") != PUBLISHED_NETWORK:
            return values
        groups = split_layers(values.get("at_layer", ""))
        layers = [layer for group in groups for layer in group]
        try:
            convolutions = convolutions_of(layers, values.get("at_tap", ""))
        except ValueError as error:
            raise ContradictionError("at_layer", str(error)) from None
        if not convolutions:
            return values
        numbers = [[convolutions[layer] for layer in group] for group in groups]
        return {**values, "at_layer": "; ".join(map(", ".join, numbers))}

    @model_validator(mode="after")
    def _check_splits(self) -> Self:
        if abs(sum(self.fractions) - 1) > 1e-6:
            reason = "train_split, validation_split and test_split must add up to 1, not "
            raise ContradictionError("train_split", f"{reason}{sum(self.fractions):g}")
        if min(self.fractions) <= 0:
            raise ContradictionError("train_split", "no split may be 0")
        return self

    @model_validator(mode="after")
    def _check_confounder(self) -> Self:
        if (self.confounder is None) != (self.confounder_strength is None):
            empty = "confounder" if self.confounder is None else "confounder_strength"
            raise ContradictionError(empty, "confounder and confounder_strength belong together")
        return self

    @model_validator(mode="after")
    def _check_anti_transfer(self) -> Self:
        if not self.anti_transfer:
            return self
        method = AT_METHODS[self.at_method]
        if method.needs_knowledge and not self.at_dataset:
            raise ContradictionError("at_dataset", "anti_transfer = True needs an extractor here")
        if self.at_dataset and not method.needs_knowledge:
            reason = f"at_method = {self.at_method} uses no frozen network; leave it empty"
            raise ContradictionError("at_dataset", reason)
        trained = [name for name in self.at_dataset if not _frozen_kind(name).is_untrained]
        if len(set(trained)) < len(trained):
            raise ContradictionError(
                "at_dataset", "is given twice; give an extractor several layers"
            )
        for key in ("at_layer", "at_frozen_layer"):
            if getattr(self, key) and not method.reads(key):
                reason = f"at_method = {self.at_method} does not use it; leave it empty"
                raise ContradictionError(key, reason)
        for key in method.required:
            if not getattr(self, key) or not all(getattr(self, key)):
                raise ContradictionError(key, "anti_transfer = True needs a layer here")
        if self.at_method != SIMILARITY:
            if len(self.at_beta) > 1:
                reason = f"at_method = {self.at_method} has one weight for all of at_dataset"
                raise ContradictionError("at_beta", reason)
            return self
        return self._check_similarity()

    def _check_similarity(self) -> Self:
        """Check what the similarity reads; called by the validator, which has checked the rest."""
        networks = len(self.at_dataset)
        for key in ("at_layer", "at_frozen_layer", "at_beta"):
            if len(getattr(self, key)) not in (1, networks) and getattr(self, key):
                reason = f"must be one value for all, or {networks} separated by ; "
                raise ContradictionError(key, f"{reason}(one for each network of at_dataset)")
        groups = self.frozen_layers or ((),) * networks
        for name, layers, frozen in zip(self.at_dataset, self.layers, groups, strict=True):
            has_layers = _frozen_kind(name).has_layers
            if frozen and not has_layers:
                reason = f"{name} has no layers; leave its place between ; empty"
                raise ContradictionError("at_frozen_layer", reason)
            if frozen and len(frozen) != len(layers):
                raise ContradictionError("at_frozen_layer", "must name one for each of at_layer")
            if not has_layers and not AGGREGATIONS[self.at_aggregation].gives_features:
                reason = f"{name} has no layers; set at_aggregation = pool with at_distance = "
                raise ContradictionError("at_aggregation", f"{reason}cka_within_class")
        try:
            known_pair(self.at_aggregation, self.at_distance)
        except ValueError as error:
            raise ContradictionError("at_distance", str(error)) from None
        return self

    @model_validator(mode="after")
    def _check_gradient_reversal(self) -> Self:
        label, layer = self.gradient_reversal_label, self.gradient_reversal_layer
        for key, value, other in (("label", label, layer), ("layer", layer, label)):
            if value is None and other is not None:
                reason = "gradient_reversal_label and gradient_reversal_layer belong together"
                raise ContradictionError(f"gradient_reversal_{key}", reason)
        return self

    @property
    def layers(self) -> LayerGroups:
        """Those of the trained network, for each network of at_dataset."""
        return self.at_layer * (len(self.at_dataset) if len(self.at_layer) == 1 else 1)

    @property
    def frozen_layers(self) -> LayerGroups:
        """Those of each network of at_dataset, one for each of its `layers`; (): the usual."""
        groups = self.at_frozen_layer
        return groups * (len(self.at_dataset) if len(groups) == 1 else 1)

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


class Results(Section):
    results_folder: Folder
    figures_folder: Folder
    pretraining_folder: Folder
    report_metric: Annotated[
        str,
        BeforeValidator(str.lower),
        registered("training.results.metric", "METRICS"),
    ]


class Cluster(Section):
    """Where work runs; nothing here changes what comes out of it."""

    launcher: Annotated[str, registered("training.sweep.launchers", "LAUNCHERS")]
    address: Annotated[str, AfterValidator(_cluster_address)]
    gpus_per_run: PositiveFraction
    cpus_per_run: Annotated[int, Field(ge=1, le=4096)]


class Settings(Section):
    """Everything a user can set, checked. Attributes are the sections of config.ini."""

    feature_extraction: FeatureExtraction
    sampling: Sampling
    pretraining: Pretraining
    preprocessing: Preprocessing
    training_defaults: TrainingDefaults
    results: Results
    cluster: Cluster
    datasets: dict[str, DatasetDeclaration]
    extractors: dict[str, Extractor]
    networks: dict[str, Network]
    embeddings: dict[str, Embedding]

    @property
    def trained_network(self) -> Network:
        """The network that is trained."""
        return self.networks[self.training_defaults.network]

    def extractor_folder(self, extractor: str) -> Path:
        """Return where an extractor's model lies, or will lie."""
        chosen = getattr(self.training_defaults, f"at_{extractor}_model_path", None)
        declared = self.extractors[extractor].folder if extractor in self.extractors else None
        return chosen or declared or self.results.pretraining_folder / extractor


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
