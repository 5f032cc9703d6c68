"""Which runs are finished: with a result that can be read, whole models, and today's settings."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from config.advice import run_again
from config.errors import UserError
from config.text import counted, display_path
from training.models.weights import is_whole
from training.results.dictionary import differences
from training.sweep.input_cache import InputCache
from training.sweep.inputs import input_fingerprints
from training.sweep.runs import Run
from training.sweep.search import with_chosen_settings


@dataclass(frozen=True)
class Status:
    """What is there of a run.

    Attributes:
        result: what is read of its JSON file; None: there is none, or it cannot be read.
        damage: why it cannot be read.
        different: settings and inputs that it was made with and that are others now.
        lost: models that are missing or cut off; training makes them again, nothing else does.
    """

    result: Mapping[str, Any] | None = None
    damage: str = ""
    different: str = ""
    lost: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.result is not None and not self.different and not self.lost

    @property
    def words(self) -> str:
        """Say what keeps a result from counting; empty if there is none, or if it counts."""
        if self.damage:
            return "damaged"
        if self.different:
            return "with other settings"
        return "without a whole model" if self.lost else ""


def status_of(run: Run, inputs: InputCache) -> Status:
    """Look at what is there of a run."""
    try:
        result = inputs.results.find(run.files.json_path)
    except UserError as error:
        return Status(damage=str(error))
    if result is None:
        return Status()
    # What is missing cannot be compared; runs that need it say so.
    wanted: Mapping[str, Any] = result["parameters"]
    found: Mapping[str, Any] = result["inputs"]
    with suppress(UserError):
        instance = with_chosen_settings(run, inputs.results).instance
        wanted = instance.parameters
        found = input_fingerprints(instance, inputs)
    different = "; ".join(differences(result, wanted, found))
    models = [run.files.model(int(key)) for key in result if key.isdecimal()]
    lost = tuple(path.name for path in models if not is_whole(path))
    return Status(result, "", different, lost)


def refusals(statuses: Mapping[Run, Status]) -> list[str]:
    """Say for each experiment and cause why results stand in the way, and what runs them again."""
    causes: dict[tuple[int, str], list[Run]] = {}
    for run, status in statuses.items():
        if status.damage or status.different:
            key = run.experiment.id, status.different or status.damage
            causes.setdefault(key, []).append(run)
    return [_refusal(runs, statuses[runs[0]]) for runs in causes.values()]


def refuse_unfit(statuses: Mapping[Run, Status]) -> None:
    """Make sure that no result stands in the way of a run.

    Raises:
        UserError: one is damaged, or was made with other settings or inputs; says how many are.
    """
    lines = refusals(statuses)
    if lines:
        more = f"; {counted(len(lines) - 1, 'other difference')}: see --list" if lines[1:] else ""
        raise UserError(f"{lines[0]}{more}")


def _refusal(runs: Sequence[Run], status: Status) -> str:
    if status.damage:
        return status.damage
    others = f" (and those of {counted(len(runs) - 1, 'other')})" if len(runs) > 1 else ""
    command = run_again(runs[0].experiment.id, [run.instance.number for run in runs], "--overwrite")
    return (
        f"{display_path(runs[0].files.json_path)}: was produced with different settings "
        f"({status.different}){others}; {command} runs {'them' if others else 'it'} again, "
        "--set results_folder=FOLDER keeps both"
    )
