"""The project's experiment files against its table of the paper's experiments."""

import csv
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.experiments import Experiment, load_experiments
from config.ini_files import load_settings
from config.text import PROJECT_FOLDER
from preprocessing.corpora import all_datasets
from training.results.method_names import setting_of

FOLDER = PROJECT_FOLDER / "experiments_antitransfer"
NUM_EXPERIMENTS, NUM_INSTANCES = 41, 442
# Baseline and method, each with as many trials, which meet the same learning rates.
SEARCHED = {330: "baseline", 331: "anti_transfer"}
DEMO = {
    200: ("baseline", [""]),
    202: ("anti_transfer", ["noisyspeech"]),
    203: ("anti_transfer", ["random"]),
    207: ("product_of_experts", ["noisyspeech", "random"]),
}

with (FOLDER / "experiments.csv").open(newline="", encoding="utf-8") as file:
    TABLE = {int(row["id"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def experiments() -> dict[int, Experiment]:
    return load_experiments(FOLDER)


def test_all_experiments_and_instances_are_there(experiments: dict[int, Experiment]) -> None:
    assert experiments.keys() >= TABLE.keys()
    assert len(TABLE) == NUM_EXPERIMENTS
    assert sum(len(experiments[number].instances) for number in TABLE) == NUM_INSTANCES


@pytest.mark.parametrize("identifier", sorted(TABLE))
def test_file_expands_as_the_table_says(
    identifier: int, experiments: dict[int, Experiment]
) -> None:
    row, experiment = TABLE[identifier], experiments[identifier]
    parts = [row["id"], row["dataset"], row["split"], row["pretraining_dataset"]]
    assert experiment.file.name == "_".join(filter(None, parts)) + ".ini"
    assert experiment.dataset == f"{row['dataset']}_{row['split']}"
    assert experiment.kind == row["kind"]
    assert len(experiment.instances) == int(row["instances"])
    for number, instance in enumerate(experiment.instances):
        parameters = instance.parameters
        assert parameters["output_classes"] == int(row["output_classes"])
        assert parameters["at_dataset"] == row["at_dataset"]
        assert (parameters["at_pretraining"] or "") == row["at_pretraining"]
        assert (parameters["batch_size"], parameters["learning_rate"]) == (30, 5e-5)
        assert parameters["anti_transfer"] == bool(row["at_dataset"])
        layer, seed = (number + 1, 0) if row["at_dataset"] else ("", number)
        assert (parameters["at_layer"], parameters["seed"]) == (layer, seed)


def test_the_released_batch_wins_over_every_file() -> None:
    loaded = load_experiments(FOLDER, overrides=["batch_size=8"]).values()
    sizes = {each.parameters["batch_size"] for one in loaded for each in one.instances}
    assert sizes == {8}


def test_what_is_searched_had_an_equal_chance(experiments: dict[int, Experiment]) -> None:
    assert {number: experiments[number].kind for number in SEARCHED} == SEARCHED
    tried = [
        [
            (each.parameters["learning_rate"], each.parameters["regularization_lambda"])
            for each in experiments[number].instances
            if each.parameters["search_trial"]
        ]
        for number in SEARCHED
    ]
    assert tried[0] == tried[1]
    assert len(set(tried[0])) == 20
    assert [len(experiments[number].instances) for number in SEARCHED] == [30, 30]


def test_demo_has_the_benchmark_in_miniature(experiments: dict[int, Experiment]) -> None:
    demo = load_experiments(FOLDER / "demo", [PROJECT_FOLDER / "config" / "demo.ini"])
    assert {experiment.dataset for experiment in demo.values()} == {experiments[200].dataset}
    runs = {
        identifier: [
            (each.parameters["at_dataset"], each.parameters["seed"])
            for each in experiment.instances
        ]
        for identifier, experiment in demo.items()
    }
    assert runs == {
        identifier: [(network, seed) for network in networks for seed in range(8)]
        for identifier, (_, networks) in DEMO.items()
    }
    assert {identifier: demo[identifier].kind for identifier in demo} == {
        identifier: kind for identifier, (kind, _) in DEMO.items()
    }


def test_datasets_and_extractors_are_declared(experiments: dict[int, Experiment]) -> None:
    settings = load_settings()
    datasets, extractors = all_datasets(settings), settings.extractors.values()
    assert {experiment.dataset for experiment in experiments.values()} <= set(datasets)
    assert {extractor.dataset for extractor in extractors} <= set(datasets)
    commands = [extractor.command for extractor in extractors]
    commands += [dataset.command for dataset in datasets.values()]
    for command in commands:
        assert Path(PROJECT_FOLDER / command.split()[1]).is_file()


@pytest.mark.parametrize(
    ("wanted", "override"),
    [
        (28, "at_aggregation=gram_batch"),  # 205 has a distance that only pool has
        (29, "at_pretraining=experiment 28"),  # 28 would start from itself
        (204, "gradient_reversal_layer=5"),  # no other one has a label
        (204, "gradient_reversal_label=speaker"),
        (5, "at_dataset=iemocap, iemocap"),
    ],
)
def test_overrides_are_checked_against_what_was_chosen_alone(wanted: int, override: str) -> None:
    experiment = load_experiments(FOLDER, overrides=[override], wanted=[wanted])[wanted]
    key, _, value = override.partition("=")
    assert {str(each.parameters[key]) for each in experiment.instances} == {value}
    with pytest.raises(ConfigError):
        load_experiments(FOLDER, overrides=[override])


@pytest.mark.parametrize("family", ["noise_word", "speaker_emotion", "instrument_goodness"])
def test_the_methods_of_a_benchmark_are_tuned_alike(family: str) -> None:
    """Else the report would not let them meet."""
    experiments = load_experiments(
        FOLDER / "benchmarks",
        [PROJECT_FOLDER / "config" / "benchmarks.ini"],
        {},
        [f"{family}_methods"],
    )
    assert len(experiments) == 18
    settings = [setting_of(each.instances[0].parameters) for each in experiments.values()]
    assert all(setting == settings[0] for setting in settings)
    assert settings[0]["search"] == "grid, 6 trials"
    assert {len(each.instances) for each in experiments.values()} == {6 + 12}
