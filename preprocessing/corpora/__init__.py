"""The registry of corpora and datasets, and one file for each corpus that registers itself here.

A file says which clips its corpus has, what each is labelled, and which group it belongs to. Files
of this folder are found by themselves; a corpus elsewhere calls register(), or is declared in a
[dataset NAME] section.
"""

import importlib
import pkgutil

from config.errors import UserError
from config.settings import Settings
from config.text import hint
from preprocessing.corpora.manifest import declared_dataset
from preprocessing.pipeline.dataset import Corpus, Dataset

_corpora: dict[str, Corpus] = {}
_datasets: dict[str, Dataset] = {}


def register(*declared: Corpus | Dataset) -> None:
    """Make corpora and datasets known by their names."""
    for each in declared:
        if isinstance(each, Corpus):
            _corpora[each.name] = each
        else:
            _datasets[each.name] = each


def all_corpora() -> dict[str, Corpus]:
    """Return every corpus by name."""
    _import_built_in()
    return dict(_corpora)


def all_datasets(settings: Settings) -> dict[str, Dataset]:
    """Return every dataset by name: those of the corpora, and those that the settings declare.

    Raises:
        UserError: one is declared under the name of another.
    """
    _import_built_in()
    for name in settings.datasets:
        if name in _datasets:
            raise UserError(
                f"[dataset {name}]: is the name of a built-in dataset; choose another one"
            )
    declared = {name: declared_dataset(each) for name, each in settings.datasets.items()}
    return {**_datasets, **declared}


def find_dataset(name: str, settings: Settings) -> Dataset:
    """Return the dataset of that name.

    Raises:
        UserError: there is none.
    """
    datasets = all_datasets(settings)
    if name not in datasets:
        raise UserError(
            f"dataset {name}: not known{hint(name, datasets)}; a [dataset {name}] section in a "
            "file given with --config declares it"
        )
    return datasets[name]


def _import_built_in() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
