"""The project's experiment files against its table of the paper's experiments."""

import csv
from pathlib import Path

import pytest

from config.experiments import Experiment, load_experiments, select_experiments
from config.extractors import EXTRACTORS
from config.settings import PROJECT_FOLDER
from preprocessing.corpora import all_datasets

FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
NUM_EXPERIMENTS, NUM_INSTANCES = 41, 442
# The benchmark with a known answer: kind and instances, each layer or network ten times.
CONFOUNDED = {
    200: ("baseline", 10),
    201: ("weight_initialization", 10),
    202: ("anti_transfer", 130),
    203: ("anti_transfer", 130),
    204: ("gradient_reversal", 10),
    205: ("anti_transfer", 10),
    206: ("anti_transfer", 20),
}
DEMO = {200: "", 201: "noisyspeech", 202: "noisyspeech", 203: "random"}


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


def test_only_the_paper_and_the_benchmark_are_there(experiments: dict[int, Experiment]) -> None:
    assert set(experiments) == set(table()) | set(CONFOUNDED)


@pytest.mark.parametrize("identifier", sorted(CONFOUNDED))
def test_benchmark(identifier: int, experiments: dict[int, Experiment]) -> None:
    kind, num_instances = CONFOUNDED[identifier]
    experiment = experiments[identifier]
    assert experiment.dataset == "gsc_confounded_speakersplit"
    assert (experiment.kind, len(experiment.instances)) == (kind, num_instances)
    for number, instance in enumerate(experiment.instances):
        parameters = instance.parameters
        assert parameters["output_classes"] == 10
        assert parameters["batch_size"] == 30
        assert parameters["seed"] == parameters["repetition"] == number % 10
        within_class = identifier in (205, 206)
        assert (parameters["at_aggregation"] == "pool") == within_class
        assert (parameters["at_distance"] == "cka_within_class") == within_class


def test_benchmark_compares_the_same_layers_with_the_right_networks(
    experiments: dict[int, Experiment],
) -> None:
    def frozen(identifier: int) -> list[tuple[str, object]]:
        parameters = [instance.parameters for instance in experiments[identifier].instances]
        return [(values["at_dataset"], values["at_layer"]) for values in parameters]

    layers = [layer for layer in range(1, 14) for _ in range(10)]
    assert frozen(202) == [("noisyspeech", layer) for layer in layers]
    assert frozen(203) == [("random", layer) for layer in layers]
    assert frozen(205) == [("noisyspeech", 5)] * 10
    assert frozen(206) == [("random", 5)] * 10 + [("iemocap_1sec", 5)] * 10
    assert experiments[201].instances[0].parameters["at_pretraining"] == "noisyspeech"
    reversal = experiments[204].instances[0].parameters
    assert reversal["gradient_reversal_label"] == "noise_type"
    assert reversal["gradient_reversal_layer"] == 13


def test_benchmark_is_one_family(experiments: dict[int, Experiment]) -> None:
    chosen = select_experiments(experiments, ["confounded"])
    assert [experiment.id for experiment in chosen] == sorted(CONFOUNDED)


def test_demo_has_the_benchmark_in_miniature(experiments: dict[int, Experiment]) -> None:
    demo = load_experiments(FOLDER / "demo", [PROJECT_FOLDER / "config" / "demo.ini"])
    assert set(demo) == set(DEMO)
    for identifier, network in DEMO.items():
        experiment, whole = demo[identifier], experiments[identifier]
        assert experiment.dataset == whole.dataset
        assert experiment.kind == whole.kind
        parameters = [instance.parameters for instance in experiment.instances]
        assert [values["seed"] for values in parameters] == list(range(6))
        for values in parameters:
            assert (values["at_pretraining"] or values["at_dataset"]) == network
            if experiment.kind == "anti_transfer":
                assert values["at_layer"] == 3


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
