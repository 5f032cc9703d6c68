"""config.ini and the Settings classes against each other; layers; errors of one line."""

import ast
import itertools
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from config import settings as settings_module
from config.errors import ConfigError
from config.settings import (
    AGGREGATIONS,
    PROJECT_FOLDER,
    SECTIONS,
    Settings,
    load_settings,
    read_ini,
)
from preprocessing.corpora import all_corpora

CONFIG_INI = PROJECT_FOLDER / "config" / "config.ini"

# Keys that are read through a property or a method of the settings: what code uses.
READ_THROUGH = {
    "train_split": ("training", "fractions"),
    "validation_split": ("training", "fractions"),
    "test_split": ("training", "fractions"),
    "extractor_paths": ("settings", "extractor_folder"),
    **{corpus.key.replace("-", "_"): ("CORPUS", "folder") for corpus in all_corpora().values()},
}
# What the objects that hold a section's values are called where they are used.
OWNERS = {
    "feature_extraction": {"feature_extraction", "features", "settings"},
    "pretraining": {"pretraining", "own"},
    "training_defaults": {"training_defaults", "training"},
}


def config_keys() -> list[tuple[str, str]]:
    return [(section, key) for section, keys in read_ini(CONFIG_INI).items() for key in keys]


def field_of(section: str, key: str) -> str:
    """The attribute that holds a key's value."""
    if re.fullmatch(r"at_\w+_model_path", key):
        return "extractor_paths"
    names = {field.alias: name for name, field in SECTIONS[section].model_fields.items()}
    return names.get(key, key)


def overlay(tmp_path: Path, text: str, name: str = "mine.ini") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def message_of(*files: Path, **arguments: Any) -> str:
    """The one line that loading fails with."""
    with pytest.raises(ConfigError) as caught:
        load_settings(*files, **arguments)
    message = str(caught.value)
    assert message == message.strip()
    assert message.isprintable()
    return message


def attributes_read() -> set[tuple[str, str]]:
    """(object, attribute) of every `object.attribute` in the project's code but settings.py.

    Of a chain `a.b.c` both (a, b) and (b, c) count.
    """
    found = set()
    for path in PROJECT_FOLDER.rglob("*.py"):
        parts = path.relative_to(PROJECT_FOLDER).parts
        if parts[0] in ("tests", "build") or parts[0].startswith("."):
            continue
        if parts == ("config", "settings.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value
                name = getattr(owner, "attr", getattr(owner, "id", ""))
                found.add((name, node.attr))
    return found


class TestConfigFile:
    def test_every_key_has_a_comment_line_of_its_own_above_it(self) -> None:
        lines = CONFIG_INI.read_text(encoding="utf-8").splitlines()
        bare = [
            line
            for before, line in itertools.pairwise(lines)
            if re.match(r"[\w-]+ *=", line) and not before.startswith("# ")
        ]
        assert bare == []

    def test_every_key_is_a_field_and_every_field_a_key(self) -> None:
        fields = {
            (section, name) for section, model in SECTIONS.items() for name in model.model_fields
        }
        assert {(section, field_of(section, key)) for section, key in config_keys()} == fields
        assert set(read_ini(CONFIG_INI)) == set(Settings.model_fields)

    def test_comments_name_the_allowed_words(self) -> None:
        lines = CONFIG_INI.read_text(encoding="utf-8").splitlines()
        for section, model in SECTIONS.items():
            for name, field in model.model_fields.items():
                words = [word for word in get_args(field.annotation) if isinstance(word, str)]
                if not words:
                    continue
                position = next(i for i, line in enumerate(lines) if line.startswith(f"{name} ="))
                comment = ""
                while lines[position - 1].startswith("#"):
                    position -= 1
                    comment = lines[position] + comment
                missing = [word for word in words if word not in comment]
                assert not missing, f"[{section}] {name}: comment lacks {missing}"

    def test_every_extractor_has_its_path_key(self) -> None:
        from config.extractors import EXTRACTORS

        paths = load_settings().training_defaults.extractor_paths
        assert set(EXTRACTORS) <= set(paths)

    def test_every_key_is_read_somewhere(self) -> None:
        read = attributes_read()
        unread = set()
        for section, key in config_keys():
            field = field_of(section, key)
            uses = {(owner, field) for owner in OWNERS.get(section, {section})}
            if not read & ({READ_THROUGH[field]} if field in READ_THROUGH else uses):
                unread.add((section, key))
        assert unread == set()

    def test_defaults_are_the_published_ones(self) -> None:
        settings = load_settings()
        training, features = settings.training_defaults, settings.feature_extraction
        assert training.fractions == (0.7, 0.2, 0.1)
        assert (training.learning_rate, training.patience, training.num_epochs) == (5e-5, 5, 50)
        assert (training.at_aggregation, training.at_distance) == ("gram", "cos_squared")
        assert training.at_beta == (1.0,)
        assert (features.features_type, features.sequence_overlap) == ("spectrum_fast", 1.0)
        assert (settings.sampling.sr_target, settings.preprocessing.total_hours) == (16000, 20)
        assert settings.preprocessing.snr_convention == "ms_snsd"

    def test_settings_cannot_be_changed(self) -> None:
        settings = load_settings()
        with pytest.raises(ValueError, match="frozen"):
            settings.sampling.sr_target = 8000  # type: ignore[misc]

    def test_demo_file_is_a_valid_overlay(self) -> None:
        settings = load_settings(PROJECT_FOLDER / "config" / "demo.ini")
        assert settings.training_defaults.width < 1


class TestDefaultsFileIsChecked:
    """config.ini is edited by users, so its own names are checked like any other file's."""

    @pytest.fixture
    def edit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        def replace(old: str, new: str) -> None:
            text = CONFIG_INI.read_text(encoding="utf-8")
            assert old in text
            path = overlay(tmp_path, text.replace(old, new), "config.ini")
            monkeypatch.setattr(settings_module, "DEFAULTS_FILE", path)

        return replace

    def test_unknown_key(self, edit: Any) -> None:
        edit("patience = 5\n", "patience = 5\npatiense = 6\n")
        message = message_of()
        assert "config.ini [training_defaults] patiense" in message
        assert message.endswith("did you mean patience?")

    def test_unknown_section(self, edit: Any) -> None:
        edit("[sampling]", "[extra]\nkey = 1\n[sampling]")
        message = message_of()
        assert "config.ini [extra]: no such section" in message
        assert "sampling" in message

    def test_a_field_name_is_no_key(self, edit: Any) -> None:
        edit("patience = 5\n", "patience = 5\nextractor_paths = x\n")
        assert "extractor_paths: no such key" in message_of()

    def test_missing_key(self, edit: Any) -> None:
        edit("patience = 5\n", "")
        assert "[training_defaults] patience: Field required" in message_of()

    def test_another_extractors_path_is_a_key(self, edit: Any) -> None:
        edit("at_noisyspeech_model_path =", "at_mine_model_path = somewhere/mine")
        paths = load_settings().training_defaults.extractor_paths
        assert paths["mine"] == PROJECT_FOLDER / "somewhere" / "mine"
        assert "noisyspeech" not in paths


class TestLayers:
    def test_later_files_win_and_overrides_win_over_files(self, tmp_path: Path) -> None:
        first = overlay(tmp_path, "[training_defaults]\nbatch_size = 7\npatience = 8\n", "1.ini")
        second = overlay(tmp_path, "[training_defaults]\nbatch_size = 9\n", "2.ini")
        training = load_settings(first, second).training_defaults
        assert (training.batch_size, training.patience, training.num_epochs) == (9, 8, 50)
        training = load_settings(second, first).training_defaults
        assert training.batch_size == 7
        training = load_settings(first, second, overrides=["batch_size=11"]).training_defaults
        assert (training.batch_size, training.patience) == (11, 8)

    def test_last_override_wins(self) -> None:
        settings = load_settings(overrides=["batch_size=3", "batch_size=4"])
        assert settings.training_defaults.batch_size == 4

    def test_integers_are_taken_for_floats(self, tmp_path: Path) -> None:
        path = overlay(tmp_path, "[training_defaults]\nwidth = 2\nlearning_rate = 1\n")
        settings = load_settings(path, overrides={"fmin": 60, "at_beta": 3})
        assert settings.training_defaults.width == 2.0
        assert isinstance(settings.training_defaults.width, float)
        assert isinstance(settings.training_defaults.learning_rate, float)
        assert settings.feature_extraction.fmin == 60.0
        assert settings.training_defaults.at_beta == (3.0,)

    def test_values_of_all_kinds(self) -> None:
        settings = load_settings(
            overrides={
                "at_layer": "3, 5; 13",
                "at_dataset": "noisyspeech, iemocap",
                "at_pretraining": "experiment 31",
                "pretraining.sequence_length": None,
                "shuffle_training_data": False,
                "input_good-sounds_folder": "/data/good",
            }
        )
        assert settings.training_defaults.at_layer == ((3, 5), (13,))
        assert settings.training_defaults.at_dataset == ("noisyspeech", "iemocap")
        assert settings.training_defaults.at_pretraining == "experiment 31"
        assert settings.training_defaults.shuffle_training_data is False
        assert settings.pretraining.sequence_length is None
        assert settings.preprocessing.input_good_sounds_folder == Path("/data/good")

    def test_relative_paths_start_at_the_project_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        settings = load_settings(overrides={"output_folder": "some/where"})
        assert settings.preprocessing.output_folder == PROJECT_FOLDER / "some" / "where"

    def test_extractor_folder(self) -> None:
        settings = load_settings(overrides={"pretraining_folder": "/models"})
        assert settings.extractor_folder("noisyspeech") == Path("/models/noisyspeech")
        settings = load_settings(overrides={"at_noisyspeech_model_path": "/mine"})
        assert settings.extractor_folder("noisyspeech") == Path("/mine")

    @pytest.mark.parametrize(
        ("source", "experiment", "extractor"),
        [
            ("experiment 31", 31, None),
            ("experiment 0", 0, None),
            ("noisyspeech", None, "noisyspeech"),
            ("experiment", None, "experiment"),
            ("", None, None),
        ],
    )
    def test_a_training_starts_from_an_experiment_or_an_extractor(
        self, source: str, experiment: int | None, extractor: str | None
    ) -> None:
        training = load_settings(overrides={"at_pretraining": source}).training_defaults
        assert training.source_experiment == experiment
        assert training.source_extractor == extractor
        assert training.extractors == (() if extractor is None else (extractor,))

    def test_extractors_are_those_that_the_training_reads(self) -> None:
        values = {"at_dataset": "iemocap, nsynth", "at_layer": 3, "at_pretraining": "librispeech"}
        training = load_settings(overrides=values).training_defaults
        assert training.extractors == ("librispeech",)
        training = load_settings(overrides={**values, "anti_transfer": True}).training_defaults
        assert training.extractors == ("iemocap", "nsynth", "librispeech")

    @pytest.mark.parametrize("source", ["experiment x", "experiment 1234567890", "experiment ٣"])
    def test_a_source_that_is_none(self, source: str) -> None:
        message = message_of(overrides={"at_pretraining": source})
        assert "must be the name of an extractor, or 'experiment' and its ID" in message

    def test_byte_order_mark_and_windows_line_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "windows.ini"
        path.write_bytes(b"\xef\xbb\xbf[sampling]\r\nsr_target = 8000\r\n")
        assert load_settings(path).sampling.sr_target == 8000


class TestOverrideNames:
    def test_bare_and_with_section(self) -> None:
        assert load_settings(overrides=["sr_target=8000"]).sampling.sr_target == 8000
        assert load_settings(overrides=["sampling.sr_target=8000"]).sampling.sr_target == 8000

    def test_a_key_of_two_sections_goes_to_the_preferred_one(self) -> None:
        settings = load_settings(overrides=["seed=5"])
        assert (settings.training_defaults.seed, settings.preprocessing.seed) == (5, 0)
        settings = load_settings(overrides=["seed=5"], prefer=("preprocessing",))
        assert (settings.training_defaults.seed, settings.preprocessing.seed) == (0, 5)
        settings = load_settings(overrides=["preprocessing.seed=5"])
        assert (settings.training_defaults.seed, settings.preprocessing.seed) == (0, 5)

    def test_a_key_of_two_sections_without_preference_is_refused(self) -> None:
        message = message_of(overrides=["seed=5"], prefer=())
        assert "preprocessing.seed or training_defaults.seed" in message

    @pytest.mark.parametrize("argument", ["batch_size", "=5", " = 5"])
    def test_not_key_and_value(self, argument: str) -> None:
        assert "key=value or section.key=value" in message_of(overrides=[argument])

    @pytest.mark.parametrize(
        ("argument", "place", "nearest"),
        [
            ("bach_size=5", "--set bach_size", "batch_size"),
            ("training_defaults.bach_size=5", "[training_defaults] bach_size", "batch_size"),
            ("trainingdefaults.batch_size=5", "[trainingdefaults]", "training_defaults"),
        ],
    )
    def test_unknown_names_give_the_nearest(self, argument: str, place: str, nearest: str) -> None:
        message = message_of(overrides=[argument])
        assert place in message
        assert message.endswith(f"did you mean {nearest}?")


class TestErrors:
    def test_names_file_section_key_value_and_what_is_allowed(self, tmp_path: Path) -> None:
        path = overlay(tmp_path, "[feature_extraction]\nfeatures_type = mell\n")
        message = message_of(path)
        assert message.startswith(f"{path} [feature_extraction] features_type = mell: must be ")
        for allowed in ("spectrum_fast", "stft", "cqt", "mel", "mfcc"):
            assert f"'{allowed}'" in message
        assert message.endswith("; did you mean mel?")

    def test_unknown_section_and_key_in_a_file(self, tmp_path: Path) -> None:
        path = overlay(tmp_path, "[trainng_defaults]\nwidth = 1\n")
        assert message_of(path) == (
            f"{path} [trainng_defaults]: no such section; did you mean training_defaults?"
        )
        path = overlay(tmp_path, "[training_defaults]\nWidth = 1\n")
        assert message_of(path) == (
            f"{path} [training_defaults] Width: no such key; did you mean width?"
        )

    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("batch_size", "many", "must be a valid integer"),
            ("batch_size", "0", "greater than or equal to 1"),
            ("batch_size", "2.5", "must be a valid integer"),
            ("batch_size", "", "must be a valid integer"),
            ("width", "wide", "must be a valid number"),
            ("width", "nan", "finite"),
            ("learning_rate", "-1", "greater than 0"),
            ("learning_rate", "inf", "finite"),
            ("learning_rate", "1001", "less than or equal to 1000"),
            ("early_stopping", "maybe", "True or False"),
            ("max_skipped_fraction", "1.5", "less than or equal to 1"),
            ("sequence_overlap", "0", "greater than 0"),
            ("at_layer", "14", "less than or equal to 13"),
            ("at_layer", "3, 0", "greater than or equal to 1"),
            ("at_beta", "-1", "greater than or equal to 0"),
            ("at_aggregation", "gramm", "did you mean gram?"),
            ("at_aggregation", "mul_comp_0.2", "mul_comp_0.1"),
            ("at_dataset", "a/b", "letters, digits, - and _"),
            ("at_dataset", "a,,b", "letters, digits, - and _"),
            ("at_pretraining", "experiment x", "'experiment' and its ID"),
            ("snr_convention", "decibels", "did you mean decibel?"),
            ("training_defaults.seed", "-1", "greater than or equal to 0"),
            ("training_defaults.seed", str(2**32), "less than 4294967296"),
            ("output_folder", "a\0b", "NUL"),
            ("sr_target", "9" * 5000, "sr_target"),
            ("batch_size", "3\n4", "must be a valid integer"),
        ],
    )
    def test_wrong_values(self, key: str, value: str, allowed: str) -> None:
        message = message_of(overrides={key: value})
        assert allowed in message
        assert key.rpartition(".")[2] in message
        assert len(message) < 700

    @pytest.mark.parametrize("aggregation", AGGREGATIONS)
    def test_every_aggregation_is_accepted(self, aggregation: str) -> None:
        settings = load_settings(overrides={"at_aggregation": aggregation})
        assert settings.training_defaults.at_aggregation == aggregation

    def test_splits_must_add_up(self) -> None:
        assert "add up to 1, not 1.1" in message_of(overrides={"test_split": 0.2})
        assert "no split may be 0" in message_of(overrides={"train_split": 0.8, "test_split": 0.0})

    def test_window_longer_than_transform(self) -> None:
        message = message_of(overrides={"fft_size": 512})
        assert message.endswith("fft_size = 512: must be at least window_size (1024)")

    @pytest.mark.parametrize(
        ("values", "place"),
        [
            ({}, "at_dataset"),
            ({"at_dataset": "noisyspeech"}, "at_layer"),
            ({"at_dataset": "a, b", "at_layer": "1; 2; 3"}, "at_layer"),
            ({"at_dataset": "a, b", "at_layer": "1", "at_beta": "1; 2; 3"}, "at_beta"),
        ],
    )
    def test_anti_transfer_needs_what_belongs_to_it(
        self, values: dict[str, str], place: str
    ) -> None:
        message = message_of(overrides={"anti_transfer": "True", **values})
        assert f"[training_defaults] {place}" in message

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("width = 1\n", "line 1: a [section] must come before"),
            ("[sampling]\nsr_target\n", "line 2: is neither [section] nor key = value"),
            ("[sampling]\nsr_target = 1000\nsr_target = 2000\n", "line 3: [sampling] sr_target"),
            ("[sampling]\n[results]\n[sampling]\n", "line 3: section [sampling] stands twice"),
            ("[DEFAULT]\nsr_target = 1\n", "[DEFAULT]: no such section"),
        ],
    )
    def test_broken_files(self, tmp_path: Path, text: str, expected: str) -> None:
        path = overlay(tmp_path, text)
        message = message_of(path)
        assert message.startswith(str(path))
        assert expected in message

    def test_files_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "binary.ini"
        path.write_bytes(b"[sampling]\nsr_target = \xff\xfe\n")
        assert message_of(path) == f"{path}: is not UTF-8 text"
        assert "cannot be read: No such file" in message_of(tmp_path / "none.ini")
        assert "cannot be read: Is a directory" in message_of(tmp_path)
