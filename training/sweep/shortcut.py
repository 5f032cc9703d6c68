"""How strong the shortcut of a run is: said before it is trained, and kept in its result."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from config.errors import UserError
from config.experiments import Instance
from config.text import counted
from training.data.shortcut_sampler import shortcut_of
from training.engine.folds import Fold, load_fold
from training.engine.metrics import chance_level, highest_chance_accuracy
from training.engine.seeds import RngSeeds
from training.methods.kinds import AT_METHODS
from training.models.frozen import column_of, source_of
from training.models.registry import trained_architecture
from training.probing.expert import Expert
from training.results.shortcut import ShortcutStrength, verdict_of
from training.sweep.input_cache import InputCache
from training.sweep.inputs import known_to, needs_expert, nuisances_of
from training.sweep.run_context import Knowledge, RunContext
from training.sweep.runs import Run, matrices_of

# What becomes of a method of training away, by what it takes of an expert that knows nothing.
WITHOUT_KNOWLEDGE = {
    "": "",
    "beliefs": ", and training equals a plain one",
    "guesses": ", and the method goes by guesses that are no better than chance",
}
# Of a dataset, for --check: a frozen network takes up to a fifth of a second for each on a CPU.
CHECKED_EXAMPLES = 1000


def knowledge_of(instance: Instance, names: Sequence[str], random_seed: int) -> Knowledge:
    """Return what names of at_dataset's kind let a run know."""
    return Knowledge(
        instance.settings,
        tuple(names),
        trained_architecture(instance),
        random_seed,
        instance.parameters["task"],
        nuisances_of(instance, names),
    )


def shortcuts(
    instance: Instance, fold: Fold, random_seed: int, context: RunContext
) -> Iterator[ShortcutStrength]:
    """Yield what the knowledge of at_dataset predicts, and what the confounder's true values do.

    Raises:
        UserError: the training set has too few groups for any.
    """
    for names in known_to(instance):
        known = knowledge_of(instance, names, random_seed)
        column = column_of(names)
        words = ", ".join(source_of(instance.settings, name).words for name in names)
        yield strength_of(context.expert(known, fold), column or words, fold)


def strength_of(expert: Expert, source: str, fold: Fold) -> ShortcutStrength:
    """Measure an expert on the three sets of a fold."""
    targets = np.asarray(fold.matrices.target)
    scores, chances, beyond_luck = {}, {}, {}
    for name, examples in fold.sets.items():
        score, chance = expert.score(examples.rows, targets), 0.0
        limit = chance
        if expert.task == "classification":
            chance = chance_level(targets[examples.rows])
            limit = highest_chance_accuracy(chance, len(examples))
        scores[name], chances[name] = score, chance
        beyond_luck[name] = score - chance if score > limit else 0.0
    return ShortcutStrength(
        source=source,
        task=expert.task,
        **scores,
        chance=chances["test"],
        shuffled=expert.shuffled,
        regularization=expert.regularization,
        grouped_by=expert.grouped_by,
        verdict=verdict_of(expert.informed, beyond_luck["training"], beyond_luck["test"]),
    )


def measure_shortcuts(
    instance: Instance, fold: Fold, random_seed: int, context: RunContext
) -> list[ShortcutStrength]:
    """Measure and say how strong the shortcuts of a run are, once for runs that share them.

    Raises:
        UserError: the training set has too few groups, and the method needs an expert.
    """
    training, found = instance.settings.training_defaults, []
    try:
        for strength in shortcuts(instance, fold, random_seed, context):
            found.append(strength)
            is_idle = strength.verdict == "nothing" and training.anti_transfer
            end = WITHOUT_KNOWLEDGE[AT_METHODS[training.at_method].expert] if is_idle else ""
            context.say_once(f"{strength}{end} ({fold.matrices.name})")
    except UserError as error:
        if needs_expert(training):
            raise
        context.say_once(f"how strong the shortcut is cannot be told: {error}")
    return found


def describe_shortcuts(runs: Sequence[Run], inputs: InputCache) -> None:
    """Print how strong the shortcuts of the runs are, from some examples of a large dataset.

    Raises:
        UserError: as measure_shortcuts.
    """
    context = RunContext(torch.device("cpu"), inputs)
    known = set()
    for run in runs:
        instance = run.instance
        training = instance.settings.training_defaults
        data, sampler = matrices_of(instance), shortcut_of(instance.parameters)
        key = data, training.fractions, training.num_folds, sampler, *known_to(instance)
        if key in known:
            continue
        known.add(key)
        matrices = inputs.matrices(*data)
        split = matrices.folds(training.fractions, training.num_folds)[0]
        fold = load_fold(matrices, split, context.device, shortcut=sampler, most=CHECKED_EXAMPLES)
        number = sum(map(len, fold.sets.values()))
        if number < len(matrices.target):
            all_examples = counted(len(matrices.target), "example")
            context.say_once(
                f"from {number} of {all_examples} of {matrices.name} (a run takes all):"
            )
        seed = RngSeeds.from_seed(training.seed, 0).random_network
        measure_shortcuts(instance, fold, seed, context)
