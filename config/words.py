"""The words of commands that work on experiments: '[20, 21] 0 1 13' is IDs, GPU, first, last.

GPU may be several, as in '[20, 21] 0,1,2,3'.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import UserError
from config.experiments import Experiment, Instance
from config.settings import PROJECT_FOLDER, printable

EXPERIMENTS_FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
MANAGER = "python experiments_manager.py"
METAVAR = "[IDs] GPU[,GPU...] [first] [last]"
CPU = -1
NUMBER = r"-?\d{1,9}"
WHERE_IDS_ARE = "experiments_manager.py --list shows the IDs"


def add_experiments_option(parser: argparse.ArgumentParser) -> None:
    """--experiments FOLDER, for every command that reads experiment files."""
    parser.add_argument(
        "--experiments",
        metavar="FOLDER",
        type=Path,
        default=EXPERIMENTS_FOLDER,
        help="folder of experiment files; default: experiments_antitransfer",
    )


@dataclass(frozen=True)
class Request:
    """What the positional words ask for.

    Attributes:
        gpus: their numbers, one for each run at a time; -1: the CPU; empty: none given.
    """

    wanted: tuple[int | str, ...]
    gpus: tuple[int, ...]
    first: int | None
    last: int | None

    @property
    def gpu(self) -> int | None:
        """The first of them; None: none was given."""
        return next(iter(self.gpus), None)

    def instances_of(self, experiment: Experiment) -> list[Instance]:
        """The instances of an experiment that are asked for.

        Raises:
            UserError: there is none between first and last.
        """
        first, last = self.first or 1, self.last or len(experiment.instances)
        chosen = [each for each in experiment.instances if first <= each.number <= last]
        if not chosen:
            raise UserError(
                f"experiment {experiment.id}: has instances 1 to {len(experiment.instances)}, "
                f"none from {first} to {last}"
            )
        return chosen


def parse_words(words: Sequence[str]) -> Request:
    """'[20, 21] 0 1 13', however a shell or ipython cut it into words.

    Raises:
        UserError: the words are none of that.
    """
    text = " ".join(words).strip()
    match = re.fullmatch(
        rf"(\[[^\[\]]*\]|[\w]+)(?:\s+({NUMBER}(?:\s*,\s*{NUMBER})*))?((?:\s+{NUMBER})*)", text
    )
    if not match:
        raise UserError(
            f"{printable(text) or 'no experiments given'}: must be {METAVAR}, for example "
            f"[20,21,22,23] 0 (GPU -1 is the CPU); {WHERE_IDS_ARE}"
        )
    names = [name.strip() for name in match[1].strip("[]").split(",") if name.strip()]
    if not names:
        raise UserError(f"{match[1]}: names no experiment; {WHERE_IDS_ARE}")
    gpus = tuple(int(word) for word in (match[2] or "").split(",") if word)
    numbers = [int(word) for word in match[3].split()]
    if len(numbers) > 2:
        raise UserError(f"{printable(text)}: only GPU, first and last instance follow the IDs")
    first, last = [*numbers, None, None][:2]
    for gpu in gpus:
        if gpu < CPU:
            raise UserError(f"GPU {gpu}: must be a GPU's number, or -1 for the CPU")
    if CPU in gpus and set(gpus) != {CPU}:
        raise UserError(f"GPU {match[2]}: runs are either on GPUs or on the CPU (-1)")
    for word, number in (("first", first), ("last", last)):
        if number is not None and number < 1:
            raise UserError(f"{word} instance {number}: instances are numbered from 1")
    wanted = tuple(int(name) if re.fullmatch(r"\d{1,9}", name) else name for name in names)
    return Request(wanted, gpus, first, last)


def require_gpus(request: Request) -> tuple[int, ...]:
    """The GPUs that were asked for; -1: the CPU.

    Raises:
        UserError: none was.
    """
    if not request.gpus:
        raise UserError("no GPU given: write its number after the IDs, or -1 for the CPU")
    return request.gpus


def require_gpu(request: Request) -> int:
    """The one GPU that was asked for; -1: the CPU.

    Raises:
        UserError: none was, or several.
    """
    gpus = require_gpus(request)
    if len(gpus) > 1:
        raise UserError(f"GPU {','.join(map(str, gpus))}: this command uses one GPU")
    return gpus[0]
