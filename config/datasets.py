"""[dataset NAME]: a corpus of the user's own, as a table or as a folder."""

from typing import Any, Self

from pydantic import model_validator

from config.fields import (
    Columns,
    ContradictionError,
    Name,
    OptionalDeclaredPath,
    Seconds,
    Section,
    Task,
)


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
    leave_out_silence: whether clips without a sample above 0.05 are left out.
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
    leave_out_silence: bool = True

    @property
    def decisive(self) -> dict[str, Any]:
        """What its matrices, wherever the clips lie, must have in common with a run."""
        return self.model_dump(mode="json", exclude={"name", "manifest", "folder", "orthogonal"})

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.manifest and self.folder:
            raise ContradictionError("folder", "manifest is given, too; only one of them can be")
        if not self.manifest and not self.folder:
            raise ContradictionError("manifest", "must be given, or folder in its place")
        if self.manifest and not self.label:
            raise ContradictionError("label", "must be the name of a column of the manifest")
        for key in ("label", "group", "split", "orthogonal", "task"):
            if self.folder and getattr(self, key) not in ("", (), "classification"):
                reason = "needs a manifest; of a folder, its folders are the classes"
                raise ContradictionError(key, reason)
        return self
