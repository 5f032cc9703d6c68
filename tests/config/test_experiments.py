"""Experiment files: what they expand to, which value wins, and how they are selected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError, UserError
from config.experiments import Experiment, load_experiments
from config.selection import RunSelection, parse_selection

HEAD = """# Does it work, and
#   how well?
# Paper: a table.
[experiment]
description = a test
dataset = gsc_randsplit
output_classes = 10
"""
AGAINST_NOISE = "[training_defaults]\nanti_transfer = True\nat_dataset = noisyspeech\n"

Load = Callable[..., Experiment]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Write one experiment file with the given text after the head, and load it."""

    def write_and_load(text: str, head: str = HEAD, **arguments: Any) -> Experiment:
        (tmp_path / "20_test.ini").write_text(head + text, encoding="utf-8")
        return load_experiments(tmp_path, **arguments)[20]

    return write_and_load


def column(experiment: Experiment, key: str) -> list[Any]:
    return [instance.parameters[key] for instance in experiment.instances]


def test_without_instances_there_is_one(load: Load) -> None:
    experiment = load("[feature_extraction]\nfeatures_type = mel\n")
    assert (experiment.id, experiment.family, experiment.kind) == (20, "baseline", "baseline")
    assert (experiment.description, experiment.dataset) == ("a test", "gsc_randsplit")
    assert experiment.question == "Does it work, and how well?"
    (instance,) = experiment.instances
    expected = {
        "dataset": "gsc_randsplit",
        "features_type": "mel",
        "task": "classification",
        "output_classes": 10,
        "kind": "baseline",
        "repetition": 0,
        "num_epochs": 50,
        "at_layer": "",
        "comment_1": "baseline",
        "comment_2": "",
    }
    assert instance.number == 1
    assert expected.items() <= instance.parameters.items()
    assert not [key for key in instance.parameters if key.endswith("_path")]


def test_range(load: Load) -> None:
    experiment = load(f"{AGAINST_NOISE}[instances]\nat_layer = 1..13\ncomment_2 = at {{at_layer}}")
    assert [instance.number for instance in experiment.instances] == list(range(1, 14))
    assert column(experiment, "at_layer") == list(range(1, 14))
    assert column(experiment, "comment_2") == [f"at {layer}" for layer in range(1, 14)]
    assert column(experiment, "seed") == [0] * 13
    assert experiment.instances[4].settings.training_defaults.at_layer == ((5,),)


def test_repetitions_of_a_sweep_share_their_seeds(load: Load) -> None:
    text = "[instances]\nlearning_rate = 0.1, 0.2\nrepeat = 3\ncomment_2 = {repetition}\n"
    experiment = load(text, overrides=["seed=40"])
    assert column(experiment, "learning_rate") == [0.1] * 3 + [0.2] * 3
    assert column(experiment, "seed") == [40, 41, 42] * 2
    assert column(experiment, "repetition") == [0, 1, 2] * 2
    assert column(experiment, "comment_2") == ["0", "1", "2"] * 2
    seeds = [i.settings.training_defaults.seed for i in experiment.instances]
    assert seeds == column(experiment, "seed")


def test_bars_separate_values_that_hold_commas(load: Load) -> None:
    experiment = load(f"{AGAINST_NOISE}[instances]\nat_layer = 3, 5 | 13\n")
    assert column(experiment, "at_layer") == ["3, 5", 13]


@pytest.mark.parametrize(
    ("values", "layers"),
    [
        ("layer1.0.conv2, layer3", ["layer1.0.conv2", "layer3"]),
        ("layer2, 5 | layer4.1", ["layer2, 5", "layer4.1"]),
        ("12..15", [12, 13, 14, 15]),
        ("28", [28]),
    ],
)
def test_layers_of_another_network_are_names_and_numbers_beyond_vgg16s(
    load: Load, values: str, layers: list[Any]
) -> None:
    text = f"{AGAINST_NOISE}network = resnet18\nat_tap = input\n[instances]\nat_layer = {values}\n"
    experiment = load(text)
    assert column(experiment, "at_layer") == layers
    assert column(experiment, "network") == ["resnet18"] * len(layers)


def test_networks_are_swept(load: Load) -> None:
    experiment = load("[instances]\nnetwork = vgg16, resnet18\nat_layer = 12, 13\n")
    assert column(experiment, "network") == ["vgg16"] * 2 + ["resnet18"] * 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("[training_defaults]\nat_pretraining = noisyspeech", "weight_initialization"),
        (f"{AGAINST_NOISE}at_layer = 3", "anti_transfer"),
        (f"{AGAINST_NOISE}at_layer = 3\nat_pretraining = experiment 31", "dual_anti_transfer"),
    ],
)
def test_kind_is_the_family_and_the_comment_unless_given(load: Load, text: str, kind: str) -> None:
    experiment = load(text)
    assert (experiment.kind, experiment.family) == (kind, kind)
    assert column(experiment, "comment_1") == [kind]
    given = load(f"{text}\n[instances]\ncomment_1 = mine\n", head=f"{HEAD}family = mine\n")
    assert (given.kind, given.family, column(given, "comment_1")) == (kind, "mine", ["mine"])


def test_config_below_experiment_below_instance_below_set(load: Load, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.write_text("[training_defaults]\nbatch_size = 3\npatience = 4\nwidth = 2\n")
    text = (
        "[training_defaults]\nbatch_size = 5\nwidth = 3\n[instances]\nlearning_rate = 0.1, 0.2\n"
        "comment_1 = plain\n[instance 2]\nwidth = 4\ncomment_1 = width {width}\n"
    )
    experiment = load(text, files=[overlay])
    assert column(experiment, "num_epochs") == [50, 50]
    assert column(experiment, "patience") == [4, 4]
    assert column(experiment, "batch_size") == [5, 5]
    assert column(experiment, "width") == [3.0, 4.0]
    assert column(experiment, "comment_1") == ["plain", "width 4.0"]
    experiment = load(text, files=[overlay], overrides=["width=5", "batch_size=8"])
    assert column(experiment, "width") == [5.0, 5.0]
    assert column(experiment, "batch_size") == [8, 8]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([28, 5], [28, 5]),
        ([10], [108, 109]),
        ([109, 10, 5, 5], [109, 108, 5]),
        (["baseline", "20"], [5, 28]),
    ],
)
def test_selection_by_id_and_family(
    tmp_path: Path, wanted: list[int | str], expected: list[int]
) -> None:
    """An ID goes before a family of the same name."""
    for identifier, family in ((109, "10"), (5, "baseline"), (108, "10"), (28, "20"), (20, "x")):
        (tmp_path / f"{identifier}_x.ini").write_text(f"{HEAD}family = {family}\n")
    assert list(load_experiments(tmp_path)) == [5, 20, 28, 108, 109]
    assert list(load_experiments(tmp_path, wanted=wanted)) == expected
    with pytest.raises(ConfigError, match="no experiment or family 6; experiments: 5, 20, 28"):
        load_experiments(tmp_path, wanted=[5, 6])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["[20,21]", "0", "1", "13"], RunSelection((20, 21), (0,), 1, 13)),
        (["[20,", "confounded", "]", "-1"], RunSelection((20, "confounded"), (-1,), None, None)),
        (["[20]", "0,1", ",2", "3"], RunSelection((20,), (0, 1, 2), 3, None)),
        (["baseline", "-1,-1"], RunSelection(("baseline",), (-1, -1), None, None)),
        (["[20]", "0", "[1,4,13]"], RunSelection((20,), (0,), None, None, (1, 4, 13))),
        (["[20]", "0", "[", "1,", "4,13]"], RunSelection((20,), (0,), None, None, (1, 4, 13))),
    ],
)
def test_words_of_a_command(words: list[str], expected: RunSelection) -> None:
    assert parse_selection(words) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ , ]", "must be [IDs] GPU"),
        ("[20", "must be [IDs] GPU"),
        ("20 0 0", "instances are numbered from 1"),
        ("20 0 1 2 3", "must be [IDs] GPU"),
        ("20 0 [0]", "instances are numbered from 1"),
        ("20 0 [1] 2", "must be [IDs] GPU"),
        ("20 [1]", "must be [IDs] GPU"),
        ("20 0 []", "must be [IDs] GPU"),
        ("20 -2", "GPU -2: must be numbers of GPUs, or -1 for the CPU"),
    ],
)
def test_words_that_select_nothing(text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_selection(text.split(" "))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("words", "numbers"),
    [("", [1, 2, 3, 4]), ("3", [3, 4]), ("2 3", [2, 3]), ("[4,1]", [4, 1]), ("[2, 2]", [2])],
)
def test_instances_that_are_asked_for(load: Load, words: str, numbers: list[int]) -> None:
    experiment = load("[instances]\nrepeat = 4\n")
    chosen = parse_selection(["20", "0", words]).instances_of(experiment)
    assert [instance.number for instance in chosen] == numbers


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("1 14", "experiment 20: its last instance is 13, there is no 14"),
        ("15", "its last instance is 13, there is no 15"),
        ("[1,4,99]", "its last instance is 13, there is no 99"),
        ("5 3", "instances 5 to 3: the first comes after the last"),
    ],
)
def test_instances_that_are_not_there(load: Load, words: str, message: str) -> None:
    experiment = load("[instances]\nat_layer = 1..13\n")
    with pytest.raises(UserError, match=message):
        parse_selection(["20", "0", words]).instances_of(experiment)
