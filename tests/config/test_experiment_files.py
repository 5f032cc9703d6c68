"""The project's experiment files against its table of the paper's experiments."""

import csv
from pathlib import Path

import pytest

from config.experiments import Experiment, load_experiments, select_experiments
from config.settings import PROJECT_FOLDER
from preprocessing.corpora import all_datasets
from pretraining.extractors import EXTRACTORS

FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
NUM_EXPERIMENTS, NUM_INSTANCES = 41, 442


@pytest.fixture(scope="module")
def experiments() -> dict[int, Experiment]:
    return load_experiments(FOLDER)


def table() -> dict[int, dict[str, str]]:
    with (FOLDER / "experiments.csv").open(newline="", encoding="utf-8") as file:
        return {int(row["id"]): row for row in csv.DictReader(file)}


def test_all_experiments_and_instances_are_there(experiments: dict[int, Experiment]) -> None:
    assert set(table()) <= set(experiments)
    paper = [experiments[identifier] for identifier in table()]
    assert len(paper) == NUM_EXPERIMENTS
    assert sum(len(experiment.instances) for experiment in paper) == NUM_INSTANCES


@pytest.mark.parametrize("identifier", sorted(table()))
def test_file_expands_as_the_table_says(
    identifier: int, experiments: dict[int, Experiment]
) -> None:
    row, experiment = table()[identifier], experiments[identifier]
    assert experiment.dataset == f"{row['dataset']}_{row['split']}"
    assert experiment.kind == row["kind"]
    assert len(experiment.instances) == int(row["instances"])
    for instance in experiment.instances:
        parameters = instance.parameters
        assert parameters["output_classes"] == int(row["output_classes"])
        assert parameters["at_dataset"] == row["at_dataset"]
        assert (parameters["at_pretraining"] or "") == row["at_pretraining"]
        assert parameters["batch_size"] == 30
        assert parameters["learning_rate"] == 5e-5
        assert parameters["anti_transfer"] == bool(row["at_dataset"])
    if row["at_dataset"]:
        assert [i.parameters["at_layer"] for i in experiment.instances] == list(range(1, 14))
        assert {i.parameters["seed"] for i in experiment.instances} == {0}
    else:
        assert [i.parameters["seed"] for i in experiment.instances] == list(
            range(int(row["instances"]))
        )


@pytest.mark.parametrize("identifier", sorted(table()))
def test_file_is_named_as_in_the_original(
    identifier: int, experiments: dict[int, Experiment]
) -> None:
    row = table()[identifier]
    parts = [row["id"], row["dataset"], row["split"], row["pretraining_dataset"]]
    assert experiments[identifier].file.name == "_".join(filter(None, parts)) + ".ini"


def test_family_ten_is_all_of_weight_initialization(experiments: dict[int, Experiment]) -> None:
    chosen = {experiment.id for experiment in select_experiments(experiments, [10])}
    expected = {i for i, row in table().items() if row["kind"] == "weight_initialization"}
    assert chosen == expected
    assert {i for i, row in table().items() if row["note"] == "family 10"} == expected


def test_every_question_is_one(experiments: dict[int, Experiment]) -> None:
    for experiment in experiments.values():
        assert experiment.question.endswith("?")
        assert experiment.question != experiment.description


def test_datasets_and_extractors_are_declared(experiments: dict[int, Experiment]) -> None:
    datasets = all_datasets()
    for experiment in experiments.values():
        assert experiment.dataset in datasets
    for extractor in EXTRACTORS.values():
        assert extractor.dataset in datasets
        assert Path(PROJECT_FOLDER / extractor.command.split()[1]).is_file()
    for dataset in datasets.values():
        assert Path(PROJECT_FOLDER / dataset.command.split()[1]).is_file()


def test_every_extractor_has_its_path_key(experiments: dict[int, Experiment]) -> None:
    settings = experiments[5].instances[0].settings
    assert set(settings.training_defaults.extractor_paths) == set(EXTRACTORS)
