"""Which runs a command is for: '[20, 21] 0 1 13' is IDs, GPU, first and last instance.

GPU may be several, as in '[20, 21] 0,1,2,3', and instances a list, as in '[20, 21] 0 [1, 4, 13]'.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

from config.errors import UserError
from config.experiments import Experiment, Instance
from config.fields import path_argument
from config.text import PROJECT_FOLDER

EXPERIMENTS_FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
MANAGER = "python experiments_manager.py"
METAVAR = "[IDs] GPU[,GPU...] [first] [last]"
CPU = -1
NUMBER = r"-?\d{1,9}"
INSTANCE = r"[1-9]\d{0,8}"
# Brackets, words and numbers, however a shell or ipython cut them.
SELECTION = re.compile(
    r"(?:\[(?P<list>[^\[\]]+)\]|(?P<one>\w+))"
    rf"(?:\s+(?P<gpus>{NUMBER}(?:\s*,\s*{NUMBER})*)"
    rf"(?:\s+\[\s*(?P<numbers>{INSTANCE}(?:\s*,\s*{INSTANCE})*)\s*\]"
    rf"|\s+(?P<first>{INSTANCE})(?:\s+(?P<last>{INSTANCE}))?)?)?"
)


def add_experiments_option(parser: argparse.ArgumentParser) -> None:
    """Add --experiments FOLDER, for every command that reads experiment files."""
    parser.add_argument(
        "--experiments",
        metavar="FOLDER",
        type=path_argument,
        default=EXPERIMENTS_FOLDER,
        help="folder of experiment files; default: experiments_antitransfer",
    )


@dataclass(frozen=True)
class RunSelection:
    """What the positional words of a command ask for.

    Attributes:
        wanted: IDs and families of experiments.
        gpus: their numbers, one for each run at a time; -1: the CPU; empty: none given.
        first, last: numbers of instances, from 1; None: all.
        numbers: those of a list, in its order; empty: there is none.
    """

    wanted: tuple[int | str, ...]
    gpus: tuple[int, ...]
    first: int | None
    last: int | None
    numbers: tuple[int, ...] = ()

    @property
    def gpu(self) -> int | None:
        """The first GPU; None: none was given."""
        return next(iter(self.gpus), None)

    def instances_of(self, experiment: Experiment) -> list[Instance]:
        """Return the instances of an experiment that are asked for.

        Raises:
            UserError: it has not so many, or first comes after last.
        """
        count = len(experiment.instances)
        first, last = self.first or 1, self.last or count
        highest = max(first, last, *self.numbers)
        if highest > count:
            raise UserError(
                f"experiment {experiment.id}: its last instance is {count}, there is no {highest}"
            )
        if first > last:
            raise UserError(f"instances {first} to {last}: the first comes after the last")
        wanted = dict.fromkeys(self.numbers or range(first, last + 1))
        return [experiment.instances[number - 1] for number in wanted]


def parse_selection(words: Sequence[str]) -> RunSelection:
    """Return what '[20, 21] 0 1 13' selects.

    Raises:
        UserError: the words select nothing.
    """
    text = " ".join(words).strip()
    match = SELECTION.fullmatch(text)
    listed = (match["list"] or match["one"]).split(",") if match else []
    names = [name.strip() for name in listed if name.strip()]
    if not match or not names:
        raise UserError(
            f"{text or 'no experiments given'}: must be {METAVAR}, for example [20,21,22,23] 0 "
            "(GPU -1 is the CPU; instances are numbered from 1, as in 3 5 or [3,5,9]); "
            "experiments_manager.py --list "
            "shows the IDs"
        )
    gpus = tuple(int(number) for number in (match["gpus"] or "").split(",") if number)
    if min(gpus, default=0) < CPU or len({gpu == CPU for gpu in gpus}) > 1:
        raise UserError(f"GPU {match['gpus']}: must be numbers of GPUs, or -1 for the CPU")
    return RunSelection(
        tuple(int(name) if re.fullmatch(r"\d{1,9}", name) else name for name in names),
        gpus,
        int(match["first"]) if match["first"] else None,
        int(match["last"]) if match["last"] else None,
        tuple(int(number) for number in (match["numbers"] or "").split(",") if number),
    )


def require_gpus(selection: RunSelection) -> tuple[int, ...]:
    """Return the GPUs that were asked for; -1: the CPU.

    Raises:
        UserError: none was.
    """
    if not selection.gpus:
        raise UserError("no GPU given: write its number after the IDs, or -1 for the CPU")
    return selection.gpus


def require_gpu(selection: RunSelection) -> int:
    """Return the one GPU that was asked for; -1: the CPU.

    Raises:
        UserError: none was, or several.
    """
    gpus = require_gpus(selection)
    if len(gpus) > 1:
        raise UserError(f"GPU {','.join(map(str, gpus))}: this command uses one GPU")
    return gpus[0]
