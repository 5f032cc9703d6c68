"""config.ini against the typed sections; which value wins; what a value becomes."""

import re
from pathlib import Path

import pytest

from config.declarations import DECLARATIONS
from config.errors import ConfigError
from config.ini_files import DEFAULTS_FILE, load_settings, read_ini
from config.settings import SECTIONS, Settings
from config.text import PROJECT_FOLDER

LINES = DEFAULTS_FILE.read_text(encoding="utf-8").splitlines()


def overlay(tmp_path: Path, text: str, name: str = "mine.ini") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_is_a_field_and_every_field_a_key() -> None:
    fields = {
        section: {field.alias or name for name, field in model.model_fields.items()}
        for section, model in SECTIONS.items()
    }
    written = {section: set(keys) for section, keys in read_ini(DEFAULTS_FILE).items()}
    declared = {section for section in written if section.partition(" ")[0] in DECLARATIONS}
    assert {section: written[section] for section in written.keys() - declared} == fields
    attributes = {attribute for attribute, _ in DECLARATIONS.values()}
    assert set(fields) | attributes == set(Settings.model_fields)


def test_comments_name_the_allowed_words() -> None:
    section, comment, num_checked = "", "", 0
    for line in LINES:
        if line.startswith("["):
            section = line.strip("[]")
        elif line.startswith("#"):
            comment += line
        elif " =" in line:
            key = line.partition(" =")[0]
            try:
                load_settings(overrides={f"{section}.{key}": "no_such_word"})
            except ConfigError as error:
                words = re.findall(r"'([\w.]+)'", str(error))
                missing = [w for w in words if w.partition("_0.")[0] not in comment]
                assert not missing, f"[{section}] {key}: comment lacks {missing}"
                num_checked += bool(words)
            comment = ""
    assert num_checked > 10


def test_defaults_are_the_published_ones() -> None:
    settings = load_settings()
    training, features = settings.training_defaults, settings.feature_extraction
    assert training.fractions == (0.7, 0.2, 0.1)
    assert (training.learning_rate, training.patience, training.num_epochs) == (5e-5, 5, 50)
    assert (training.at_aggregation, training.at_distance) == ("gram", "cos_squared")
    assert training.at_beta == (1.0,)
    assert (features.features_type, features.sequence_overlap) == ("spectrum_fast", 1.0)
    assert (settings.sampling.sr_target, settings.preprocessing.total_hours) == (16000, 20)
    assert settings.preprocessing.snr_convention == "ms_snsd"


def test_a_key_of_two_sections_goes_to_the_preferred_one() -> None:
    settings = load_settings(overrides=["seed=5"])
    assert (settings.training_defaults.seed, settings.preprocessing.seed) == (5, 0)
    settings = load_settings(overrides=["seed=5"], prefer=("preprocessing",))
    assert (settings.training_defaults.seed, settings.preprocessing.seed) == (0, 5)
    settings = load_settings(overrides=["preprocessing.seed=5"])
    assert (settings.training_defaults.seed, settings.preprocessing.seed) == (0, 5)
    with pytest.raises(ConfigError, match=r"preprocessing\.seed or training_defaults\.seed"):
        load_settings(overrides=["seed=5"], prefer=())


def test_values_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = load_settings(
        overrides={
            "at_layer": "3, 5; 13",
            "at_dataset": "noisyspeech, iemocap",
            "at_beta": "3; 0.5",
            "width": 2,
            "pretraining.sequence_length": None,
            "shuffle_training_data": False,
            "input_good-sounds_folder": "~/good",
            "output_folder": "some/where",
        }
    )
    training = settings.training_defaults
    assert training.at_layer == ((3, 5), (13,))
    assert training.at_dataset == ("noisyspeech", "iemocap")
    assert training.at_beta == (3.0, 0.5)
    assert isinstance(training.width, float)
    assert training.shuffle_training_data is False
    assert settings.pretraining.sequence_length is None
    assert settings.preprocessing.input_good_sounds_folder == Path("/home/somebody/good")
    assert settings.preprocessing.output_folder == PROJECT_FOLDER / "some" / "where"
    with pytest.raises(ValueError, match="frozen"):
        settings.sampling.sr_target = 8000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("aggregation", "distance", "understood"),
    [
        ("mul_comp", "mse_sigmoid", ("mul_comp_0.001", "mse_sigmoid")),
        ("mul_comp05", "cos_squared", ("mul_comp_0.05", "cos_squared")),
        ("none", "pairwise_cos_squared", ("pairwise", "cos_squared")),
        ("pairwise", "pairwise_cos_squared", ("pairwise", "cos_squared")),
        ("pairwise_cos_squared", "cos_squared", ("pairwise", "cos_squared")),
    ],
)
def test_released_names_of_similarities(
    aggregation: str, distance: str, understood: tuple[str, str]
) -> None:
    overrides = {"at_aggregation": aggregation, "at_distance": distance}
    training = load_settings(overrides=overrides).training_defaults
    assert (training.at_aggregation, training.at_distance) == understood


@pytest.mark.parametrize("written", ["", "False"])
def test_no_pretraining(written: str) -> None:
    training = load_settings(overrides={"at_pretraining": written}).training_defaults
    assert training.at_pretraining is None


def test_layers_by_the_released_codes_indices() -> None:
    """Of VGG16's features; those that are numbers of convolutions too are taken for these."""
    numbers = {0: 1, 14: 7, 17: 8, 19: 9, 21: 10, 24: 11, 26: 12, 28: 13, 2: 2, 5: 5, 12: 12}
    for index, number in numbers.items():
        values = {"at_layer": index, "at_tap": "input"}
        assert load_settings(overrides=values).training_defaults.at_layer == ((number,),)
    values = {"at_layer": "5, 10; 28", "at_tap": "input"}
    assert load_settings(overrides=values).training_defaults.at_layer == ((3, 5), (13,))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("~/iemocap", "/home/somebody/iemocap"),
        ("${HOME}/iemocap", "/home/somebody/iemocap"),
        ("$CORPORA/iemocap", "/corpora/iemocap"),
        ("'/corpora/my iemocap'", "/corpora/my iemocap"),
        ("'/corpora/take #2'", "/corpora/take #2"),
        ("/corpora/it's", "/corpora/it's"),
        ("/corpora/iemocap  # as of May", "/corpora/iemocap"),
        ('""', None),
    ],
)
def test_a_path_with_one_meaning_is_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, path: str | None
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("CORPORA", "/corpora")
    file = overlay(tmp_path, f"[preprocessing]\ninput_iemocap_folder = {text}\n")
    expected = None if path is None else Path(path)
    assert load_settings(file).preprocessing.input_iemocap_folder == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/corpora/iemocap ; as of May", "; as of May looks like a comment"),
        ("/corpora/take #2", "#2 looks like a comment"),
        ("${NOBODY_SET_THIS}/iemocap", r"${NOBODY_SET_THIS} is no variable of the environment"),
        ("%USERPROFILE%/iemocap", "%USERPROFILE% is nothing that is filled in here"),
        ("<folder>/iemocap", "<folder> is nothing that is filled in here"),
        (r"C:\corpora\iemocap", "is a path of Windows"),
        (r"/corpora/my\ iemocap", "has a backslash"),
        ("me@server:/corpora/iemocap", "is on another machine"),
        ("\u201c/corpora/iemocap\u201d", "has quotes of a text"),
        ("/corpora/iemocap\u200b", "(cannot be seen) cannot be in a path"),
        ("'/corpora/iemocap", "has one of two quotes"),
        ("~nobody-of-this-name/iemocap", "~nobody-of-this-name is no user of this machine"),
    ],
)
@pytest.mark.parametrize("key", ["input_iemocap_folder", "output_folder"])
def test_a_path_that_other_programs_would_fill_in_is_refused(
    key: str, text: str, reason: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=[f"{key}={text}"])
    assert str(caught.value).startswith(f"--set [preprocessing] {key} = {text}: {reason}"[:40])
    assert reason in str(caught.value)


@pytest.mark.parametrize("kind", ["file", "below a file", "loop", "link to nothing"])
@pytest.mark.parametrize("key", ["input_iemocap_folder", "results_folder"])
def test_a_folder_that_can_be_none_is_refused(tmp_path: Path, key: str, kind: str) -> None:
    path = tmp_path / "folder"
    if kind.endswith("file"):
        path.touch()
    else:
        path.symlink_to(path if kind == "loop" else tmp_path / "nowhere")
    folder = path / "deeper" if kind.startswith("below") else path
    with pytest.raises(ConfigError, match=f"{key} = {folder}: {path} is no folder"):
        load_settings(overrides=[f"{key}={folder}"])


def test_a_folder_that_must_be_there_is_not_the_project_when_empty() -> None:
    with pytest.raises(ConfigError, match="output_folder = : must be a path"):
        load_settings(overrides=["output_folder="])


@pytest.mark.parametrize("override", ["batch_size=30 ; few", "train_metrics=running # faster"])
def test_a_comment_behind_another_value_is_called_one(override: str) -> None:
    with pytest.raises(ConfigError, match="a comment takes a line of its own"):
        load_settings(overrides=[override])
