"""Experiment files: what they expand to, and what they are refused for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.errors import ConfigError
from config.experiments import Experiment, load_experiments, select_experiments
from config.settings import PROJECT_FOLDER, Section

HEAD = """# Does it work?
[experiment]
description = a test
dataset = gsc_randsplit
output_classes = 10
family = baseline
"""

Load = Callable[..., Experiment]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "experiments"
    path.mkdir()
    return path


@pytest.fixture
def load(folder: Path) -> Load:
    """Write one experiment file with the given text after the head, and load it."""

    def write_and_load(text: str, head: str = HEAD, **arguments: Any) -> Experiment:
        (folder / "20_test.ini").write_text(head + text, encoding="utf-8")
        return load_experiments(folder, **arguments)[20]

    return write_and_load


def column(experiment: Experiment, key: str) -> list[Any]:
    return [instance.parameters[key] for instance in experiment.instances]


def message_of(action: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        action()
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestExpansion:
    def test_without_instances_there_is_one(self, load: Load) -> None:
        experiment = load("[training_defaults]\nbatch_size = 7\n")
        (instance,) = experiment.instances
        assert instance.number == 1
        assert instance.parameters["batch_size"] == 7
        assert instance.parameters["num_epochs"] == 50
        assert instance.parameters["dataset"] == "gsc_randsplit"
        assert instance.parameters["features_type"] == "spectrum_fast"
        assert instance.parameters["output_classes"] == 10
        assert instance.parameters["task"] == "classification"
        assert instance.parameters["comment_1"] == "baseline"
        assert instance.parameters["comment_2"] == ""
        assert instance.settings.training_defaults.batch_size == 7

    def test_head(self, load: Load) -> None:
        experiment = load("")
        assert (experiment.id, experiment.family) == (20, "baseline")
        assert (experiment.description, experiment.dataset) == ("a test", "gsc_randsplit")
        assert experiment.question == "Does it work?"
        assert experiment.file.name == "20_test.ini"
        assert load("", head=HEAD.removeprefix("# Does it work?\n")).question == "a test"
        head = "# Does it work, and\n#   how well?\n# Paper: a table.\n" + HEAD
        assert load("", head=head).question == "Does it work, and how well?"

    def test_range(self, load: Load) -> None:
        experiment = load(
            "[training_defaults]\nanti_transfer = True\nat_dataset = noisyspeech\n"
            "[instances]\nat_layer = 1..13\ncomment_1 = antitransfer\n"
            "comment_2 = layer{at_layer}\n"
        )
        assert [instance.number for instance in experiment.instances] == list(range(1, 14))
        assert column(experiment, "at_layer") == list(range(1, 14))
        assert column(experiment, "comment_1") == ["antitransfer"] * 13
        assert column(experiment, "comment_2") == [f"layer{layer}" for layer in range(1, 14)]
        assert column(experiment, "seed") == [0] * 13
        assert experiment.instances[4].settings.training_defaults.at_layer == ((5,),)

    def test_repeat_changes_the_seed_alone(self, load: Load) -> None:
        experiment = load(
            "[training_defaults]\nseed = 40\n"
            "[instances]\nrepeat = 4\ncomment_2 = repetition{repetition}\n"
        )
        assert column(experiment, "seed") == [40, 41, 42, 43]
        assert column(experiment, "repetition") == [0, 1, 2, 3]
        assert column(experiment, "comment_2") == [f"repetition{r}" for r in range(4)]
        seeds = [i.settings.training_defaults.seed for i in experiment.instances]
        assert seeds == [40, 41, 42, 43]
        differing = ("seed", "repetition", "comment_2")
        rest = [
            {key: value for key, value in instance.parameters.items() if key not in differing}
            for instance in experiment.instances
        ]
        assert all(parameters == rest[0] for parameters in rest)

    def test_repetitions_of_a_sweep_share_their_seeds(self, load: Load) -> None:
        experiment = load("[instances]\nlearning_rate = 0.1, 0.2, 1\nrepeat = 2\n")
        assert column(experiment, "learning_rate") == [0.1, 0.1, 0.2, 0.2, 1.0, 1.0]
        assert column(experiment, "seed") == [0, 1, 0, 1, 0, 1]

    def test_two_swept_keys_give_every_pair(self, load: Load) -> None:
        experiment = load("[instances]\nbatch_size = 1..2\nprecision = fp32, bf16\n")
        assert list(
            zip(column(experiment, "batch_size"), column(experiment, "precision"), strict=True)
        ) == [
            (1, "fp32"),
            (1, "bf16"),
            (2, "fp32"),
            (2, "bf16"),
        ]

    def test_bars_separate_values_that_hold_commas(self, load: Load) -> None:
        experiment = load(
            "[training_defaults]\nanti_transfer = True\nat_dataset = noisyspeech\n"
            "[instances]\nat_layer = 3, 5 | 13\ncomment_2 = layers {at_layer}\n"
        )
        assert column(experiment, "at_layer") == ["3, 5", 13]
        assert column(experiment, "comment_2") == ["layers 3, 5", "layers 13"]

    def test_one_instance_can_differ(self, load: Load) -> None:
        experiment = load(
            "[instances]\nbatch_size = 5..8\ncomment_1 = plain\n"
            "[instance 3]\nnum_epochs = 9\nbatch_size = 70\ncomment_1 = longer {num_epochs}\n"
        )
        assert column(experiment, "batch_size") == [5, 6, 70, 8]
        assert column(experiment, "num_epochs") == [50, 50, 9, 50]
        assert column(experiment, "comment_1") == ["plain", "plain", "longer 9", "plain"]

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("", "baseline"),
            ("at_pretraining = noisyspeech", "weight_initialization"),
            ("anti_transfer = True\nat_dataset = noisyspeech\nat_layer = 3", "anti_transfer"),
            (
                "anti_transfer = True\nat_dataset = noisyspeech\nat_layer = 3\n"
                "at_pretraining = experiment 31",
                "dual_anti_transfer",
            ),
        ],
    )
    def test_kind(self, load: Load, text: str, kind: str) -> None:
        experiment = load(f"[training_defaults]\n{text}\n")
        assert experiment.kind == kind
        assert column(experiment, "comment_1") == [kind]

    def test_several_frozen_networks(self, load: Load) -> None:
        experiment = load(
            "[training_defaults]\nanti_transfer = True\nat_dataset = noisyspeech, iemocap\n"
            "at_layer = 3, 5; 13\nat_beta = 1; 0.5\n"
        )
        parameters = experiment.instances[0].parameters
        assert parameters["at_dataset"] == "noisyspeech, iemocap"
        assert (parameters["at_layer"], parameters["at_beta"]) == ("3, 5; 13", "1.0; 0.5")

    def test_regression(self, load: Load) -> None:
        head = HEAD.replace("output_classes = 10", "output_classes = 1\ntask = regression")
        assert column(load("", head=head), "task") == ["regression"]


class TestLayers:
    def test_files_below_the_experiment_and_overrides_above(
        self, load: Load, tmp_path: Path
    ) -> None:
        overlay = tmp_path / "mine.ini"
        overlay.write_text("[training_defaults]\nbatch_size = 3\npatience = 4\nwidth = 2\n")
        text = (
            "[training_defaults]\nbatch_size = 5\nwidth = 3\n"
            "[instances]\nlearning_rate = 0.1, 0.2\n[instance 2]\nwidth = 4\n"
        )
        experiment = load(text, files=[overlay])
        assert column(experiment, "patience") == [4, 4]
        assert column(experiment, "batch_size") == [5, 5]
        assert column(experiment, "width") == [3.0, 4.0]
        experiment = load(text, files=[overlay], overrides=["width=5", "seed=7"])
        assert column(experiment, "width") == [5.0, 5.0]
        assert column(experiment, "seed") == [7, 7]

    def test_override_of_the_seed_keeps_repetitions_apart(self, load: Load) -> None:
        experiment = load("[instances]\nrepeat = 3\n", overrides=["seed=10"])
        assert column(experiment, "seed") == [10, 11, 12]

    def test_instances_share_what_none_of_them_changes(
        self, load: Load, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each section is checked as often as it differs, whatever --set changes as well."""
        checked: list[str] = []
        original = Section.model_validate.__func__  # type: ignore[attr-defined]

        def noting(cls: type[Section], *arguments: Any, **options: Any) -> Any:
            checked.append(cls.__name__)
            return original(cls, *arguments, **options)

        monkeypatch.setattr(Section, "model_validate", classmethod(noting))
        experiment = load(
            "[feature_extraction]\nn_mfcc = 20\nn_bins = 50\n"
            "[instances]\nbatch_size = 1..4\nrepeat = 2\n",
            overrides=["sr_target=8000", "n_bins=100", "patience=9"],
        )
        assert len(experiment.instances) == 8
        counts = {name: checked.count(name) for name in set(checked)}
        # Those of config.ini with --set; then the file's own [feature_extraction], and
        # [training_defaults] that differ from instance to instance.
        assert counts.pop("Settings") <= 1 + 8
        assert counts.pop("TrainingDefaults") <= 1 + 8
        assert counts.pop("FeatureExtraction") == 2
        assert counts == dict.fromkeys(
            ("Sampling", "Pretraining", "Preprocessing", "Results", "Cluster"), 1
        )
        for instance, batch_size in zip(
            experiment.instances, (1, 1, 2, 2, 3, 3, 4, 4), strict=True
        ):
            settings = instance.settings
            assert settings.training_defaults.batch_size == batch_size
            assert settings.training_defaults.patience == 9
            assert settings.feature_extraction.n_mfcc == 20
            assert settings.feature_extraction.n_bins == 100
            assert settings.sampling.sr_target == 8000

    def test_a_file_leaves_the_next_one_alone(self, load: Load, folder: Path) -> None:
        (folder / "19_other.ini").write_text(
            HEAD + "[feature_extraction]\nn_bins = 50\n[training_defaults]\npatience = 3\n"
        )
        settings = load("[training_defaults]\nbatch_size = 2\n").instances[0].settings
        assert settings.feature_extraction.n_bins == 168
        assert settings.training_defaults.patience == 5

    def test_features_can_be_chosen(self, load: Load) -> None:
        experiment = load("[feature_extraction]\nfeatures_type = mel\n")
        assert column(experiment, "features_type") == ["mel"]


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "[training_defaults]\nbach_size = 5\n",
                "[training_defaults] bach_size: no such key; did you mean batch_size?",
            ),
            ("[instances]\nbach_size = 5, 6\n", "[instances] [training_defaults] bach_size"),
            ("[instance 1]\nbach_size = 5\n", "[instance 1] [training_defaults] bach_size"),
            ("[training]\nbatch_size = 5\n", "[training]: no such section; did you mean"),
            ("[results]\nresults_folder = x\n", "[results]: no such section"),
            ("[instance 2]\nbatch_size = 5\n", "[instance 2]: there are instances 1 to 1"),
            ("[instance x]\nbatch_size = 5\n", "[instance x]: there are instances 1 to 1"),
            (
                "[instance 1]\nbatch_size = 5\n[instance 01]\nbatch_size = 6\n",
                "[instance 01]: this instance stands twice",
            ),
            ("[instances]\nat_layer = 5..3\n", "at_layer = 5..3: a range goes up"),
            ("[instances]\nbatch_size = 1..99999\n", "over at most 10000 values"),
            (
                "[instances]\nbatch_size = 1..500\nnum_epochs = 1..500\n",
                "gives more than 10000 instances",
            ),
            ("[instances]\nbatch_size = 1,,2\n", "batch_size = 1,,2: holds an empty value"),
            ("[instances]\nrepeat = 0\n", "repeat = 0: must be a whole number from 1 up"),
            ("[instances]\nrepeat = 1..3\n", "repeat = 1..3: must be a whole number"),
            ("[instances]\nbatch_size = 5, x\n", "batch_size = x: must be a valid integer"),
            (
                "[instances]\ncomment_2 = layer{at_lair}\n",
                "comment_2 = layer{at_lair}: no parameter at_lair; did you mean at_layer?",
            ),
            ("[instances]\ncomment_2 = {seed.__class__}\n", "no parameter seed.__class__"),
        ],
    )
    def test_text(self, load: Load, text: str, expected: str) -> None:
        message = message_of(lambda: load(text))
        assert "20_test.ini" in message
        assert expected in message

    def test_a_value_is_blamed_on_the_section_that_holds_it(self, load: Load) -> None:
        text = "[instances]\nbatch_size = x, 2\n[instance 1]\nnum_epochs = 9\n"
        assert "20_test.ini [instances] [training_defaults] batch_size = x" in message_of(
            lambda: load(text)
        )

    @pytest.mark.parametrize(
        ("old", "new", "expected"),
        [
            ("dataset =", "data =", "data: no such key; did you mean dataset?"),
            ("family = baseline\n", "", "[experiment] family: must be given"),
            ("family = baseline\n", "family =\n", "[experiment] family: must be given"),
            ("gsc_randsplit", "../secret", "must be a name of letters"),
            ("= 10", "= ten", "output_classes = ten: must be a whole number from 2 up"),
            ("= 10", "= 1", "output_classes = 1: must be a whole number from 2 up"),
            ("= 10", "= 10\ntask = guess", "task = guess: must be one of classification"),
            ("= 10", "= 2\ntask = regression", "output_classes = 2: regression has one"),
        ],
    )
    def test_head(self, load: Load, old: str, new: str, expected: str) -> None:
        assert expected in message_of(lambda: load("", head=HEAD.replace(old, new)))

    def test_two_files_with_one_id(self, folder: Path) -> None:
        (folder / "20_a.ini").write_text(HEAD)
        (folder / "020_b.ini").write_text(HEAD)
        message = message_of(lambda: load_experiments(folder))
        assert "20_a.ini" in message
        assert "020_b.ini" in message
        assert "ID 20 is also that of" in message

    def test_file_name_without_id(self, folder: Path) -> None:
        (folder / "test.ini").write_text(HEAD)
        assert "must start with the experiment's ID" in message_of(lambda: load_experiments(folder))

    def test_empty_or_missing_folder(self, folder: Path) -> None:
        assert "holds no experiment files" in message_of(lambda: load_experiments(folder))
        assert "holds no experiment files" in message_of(lambda: load_experiments(folder / "none"))


class TestSelection:
    @pytest.fixture
    def experiments(self, folder: Path) -> dict[int, Experiment]:
        for identifier, family in (
            (109, "10"),
            (5, "baseline"),
            (108, "10"),
            (28, "anti_transfer"),
        ):
            text = HEAD.replace("family = baseline", f"family = {family}")
            (folder / f"{identifier}_x.ini").write_text(text)
        return load_experiments(folder)

    def test_are_in_the_order_of_their_ids(self, experiments: dict[int, Experiment]) -> None:
        assert list(experiments) == [5, 28, 108, 109]

    @pytest.mark.parametrize(
        ("wanted", "expected"),
        [
            ([28, 5], [28, 5]),
            ([10], [108, 109]),
            (["10"], [108, 109]),
            ([109, 10, 5, 5], [109, 108, 5]),
            (["baseline", "anti_transfer"], [5, 28]),
        ],
    )
    def test_by_id_and_family(
        self, experiments: dict[int, Experiment], wanted: list[int | str], expected: list[int]
    ) -> None:
        assert [e.id for e in select_experiments(experiments, wanted)] == expected

    def test_an_id_goes_before_a_family(self, folder: Path) -> None:
        (folder / "10_own.ini").write_text(HEAD)
        (folder / "108_x.ini").write_text(HEAD.replace("= baseline", "= 10"))
        experiments = load_experiments(folder)
        assert [e.id for e in select_experiments(experiments, [10])] == [10]

    def test_unknown(self, experiments: dict[int, Experiment]) -> None:
        message = message_of(lambda: select_experiments(experiments, [5, 6]))
        assert message == (
            "no experiment or family 6; experiments: 5, 28, 108, 109; "
            "families: 10, anti_transfer, baseline"
        )


class TestProjectFiles:
    """The experiments on spoken digits against the published list of experiments."""

    @pytest.mark.parametrize(
        ("identifier", "dataset", "kind", "num_instances", "extractor"),
        [
            (5, "gsc_randsplit", "baseline", 20, None),
            (6, "gsc_noisy_randsplit", "baseline", 20, None),
            (7, "gsc_noisy_more_randsplit", "baseline", 20, None),
            (28, "gsc_randsplit", "anti_transfer", 13, "noisyspeech"),
            (29, "gsc_noisy_randsplit", "anti_transfer", 13, "noisyspeech"),
            (30, "gsc_noisy_more_randsplit", "anti_transfer", 13, "noisyspeech"),
            (108, "gsc_randsplit", "weight_initialization", 3, "noisyspeech"),
            (109, "gsc_noisy_randsplit", "weight_initialization", 3, "noisyspeech"),
            (110, "gsc_noisy_more_randsplit", "weight_initialization", 3, "noisyspeech"),
        ],
    )
    def test_experiment(
        self, identifier: int, dataset: str, kind: str, num_instances: int, extractor: str | None
    ) -> None:
        experiment = load_experiments(PROJECT_FOLDER / "experiments_antitransfer")[identifier]
        assert (experiment.dataset, experiment.kind) == (dataset, kind)
        assert len(experiment.instances) == num_instances
        assert column(experiment, "output_classes") == [10] * num_instances
        assert column(experiment, "batch_size") == [30] * num_instances
        if kind == "anti_transfer":
            assert column(experiment, "at_layer") == list(range(1, 14))
            assert column(experiment, "at_dataset") == [extractor] * num_instances
            assert column(experiment, "seed") == [0] * num_instances
        else:
            assert column(experiment, "seed") == list(range(num_instances))
            assert column(experiment, "at_pretraining") == [extractor] * num_instances
        assert experiment.question.endswith("?")

    def test_weight_initializations_are_family_10(self) -> None:
        experiments = load_experiments(PROJECT_FOLDER / "experiments_antitransfer")
        chosen = select_experiments(experiments, [10])
        assert {108, 109, 110} <= {experiment.id for experiment in chosen}
        assert {experiment.kind for experiment in chosen} == {"weight_initialization"}
