"""What at_dataset names: frozen networks, or features in their place, one class for each kind.

A new kind is one more class with the interface of FrozenSource, and an entry of KINDS; nothing else
knows which kinds there are. Torch is imported where a network is built.
"""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from config import advice
from config.advice import Missing
from config.errors import UserError
from config.experiments import Experiment
from config.fields import NAME
from config.fingerprints import fingerprint_of
from config.settings import Settings
from config.text import counted, display_path, nearest
from preprocessing.pipeline.matrices import Matrices
from training.models.description import guessing, is_at_chance, quality, read_description
from training.models.frozen_source import FrozenSource, Use
from training.models.weights import (
    DESCRIPTION_FILE,
    FOREIGN_WEIGHTS,
    WEIGHTS_FILE,
    load_weights,
    weights_at,
)
from training.similarity.aggregations import AGGREGATIONS, CHANNELS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from training.models.registry import Architecture
    from training.sweep.input_cache import InputCache

COLUMN = "column:"


class Untrained(FrozenSource):
    """random: a network like the one that is trained; random:NAME: one like another one."""

    pattern = rf"random(:{NAME.pattern})?"
    is_untrained = True
    words = "random (untrained: a control)"

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(settings, name)
        like = name.partition(":")[2]
        self.like = pretrained_of(settings, like) if like else None

    @staticmethod
    def known(_settings: Settings) -> list[str]:
        return ["random"]

    def missing(self, use: Use) -> Iterator[Missing]:
        if self.like and self.like.is_built_from_file:
            yield from self.like.missing(use)

    def fingerprints(self, inputs: "InputCache") -> dict[str, str]:
        like = self.like
        return {f"kind of {like.name}": like.kind_fingerprint(inputs)} if like else {}

    def is_like_trained(self, _inputs: "InputCache", /) -> bool:
        return self.like is None

    def load(
        self, _matrices: Matrices, _inputs: "InputCache", own: "Architecture", seed: int, /
    ) -> "nn.Module":
        from training.models.registry import build_network

        like = self.like
        return build_network(like.architecture(own.options["num_classes"]) if like else own, seed)


class Embedding(FrozenSource):
    """embedding:NAME: a vector for each clip, computed elsewhere."""

    pattern = f"embedding:{NAME.pattern}"
    has_layers = False

    @staticmethod
    def known(settings: Settings) -> list[str]:
        return [f"embedding:{name}" for name in settings.embeddings]

    @property
    def _file(self) -> Path:
        return self.settings.embeddings[self.name.partition(":")[2]].file

    def missing(self, use: Use) -> Iterator[Missing]:
        if self.name not in self.known(self.settings):
            raise _unknown(self, use.experiment)
        try:
            if use.matrices is not None:
                use.inputs.vectors(use.matrices.folder, use.matrices.name, self._file)
        except UserError as error:
            yield Missing(f"[{self.name.replace(':', ' ')}] {error}")

    def fingerprints(self, inputs: "InputCache") -> dict[str, str]:
        return {f"extractor {self.name}": inputs.file_fingerprint(self._file)}

    def describe(self, _matrices: Matrices, _inputs: "InputCache", /) -> str:
        return f"{self.name}: {display_path(self._file)}"

    def load(self, matrices: Matrices, inputs: "InputCache", *_: object) -> "Tensor":
        import torch

        return torch.from_numpy(inputs.vectors(matrices.folder, matrices.name, self._file))


class Column(FrozenSource):
    """column:NAME: the true values of a column of the matrices' index, in place of a guess."""

    pattern = rf"{COLUMN}{NAME.pattern}"
    has_layers = False

    @staticmethod
    def known(settings: Settings) -> list[str]:
        columns = (each.orthogonal for each in settings.datasets.values())
        return [f"{COLUMN}{name}" for name in dict.fromkeys(chain(*columns))]

    @property
    def column(self) -> str:
        """Its name in the index."""
        return self.name.removeprefix(COLUMN)

    @property
    def words(self) -> str:
        return f"the true {self.column} (an oracle)"

    def missing(self, use: Use) -> Iterator[Missing]:
        try:
            if use.matrices is not None:
                place = f"{display_path(use.experiment.file)}: [training_defaults] at_dataset"
                use.matrices.require_column(self.column, place)
        except UserError as error:
            yield Missing(str(error))

    def fingerprints(self, _inputs: "InputCache") -> dict[str, str]:
        return {}  # the data's own says it

    def load(self, matrices: Matrices, *_: object) -> "Tensor":
        """Return a feature for each value, (examples, values): 1 where the example has it."""
        import torch

        values = matrices.index[self.column].to_numpy(dtype=str)
        names = sorted({*values.tolist()} - {""})
        return torch.tensor(values[:, None] == names, dtype=torch.float32)


class Pretrained(FrozenSource):
    """NAME: a network with weights, which a training can start from, too.

    Attributes:
        is_built_from_file: whether it is its file that says what network it is.
        remedy: what to do about weights that cannot be used; empty: what made them can do it again.
    """

    pattern = NAME.pattern
    is_built_from_file: ClassVar[bool] = True
    remedy: ClassVar[str] = ""

    @staticmethod
    def known(settings: Settings) -> list[str]:
        foreign = [each.name for each in settings.networks.values() if each.weights]
        return [*settings.extractors, *foreign]

    @property
    @abstractmethod
    def weights(self) -> Path:
        """The file of its weights."""

    @abstractmethod
    def architecture(self, num_classes: int = 0) -> "Architecture":
        """Return what it is built from; num_classes: of one that is declared without.

        Raises:
            UserError: it is missing, or nothing declares its network.
        """

    @abstractmethod
    def kind_fingerprint(self, inputs: "InputCache") -> str:
        """Identify what it is built from, whatever its weights."""

    def load(self, *_: object) -> "nn.Module":
        """Build it with the weights of its file.

        Raises:
            UserError: it is missing, or its weights do not fit its architecture.
        """
        from training.models.loading import load_whole
        from training.models.registry import build_network

        network = build_network(self.architecture(), seed=0)
        load_whole(network, load_weights(self.weights, self.remedy), display_path(self.weights))
        return network


class ForeignNetwork(Pretrained):
    """A [network NAME] with weights that somebody else trained."""

    is_built_from_file = False
    remedy = FOREIGN_WEIGHTS

    def __init__(self, settings: Settings, name: str) -> None:
        super().__init__(settings, name)
        self.network = settings.networks[name]

    @property
    def weights(self) -> Path:
        if self.network.weights is None:
            problem = "has no weights, so it is no frozen network"
            raise UserError(f"{self.network.place}: {problem}; set weights = FILE and num_classes")
        return self.network.weights

    def missing(self, _: Use) -> Iterator[Missing]:
        try:
            if not self.weights.is_file():
                where = f"{self.network.place} weights = {display_path(self.weights)}"
                yield Missing(f"{where}: no such file; write where it lies")
        except UserError as error:
            yield Missing(str(error))

    def fingerprints(self, inputs: "InputCache") -> dict[str, str]:
        parts = [self.network.description, inputs.file_fingerprint(self.weights)]
        return {f"extractor {self.name}": fingerprint_of(parts)}

    def kind_fingerprint(self, _inputs: "InputCache") -> str:
        return fingerprint_of([self.network.description, self.network.num_classes])

    def describe(self, _matrices: Matrices, _inputs: "InputCache", /) -> str:
        return f"network {self.name}: {display_path(self.weights)}, trained elsewhere"

    def architecture(self, num_classes: int = 0) -> "Architecture":
        from training.models.registry import architecture_of

        return architecture_of(self.network, self.network.num_classes or num_classes, width=None)


class Extractor(Pretrained):
    """An [extractor NAME], which pretraining/pretrain.py trains."""

    @property
    def words(self) -> str:
        declared = self.settings.extractors.get(self.name)
        return f"{declared.task} ({self.name})" if declared else self.name

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.settings.extractor_folder(self.name)

    @property
    def weights(self) -> Path:
        return weights_at(self.folder / WEIGHTS_FILE)

    def missing(self, use: Use) -> Iterator[Missing]:
        if self.name not in self.settings.extractors:
            raise _unknown(self, use.experiment)
        command = advice.on_gpu(self.settings.extractors[self.name].command)
        try:
            description = use.inputs.description(self.folder)
        except UserError as error:
            yield Missing(str(error), advice.beforehand(command, self.settings))
            return
        place = display_path(self.folder)
        if problem := self._difference(description):
            again = advice.beforehand(f"{command} --overwrite", self.settings)
            yield Missing(f"{place}: {problem}", again)
        elif is_at_chance(description) and not use.force:
            problem = f"{place}: is at chance level ({quality(description)}); --force uses it"
            problem += f"; {guessing(description)}"
            yield Missing(problem, advice.run_again(use.experiment.id, (), "--force"))

    def _difference(self, description: Mapping[str, Any]) -> str:
        """Say in what it differs from what a run needs; empty: in nothing."""
        settings, training = self.settings, self.settings.training_defaults
        architecture = description["architecture"]
        is_alike = architecture["network"] == training.network
        is_start = self.name == training.source_extractor
        if is_start and not is_alike:
            raise UserError(
                f"at_pretraining = {self.name}: is a {architecture['network']}, and this run's "
                f"network is {training.network}; declare an [extractor NAME] with network = "
                f"{training.network}"
            )
        needs_channels = is_start or CHANNELS in AGGREGATIONS[training.at_aggregation].equal
        width = training.width if is_alike and needs_channels else None
        features = settings.feature_extraction
        trained_on = description.get("plan", {}).get("features_type")
        compression = description.get("feature_extraction", {}).get("compression")
        for words, found, wanted in (
            ("has width {}", architecture.get("width"), width),
            ("was trained on {}", trained_on, features.features_type),
            ("was trained with compression = {}", compression, features.compression),
            ("was trained at {} Hz", description.get("sample_rate"), settings.sampling.sr_target),
        ):
            if None not in (found, wanted) and found != wanted:
                return f"{words.format(found)}, this run has {wanted}"
        return ""

    def fingerprints(self, inputs: "InputCache") -> dict[str, str]:
        return {f"extractor {self.name}": inputs.description(self.folder)["weights_fingerprint"]}

    def kind_fingerprint(self, inputs: "InputCache") -> str:
        return fingerprint_of(inputs.description(self.folder)["architecture"])

    def describe(self, matrices: Matrices, inputs: "InputCache", /) -> str:
        """Say how well it does its task, and how many clips of the test set it was trained on."""
        accuracy = f"extractor {self.name}: {quality(inputs.description(self.folder))}"
        trained_on = inputs.training_audio(self.folder)
        if trained_on is None:
            return f"{accuracy}; what it was trained on is not known"
        training = self.settings.training_defaults
        split = training.fractions, training.num_folds
        test = inputs.test_audio(matrices.folder, matrices.name, *split)
        of_test = f"{len(test & trained_on)} of the {counted(len(test), 'test clip')}"
        return f"{accuracy}; trained on {of_test} of {matrices.name}"

    def is_like_trained(self, inputs: "InputCache", /) -> bool:
        architecture = inputs.description(self.folder)["architecture"]
        own = self.settings.training_defaults
        return (architecture["network"], architecture.get("width")) == (own.network, own.width)

    def architecture(self, _num_classes: int = 0) -> "Architecture":
        from training.models.registry import stored_architecture

        described = read_description(self.folder)["architecture"]
        place = display_path(self.folder / DESCRIPTION_FILE)
        return stored_architecture(self.settings.networks, described, place)


# A name is of the first kind whose pattern it has.
KINDS: tuple[type[FrozenSource], ...] = (Untrained, Embedding, Column, Pretrained)


def kind_of(name: str) -> type[FrozenSource]:
    """Return the kind that a name of at_dataset is of.

    Raises:
        ValueError: it is of none.
    """
    kind = next((each for each in KINDS if re.fullmatch(each.pattern, name)), None)
    if kind is None:
        raise ValueError("must be a name of letters, digits, - and _")
    return kind


def is_untrained(name: str) -> bool:
    """Tell whether a name of at_dataset is that of an untrained network."""
    return kind_of(name).is_untrained


def column_of(names: Sequence[str]) -> str | None:
    """Return the column that at_dataset names; None: what it names is no column alone."""
    columns = [name.removeprefix(COLUMN) for name in names if name.startswith(COLUMN)]
    return columns[0] if len(columns) == len(names) == 1 else None


def pretrained_of(settings: Settings, name: str) -> Pretrained:
    """Return the network with weights that a name stands for."""
    return (ForeignNetwork if name in settings.networks else Extractor)(settings, name)


def source_of(settings: Settings, name: str) -> FrozenSource:
    """Return what a name of at_dataset stands for."""
    kind = kind_of(name)
    return pretrained_of(settings, name) if kind is Pretrained else kind(settings, name)


def start_of(settings: Settings) -> Pretrained | None:
    """Return the network that at_pretraining names, if it names one."""
    name = settings.training_defaults.source_extractor
    return pretrained_of(settings, name) if name else None


def sources_of(settings: Settings) -> list[FrozenSource]:
    """Return what a training is pushed away from, and what it starts from; each once."""
    training = settings.training_defaults
    names = training.at_dataset if training.anti_transfer else ()
    start = [training.source_extractor] if training.source_extractor else []
    return [source_of(settings, name) for name in dict.fromkeys([*names, *start])]


def _unknown(source: FrozenSource, experiment: Experiment) -> UserError:
    """Return the error that nothing has a source's name."""
    name, settings = source.name, source.settings
    is_start = name == settings.training_defaults.source_extractor
    kinds = [Pretrained] if is_start else KINDS[::-1]
    known = [each for kind in kinds for each in kind.known(settings)]
    meant = next((each for each in known if each.endswith(f":{name}")), name)
    return UserError(
        f"{display_path(experiment.file)}: no extractor {name}{nearest(meant, known)}; "
        f"there are {', '.join(known)} "
        f"(see [training_defaults] {'at_pretraining' if is_start else 'at_dataset'})"
    )
