"""[network NAME]: a network by the code that builds it, with weights that somebody else trained."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    ValidationInfo,
    model_validator,
)

from config.fields import (
    ContradictionError,
    Name,
    OptionalCount,
    OptionalDeclaredPath,
    Section,
)

# That of the paper, and of results that name none.
PUBLISHED_NETWORK, PUBLISHED_FACTORY = "vgg16", "training.models.vgg:VGG16"
# Of safetensors, and of what torch.save writes.
WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth")
FACTORY = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")


@dataclass(frozen=True)
class Factory:
    """What builds something, as package.module:name.

    Attributes:
        source: the file that names it, or --set.
        folder: of that file, where its module is looked for first.
    """

    source: str
    folder: Path
    module: str
    name: str

    @property
    def is_built_in(self) -> bool:
        """Whether its code is the project's own."""
        return self.module.startswith("training.models.")

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def _declared_factory(value: str, info: ValidationInfo) -> Factory:
    match = FACTORY.fullmatch(value)
    if not match:
        raise ValueError("must be package.module:name, as in mymodels:Cnn14")
    entry = (info.context or {})[info.field_name]
    return Factory(entry.source, entry.folder, match[1], match[2])


def _plain_value(text: str) -> bool | int | float | str | None:
    """Return the number, True, False or None that a text stands for, else the text itself."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _weights_file(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in WEIGHTS_SUFFIXES:
        raise ValueError(f"must be a file that ends in {', '.join(WEIGHTS_SUFFIXES)}")
    return path


class Network(Section):
    """A network that can be trained, and frozen if there are weights for it.

    factory: what builds it, a class or a function. It is called with num_classes, in_channels (1)
        and all further keys of the section, as numbers, True, False, None or text; with the run's
        width if it takes one that the section does not give.
    weights: of a network of this kind that was trained elsewhere.
    num_classes: outputs of that network.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_plain_value)]]

    name: Name
    factory: Annotated[Factory, BeforeValidator(_declared_factory)]
    weights: Annotated[OptionalDeclaredPath, AfterValidator(_weights_file)] = None
    num_classes: OptionalCount = None

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if "in_channels" in self.options:
            raise ContradictionError("in_channels", "is always 1, as of a spectrum; leave it out")
        if self.weights and self.num_classes is None:
            raise ContradictionError("weights", "needs num_classes, the outputs of that network")
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What the factory is given besides num_classes and in_channels."""
        return dict(self.model_extra or {})

    @property
    def is_published(self) -> bool:
        """Whether it is the paper's: results that name no network are of this one."""
        return (self.name, self.description) == (PUBLISHED_NETWORK, PUBLISHED_FACTORY)

    @property
    def place(self) -> str:
        """Where it is declared, for the message of an error."""
        return f"{self.factory.source} [network {self.name}]"

    @property
    def description(self) -> str:
        """Its factory and options: mymodels:Cnn14(depth=3)."""
        options = ", ".join(f"{key}={value!r}" for key, value in sorted(self.options.items()))
        return f"{self.factory}({options})" if options else str(self.factory)
