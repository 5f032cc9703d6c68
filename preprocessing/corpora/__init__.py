"""One file per corpus: which clips it has, what each is labelled, which group it belongs to.

A module here that has DATASETS is found by itself: a new corpus is one file.
"""

import importlib
import pkgutil
from typing import TYPE_CHECKING

from config.errors import UserError
from config.settings import hint

if TYPE_CHECKING:
    from preprocessing.pipeline.dataset import Dataset


def all_datasets() -> "dict[str, Dataset]":
    """Every dataset of every corpus, by name."""
    modules = (
        importlib.import_module(f"{__name__}.{module.name}")
        for module in pkgutil.iter_modules(__path__)
    )
    return {dataset.name: dataset for module in modules for dataset in module.DATASETS}


def find_dataset(name: str) -> "Dataset":
    """The dataset of that name.

    Raises:
        UserError: there is none.
    """
    datasets = all_datasets()
    if name not in datasets:
        raise UserError(f"dataset {name}: not known{hint(name, datasets)}")
    return datasets[name]
