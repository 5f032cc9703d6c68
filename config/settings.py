"""INI files and --set arguments become typed, frozen settings, one class per section.

config.ini holds every default; the classes below hold none. A value carries the place it came from,
so that an error can name it.
"""

import configparser
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from config.errors import ConfigError

PROJECT_FOLDER = Path(__file__).resolve().parent.parent
DEFAULTS_FILE = PROJECT_FOLDER / "config" / "config.ini"
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
)
EXTRACTOR_PATH_KEY = re.compile(r"at_(?P<name>\w+)_model_path")
NUM_LONGEST_VALUE = 80


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _project_path(value: Path) -> Path:
    if "\0" in str(value):
        raise ValueError("a path must not hold a NUL character")
    return PROJECT_FOLDER / value.expanduser()


def _optional_path(value: Any) -> Any:
    return None if value == "" else value


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


def _clean_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("must be a name of letters, digits, - and _")
    return value


def _pretraining_source(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"experiment \d+|[A-Za-z0-9_-]+", value):
        raise ValueError("must be the name of an extractor, or 'experiment' and its ID")
    return value


Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
WindowSize = Annotated[int, Field(ge=16, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Folder = Annotated[Path, AfterValidator(_project_path)]
OptionalFolder = Annotated[
    Annotated[Path, AfterValidator(_project_path)] | None, BeforeValidator(_optional_path)
]
OptionalSeconds = Annotated[Seconds | None, BeforeValidator(_empty_is_none)]
OptionalCount = Annotated[Count | None, BeforeValidator(_empty_is_none)]
Layer = Annotated[int, Field(ge=1, le=NUM_CONVOLUTIONS)]
Names = Annotated[
    tuple[Annotated[str, AfterValidator(_clean_name)], ...],
    BeforeValidator(lambda value: _split_list(value, ",")),
]
Betas = Annotated[tuple[NonNegative, ...], BeforeValidator(lambda value: _split_list(value, ";"))]
LayerGroups = Annotated[tuple[tuple[Layer, ...], ...], BeforeValidator(_split_layers)]


class Section(BaseModel):
    """One section: every key must be known and valid, and none can be changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FeatureExtraction(Section):
    features_type: Literal["spectrum_fast", "stft", "cqt", "mel", "mfcc"]
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
    total_hours: Positive
    snr_convention: Literal["ms_snsd", "decibel"]
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
    at_distance: Literal["cos_squared", "mse_sigmoid", "mse_sigmoid_invorder"]
    at_pretraining: Annotated[
        str | None, BeforeValidator(_empty_is_none), AfterValidator(_pretraining_source)
    ]
    tracker: Literal["none", "tensorboard", "wandb", "mlflow"]
    extractor_paths: dict[str, OptionalFolder]

    @property
    def fractions(self) -> tuple[float, float, float]:
        """Train, validation and test."""
        return self.train_split, self.validation_split, self.test_split


class Results(Section):
    results_folder: Folder
    figures_folder: Folder
    pretraining_folder: Folder


class Settings(Section):
    """Everything a user can set, checked. Attributes are the sections of config.ini."""

    feature_extraction: FeatureExtraction
    sampling: Sampling
    pretraining: Pretraining
    preprocessing: Preprocessing
    training_defaults: TrainingDefaults
    results: Results

    def extractor_folder(self, extractor: str) -> Path:
        """Where an extractor's model lies, or will lie."""
        chosen = self.training_defaults.extractor_paths.get(extractor)
        return chosen or self.results.pretraining_folder / extractor


FEATURES_TYPES: tuple[str, ...] = get_args(
    FeatureExtraction.model_fields["features_type"].annotation
)
SECTIONS: dict[str, type[Section]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type)
}
DEFAULT_PREFERENCE = ("training_defaults", "pretraining")


@dataclass(frozen=True)
class Entry:
    """A value as it was written, and where."""

    text: str
    source: str


class Layers:
    """Values of all sections, later ones over earlier ones, each with its source."""

    def __init__(self, entries: Mapping[tuple[str, str], Entry] | None = None) -> None:
        self.entries: dict[tuple[str, str], Entry] = dict(entries or {})

    @classmethod
    def from_defaults(cls) -> Self:
        """The layer that every other one lies on: config.ini.

        Raises:
            ConfigError: it holds a section or a key that no setting belongs to.
        """
        layers = cls()
        source = display_path(DEFAULTS_FILE)
        for section, values in read_ini(DEFAULTS_FILE).items():
            if section not in SECTIONS:
                raise _no_such_section(source, section)
            known = _keys_of(SECTIONS[section])
            for key, value in values.items():
                is_path = "extractor_paths" in known and EXTRACTOR_PATH_KEY.fullmatch(key)
                if not is_path and (key not in known or key == "extractor_paths"):
                    raise _no_such_key(source, section, key, known)
                layers.entries[section, key] = Entry(value, source)
        return layers

    def with_section(self, source: str, section: str, values: Mapping[str, str]) -> "Layers":
        """A copy with one section's values on top.

        Raises:
            ConfigError: the section or a key is not one of config.ini.
        """
        if section not in SECTIONS:
            raise _no_such_section(source, section)
        layers = Layers(self.entries)
        for key, value in values.items():
            if (section, key) not in layers.entries:
                raise _no_such_key(source, section, key, self._keys(section))
            layers.entries[section, key] = Entry(value, source)
        return layers

    def with_file(self, path: Path) -> "Layers":
        """A copy with the values of an INI file on top."""
        layers = self
        for section, values in read_ini(path).items():
            layers = layers.with_section(display_path(path), section, values)
        return layers

    def with_overrides(
        self, overrides: Mapping[str, Any], prefer: Sequence[str] = DEFAULT_PREFERENCE
    ) -> "Layers":
        """A copy with --set values on top; a key alone is looked up in all sections."""
        layers = self
        for name, value in overrides.items():
            section, key = self._locate(name.strip(), prefer)
            text = "" if value is None else str(value).strip()
            source = printable(f"--set {name}={_shortened(text)}")
            layers = layers.with_section(source, section, {key: text})
        return layers

    def _keys(self, section: str) -> list[str]:
        return [key for owner, key in self.entries if owner == section]

    def _locate(self, name: str, prefer: Sequence[str]) -> tuple[str, str]:
        section, dot, key = name.partition(".")
        if dot:
            return section, key
        owners = [owner for owner, key in self.entries if key == name]
        preferred = [owner for owner in prefer if owner in owners]
        if preferred:
            return preferred[0], name
        if not owners:
            raise ConfigError(
                f"--set {name}: no such key{hint(name, [key for _, key in self.entries])}"
            )
        if len(owners) > 1:
            places = " or ".join(f"{owner}.{name}" for owner in owners)
            raise ConfigError(f"--set {name}: several sections have this key; write {places}")
        return owners[0], name

    def settings(self) -> Settings:
        """Check every value and freeze them.

        Raises:
            ConfigError: a value is of the wrong type, out of range, or contradicts another.
        """
        sections = {name: self._section(name, model) for name, model in SECTIONS.items()}
        settings = Settings.model_validate(sections)
        self._check_splits(settings.training_defaults)
        self._check_windows(settings.feature_extraction)
        self._check_anti_transfer(settings.training_defaults)
        return settings

    def _section(self, name: str, model: type[Section]) -> Section:
        values: dict[str, Any] = {}
        for (section, key), entry in self.entries.items():
            match = EXTRACTOR_PATH_KEY.fullmatch(key)
            if section == name and match:
                values.setdefault("extractor_paths", {})[match["name"]] = entry.text
            elif section == name:
                values[key] = entry.text
        try:
            return model.model_validate(values)
        except ValidationError as error:
            raise self._explain(name, model, error) from None

    def _explain(self, section: str, model: type[Section], error: ValidationError) -> ConfigError:
        problem = error.errors()[0]
        key = str(problem["loc"][0])
        if key == "extractor_paths":
            key = f"at_{problem['loc'][1]}_model_path"
        entry = self.entries.get((section, key), Entry("", display_path(DEFAULTS_FILE)))
        reason = str(problem["msg"]).removeprefix("Value error, ")
        reason = reason.replace("Input should be", "must be")
        if problem["type"].startswith("bool"):
            reason = "must be True or False"
        near = difflib.get_close_matches(entry.text.lower(), _literal_choices(model, key), n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        return self.error(section, key, reason + suggestion)

    def error(self, section: str, key: str, reason: str) -> ConfigError:
        """An error that names the place a value came from, the value, and what is wrong with it."""
        entry = self.entries.get((section, key))
        if entry is None:
            return ConfigError(f"{display_path(DEFAULTS_FILE)} [{section}] {key}: {reason}")
        found = printable(_shortened(entry.text))
        return ConfigError(f"{entry.source} [{section}] {key} = {found}: {reason}")

    def _check_splits(self, training: TrainingDefaults) -> None:
        if abs(sum(training.fractions) - 1) > 1e-6:
            raise self.error(
                "training_defaults",
                "train_split",
                "train_split, validation_split and test_split must add up to 1, "
                f"not {sum(training.fractions):g}",
            )
        if min(training.fractions) <= 0:
            raise self.error("training_defaults", "train_split", "no split may be 0")

    def _check_windows(self, features: FeatureExtraction) -> None:
        for fft_key, window_key in (
            ("fft_size", "window_size"),
            ("fft_size_mfcc", "window_size_mfcc"),
        ):
            if getattr(features, fft_key) < getattr(features, window_key):
                raise self.error(
                    "feature_extraction",
                    fft_key,
                    f"must be at least {window_key} ({getattr(features, window_key)})",
                )

    def _check_anti_transfer(self, training: TrainingDefaults) -> None:
        section, networks = "training_defaults", len(training.at_dataset)
        if not training.anti_transfer:
            return
        if not training.at_dataset:
            raise self.error(section, "at_dataset", "anti_transfer = True needs an extractor here")
        if not training.at_layer or not all(training.at_layer):
            raise self.error(section, "at_layer", "anti_transfer = True needs a convolution, 1-13")
        for key in ("at_layer", "at_beta"):
            groups = getattr(training, key)
            if len(groups) not in (1, networks):
                raise self.error(
                    section,
                    key,
                    f"must be one value for all, or {networks} separated by ; "
                    "(one for each network of at_dataset)",
                )


def _literal_choices(model: type[Section], key: str) -> list[str]:
    field = model.model_fields.get(key)
    if field is None:
        return []
    if key == "at_aggregation":
        return list(AGGREGATIONS)
    return [
        choice for choice in getattr(field.annotation, "__args__", ()) if isinstance(choice, str)
    ]


def _keys_of(model: type[Section]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _no_such_section(source: str, section: str) -> ConfigError:
    return ConfigError(f"{source} [{printable(section)}]: no such section{hint(section, SECTIONS)}")


def _no_such_key(source: str, section: str, key: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(f"{source} [{section}] {printable(key)}: no such key{hint(key, known)}")


def _shortened(text: str) -> str:
    return text if len(text) <= NUM_LONGEST_VALUE else text[: NUM_LONGEST_VALUE - 3] + "..."


def printable(text: str) -> str:
    """The text on one line, control characters escaped."""
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def hint(name: str, known: Iterable[str]) -> str:
    """'; did you mean X?', or what there is to choose from."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower(), names, n=1)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; allowed: {', '.join(names)}" if len(names) <= 16 else ""


def display_path(path: Path) -> str:
    """The path as a person would type it in the project's folder."""
    try:
        return str(path.resolve().relative_to(PROJECT_FOLDER))
    except ValueError:
        return str(path)


def read_ini(path: Path) -> dict[str, dict[str, str]]:
    """An INI file as {section: {key: text}}, keys as written.

    Raises:
        ConfigError: the file is missing, is no UTF-8 text, or is no INI file.
    """
    parser = configparser.RawConfigParser(
        comment_prefixes=("#", ";"), default_section="\0", empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    name = printable(display_path(path))
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=name)
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8 text") from None
    except ValueError as error:
        raise ConfigError(f"{name}: {printable(str(error))}") from None
    except configparser.Error as error:
        raise ConfigError(f"{name}: {_ini_problem(error)}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _ini_problem(error: configparser.Error) -> str:
    line = getattr(error, "lineno", None)
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {line}: section [{printable(error.section)}] stands twice"
    if isinstance(error, configparser.DuplicateOptionError):
        place = f"[{printable(error.section)}] {printable(error.option)}"
        return f"line {line}: {place} stands twice"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {line}: a [section] must come before {printable(error.line.strip())}"
    if isinstance(error, configparser.ParsingError) and error.errors:
        line, text = error.errors[0]
        return f"line {line}: is neither [section] nor key = value: {printable(text)}"
    return printable(str(error))


def base_layers(*files: str | Path) -> Layers:
    """config.ini with further INI files on top."""
    layers = Layers.from_defaults()
    for file in files:
        layers = layers.with_file(Path(file))
    return layers


def parse_overrides(overrides: Mapping[str, Any] | Iterable[str] | None) -> dict[str, Any]:
    """--set arguments (key=value) as a mapping; a mapping stays what it is.

    Raises:
        ConfigError: an argument holds no '='.
    """
    if overrides is None:
        return {}
    if isinstance(overrides, Mapping):
        return dict(overrides)
    parsed = {}
    for argument in overrides:
        name, equals, value = argument.partition("=")
        if not equals or not name.strip():
            raise ConfigError(
                f"--set {printable(argument)}: must be key=value or section.key=value"
            )
        parsed[printable(name)] = value
    return parsed


def load_settings(
    *files: str | Path,
    overrides: Mapping[str, Any] | Iterable[str] | None = None,
    prefer: Sequence[str] = DEFAULT_PREFERENCE,
) -> Settings:
    """config.ini, then the given INI files, then overrides; checked and frozen.

    Args:
        files: INI files that hold only what differs from config.ini; later ones win.
        overrides: {"key": value} or {"section.key": value}, or a list of "key=value".
        prefer: sections that a key without a section belongs to, if several have it.

    Raises:
        ConfigError: in one line, the file, section, key and value that is not allowed, and what is.
    """
    layers = base_layers(*files)
    return layers.with_overrides(parse_overrides(overrides), prefer).settings()
