"""What an INI file declares by name: [dataset NAME], [extractor NAME], [network NAME] and
[embedding NAME].

Relative paths in a declaration start at the folder of the file that holds it.
"""

from typing import Any, Self

from pydantic import model_validator

from config.fields import (
    Columns,
    ContradictionError,
    Count,
    DeclaredPath,
    Name,
    OptionalDeclaredPath,
    OptionalName,
    Seconds,
    Section,
    Task,
)
from config.networks import Network

# In an extractor's folder: hashes of the audio that it was trained on, a line each.
TRAINING_AUDIO = "training_audio.txt"


class DatasetDeclaration(Section):
    """A corpus of the user's own, as a table or as a folder, prepared for one task.

    sequence_length: of an example, in s.
    manifest: a CSV file with a row for each clip, and the column path; start and end, if there
        are such columns, are the stretch of the file in s.
    folder: in place of a manifest; each of its folders holds the clips of one class.
    label: the column that is to be told: classes, or with task = regression numbers.
    group: the column of what must stay in one set together; empty: each clip is a group.
    split: the column that says the set of each clip, or its fold; empty: groups are divided.
    orthogonal: columns that the network should not depend on.
    confounder: the column whose value follows the class in training, but need not elsewhere.
    leave_out_silence: whether clips without a sample above 0.05 are left out.
    licence: of its audio, in one line.
    """

    name: Name
    sequence_length: Seconds
    manifest: OptionalDeclaredPath = None
    folder: OptionalDeclaredPath = None
    label: str = ""
    task: Task = "classification"
    group: str = ""
    split: str = ""
    orthogonal: Columns = ()
    confounder: str = ""
    leave_out_silence: bool = True
    licence: str = ""

    @property
    def decisive(self) -> dict[str, Any]:
        """What its matrices, wherever the clips lie, must have in common with a run."""
        others = {"name", "manifest", "folder", "orthogonal", "confounder", "licence"}
        return self.model_dump(mode="json", exclude=others)

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.manifest and self.folder:
            raise ContradictionError("folder", "manifest is given, too; only one of them can be")
        if not self.manifest and not self.folder:
            raise ContradictionError("manifest", "must be given, or folder in its place")
        if self.manifest and not self.label:
            raise ContradictionError("label", "must be the name of a column of the manifest")
        for key, columns in (("orthogonal", self.orthogonal), ("confounder", [self.confounder])):
            if self.label and self.label in columns:
                reason = f"{self.label} is the label, which the network is to tell; leave it out"
                raise ContradictionError(key, reason)
        if self.confounder and self.task == "regression":
            raise ContradictionError("confounder", "needs classes, which a regression has not")
        for key in ("label", "group", "split", "orthogonal", "confounder", "task"):
            if self.folder and getattr(self, key) not in ("", (), "classification"):
                reason = "needs a manifest; of a folder, its folders are the classes"
                raise ContradictionError(key, reason)
        return self


class Extractor(Section):
    """A network of an orthogonal task, to be trained by pretraining/pretrain.py.

    dataset: matrices that it is trained on.
    task: what it is to tell, in words; empty: its dataset's name.
    network: that is trained; None: the run's.
    num_epochs, patience, batch_size: of its training.
    random_offset: whether a training example shorter than the others stands at a random place in
        its padding, drawn anew each time, instead of at the start.
    folder: where its model lies; None: in [results] pretraining_folder.
    """

    name: Name
    dataset: Name
    task: str = ""
    network: OptionalName = None
    num_epochs: Count = 50
    patience: Count = 5
    batch_size: Count = 40
    random_offset: bool = False
    folder: OptionalDeclaredPath = None

    @model_validator(mode="before")
    @classmethod
    def _name_task(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "task": values.get("task") or values.get("dataset", "")}

    @property
    def command(self) -> str:
        """What a user types to train it."""
        return f"python pretraining/pretrain.py {self.name}"


class Embedding(Section):
    """A vector for each clip, computed elsewhere; at_dataset = embedding:NAME takes it.

    file: see training/data/embeddings.py.
    """

    name: Name
    file: DeclaredPath


# The first word of a section's name, the attribute of Settings, and what the section holds.
DECLARATIONS: dict[str, tuple[str, type[Section]]] = {
    "dataset": ("datasets", DatasetDeclaration),
    "extractor": ("extractors", Extractor),
    "network": ("networks", Network),
    "embedding": ("embeddings", Embedding),
}
