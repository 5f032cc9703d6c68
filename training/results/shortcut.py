"""How strong a shortcut is: what something that is known tells of the target, in each set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from config.fields import Task

# So far above chance (of accuracy, or of R^2) something is known that counts.
MARGIN = 0.1

# Nothing in training; misleads: in training, not in the test set; content: in both.
Verdict = Literal["nothing", "little", "misleads", "content"]
VERDICTS: dict[Verdict, str] = {
    "nothing": "there is nothing to push away from",
    "little": "training can hardly be misled",
    "misleads": "training can be misled",
    "content": "it tells of the content itself, or the test set has the shortcut, too; pushing "
    "away from it can destroy the task",
}


class ShortcutStrength(BaseModel):
    """What an expert on one kind of knowledge reaches: accuracies (0-1), of a regression R^2.

    Attributes:
        source: what is known, in words.
        training: out of fold.
        chance: share of the test set's most frequent class; of R^2 0.
        shuffled: out of fold, of an expert on targets in random order.
        regularization: the inverse strength of the expert's penalty.
        grouped_by: the column whose values were held out together.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    task: Task
    training: float
    validation: float
    test: float
    chance: float
    shuffled: float
    regularization: float
    grouped_by: str
    verdict: Verdict

    def __str__(self) -> str:
        """Return the sentence that says it all."""
        if self.task == "regression":
            found = (
                f"the value with R^2 = {self.training:.2f} in training and {self.test:.2f} in the "
                f"test set (shuffled values {self.shuffled:.2f})"
            )
        else:
            found = (
                f"the class of {self.training:.0%} of the training and {self.test:.0%} of the test "
                f"examples (chance {self.chance:.0%}, shuffled labels {self.shuffled:.0%})"
            )
        warning = "warning: " if self.verdict == "content" else ""
        return f"{warning}{self.source} predicts {found}: {VERDICTS[self.verdict]}"


def verdict_of(informed: bool, training: float, test: float) -> Verdict:
    """Say what an expert means for a training.

    Args:
        informed: whether it is better than chance out of fold at all.
        training, test: how far it is above chance; 0 where luck would do.
    """
    if not informed:
        return "nothing"
    if test > MARGIN:
        return "content"
    return "misleads" if training > MARGIN else "little"


def by_source(folds: Iterable[Sequence[ShortcutStrength]]) -> dict[str, list[ShortcutStrength]]:
    """Return what was measured of each source in several runs and folds; equal ones once."""
    found: dict[str, list[ShortcutStrength]] = {}
    for each in dict.fromkeys(strength for fold in folds for strength in fold):
        found.setdefault(each.source, []).append(each)
    return found


def mean_strength(found: Sequence[ShortcutStrength]) -> ShortcutStrength:
    """Return what several runs found of one source as one: means, and the commonest verdict."""
    numbers = ("training", "validation", "test", "chance", "shuffled")
    means = {name: fmean(getattr(each, name) for each in found) for name in numbers}
    verdict = Counter(each.verdict for each in found).most_common(1)[0][0]
    return found[0].model_copy(update={**means, "verdict": verdict})
