"""Broken configuration files, --set arguments and experiment files: each refused in one line."""

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.experiments import load_experiments
from config.ini_files import load_settings

EXPERIMENT = """# Does it?
[experiment]
description = a description
dataset = tiny
output_classes = 3
[training_defaults]
batch_size = 10
[instances]
at_layer = 1..3
comment_2 = layer{at_layer}
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("width = 1\n", "line 1: a [section] must come before width = 1"),
        ("[sampling]\nsr_target\n", "line 2: is neither [section] nor key = value"),
        ("[sampling]\nsr_target = 1\nsr_target = 2\n", "line 3: [sampling] sr_target is given"),
        ("[sampling]\n[results]\n[sampling]\n", "line 3: section [sampling] is given twice"),
        ("[results]\nresults_folder = a\n  b\n", "[results] results_folder: goes on in the next"),
        ("[DEFAULT]\nsr_target = 1\n", "[DEFAULT]: no such section; allowed: cluster"),
        ("[trainng_defaults]\nwidth = 1\n", "no such section; did you mean training_defaults?"),
        ("[sampling]\nSr_Target = 1\n", "[sampling] Sr_Target: no such key; did you mean sr_t"),
    ],
)
def test_config_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.ini"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.ini"
    path.write_bytes(b"[sampling]\nsr_target = \xff\xfe\n")
    for place, words in (
        (path, "is not UTF-8 text"),
        (tmp_path / "none.ini", "cannot be read: No such file"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError, match=f"{place}: {words}"):
            load_settings(place)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("batch_size", "--set batch_size: must be key=value or section.key=value"),
        ("bach_size=5", "--set bach_size: no such key; did you mean batch_size?"),
        ("training_defaults.sed=5", "--set [training_defaults] sed: no such key; did you mean"),
        ("trainings.seed=5", "--set [trainings]: no such section; did you mean pretraining?"),
        ("input_good_sounds_folder=x", "did you mean input_good-sounds_folder?"),
        ("batch_size=many", "--set [training_defaults] batch_size = many: must be a valid integer"),
        ("width=nan", "finite"),
        ("early_stopping=maybe", "early_stopping = maybe: must be True or False"),
        ("snr_convention=decibels", "'ms_snsd' or 'decibel'; did you mean decibel?"),
        ("address=head", "must be auto or HOST:PORT"),
        ("results_folder=~no_such_user/x", "results_folder = ~no_such_user/x"),
        (
            "at_layer=3, 0 & network=small_cnn",
            "at_layer = 3, 0: must be the number of a conv",
        ),
        ("at_layer=layer1..conv2", "or the name of a module"),
        (
            "anti_transfer=True & at_dataset=a,b & at_layer=1; 2,3 & at_frozen_layer=conv",
            "at_frozen_layer = conv: must name one for each of at_layer",
        ),
        (
            "anti_transfer=True & at_dataset=a,embedding:e & at_layer=1 & at_frozen_layer=2; 3"
            " & at_aggregation=pool & at_distance=cka_within_class",
            "at_frozen_layer = 2; 3: embedding:e has no layers; leave its place between ; empty",
        ),
        ("at_layer=28", "at_layer = 28: 28 is the released code's index of the input of convol"),
        ("at_layer=3, 28 & at_tap=input", "but 3 is none; write convolutions, 1 to 13"),
        ("at_aggregation=mul_comp_0.2", "'mul_comp_0.1'"),
        ("at_distance=pairwise_cos_squared", "pairwise with distance cos_squared, not gram with"),
        ("at_dataset=../x", "letters, digits, - and _"),
        ("at_pretraining=experiment x", "must be the name of an extractor, or experiment"),
        ("at_pretraining=random", "leave it empty"),
        ("test_split=0.2", "add up to 1, not 1.1"),
        ("fft_size=512", "fft_size = 512: must be at least window_size (1024)"),
        ("anti_transfer=True", "at_dataset = : anti_transfer = True needs an extractor"),
        ("anti_transfer=True & at_dataset=a", "at_layer = : anti_transfer = True needs a layer"),
        ("anti_transfer=True & at_dataset=a,a & at_layer=3", "at_dataset = a,a: is given twice"),
        ("anti_transfer=True & at_dataset=a,b & at_layer=1;2;3", "or 2 separated by ;"),
        ("anti_transfer=True & at_dataset=a & at_layer=1 & at_beta=1;2", "at_beta = 1;2: must"),
        (
            "anti_transfer=True & at_dataset=a & at_layer=1 & at_aggregation=pool",
            "cka_within_class go t",
        ),
        (
            "anti_transfer=True & at_dataset=embedding:a & at_layer=1",
            "embedding:a has no layers; set at_aggregation = pool with at_distance = cka_within",
        ),
        ("gradient_reversal_label=speaker", "gradient_reversal_layer = : gradient_reversal_label"),
        ("gradient_reversal_layer=3", "gradient_reversal_label = : gradient_reversal_label"),
    ],
)
def test_set(overrides: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=overrides.split(" & "))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[experiment]", "[experimnt]", "holds no [experiment] section"),
        ("dataset = tiny\n", "", "[experiment] dataset: must be given"),
        ("dataset =", "data =", "[experiment] data: no such key; did you mean dataset?"),
        ("= tiny", "= ../secret", "[experiment] dataset = ../secret: must be a name of letters"),
        ("classes = 3", "classes = 1", "output_classes = 1: must be at least 2"),
        ("classes = 3", "classes = 3\ntask = regression", "must be 1, as task = regression"),
        ("[training_defaults]", "[results]", "[results]: no such section; allowed: experiment"),
        ("[training_defaults]", "[dataset tiny]", "[dataset tiny]: belongs into a file given with"),
        ("batch_size = 10", "bach_size = 10", "[training_defaults] bach_size: no such key"),
        ("batch_size = 10", "at_pretraining = experiment 20", "cannot start from itself"),
        ("1..3", "3..1", "[instances] at_layer = 3..1: a range goes up"),
        ("1..3", "0, 2, 28", "at_layer = 0, 2, 28: 0 is no convolution, and beside an index of"),
        ("1..3", "1..20", "at_layer = 1..20: 14 is no convolution"),
        ("1..3", "1,,2", "[instances] at_layer = 1,,2: holds an empty value"),
        ("1..3", "1..3\nrepeat = 0", "[instances] repeat = 0: must be a whole number from 1 up"),
        ("1..3", "1..3\nseed = 0..9999", "at_layer, seed: gives more than 10000 instances"),
        ("{at_layer}", "{at_lair}", "no parameter at_lair; did you mean at_layer?"),
        ("{at_layer}", "{seed.__class__}", "no parameter seed.__class__"),
        ("[training_defaults]", "[instance 4]", "[instance 4]: there are instances 1 to 3"),
    ],
)
def test_experiment_file(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in EXPERIMENT
    (tmp_path / "20_tiny.ini").write_text(EXPERIMENT.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_experiments(tmp_path)
    assert "20_tiny.ini" in str(caught.value)
    assert words in str(caught.value)


def test_names_of_experiment_files(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(ConfigError, match="holds no experiment files"):
            load_experiments(folder)
    (tmp_path / "20_a.ini").write_text(EXPERIMENT)
    (tmp_path / "020_b.ini").write_text(EXPERIMENT)
    with pytest.raises(ConfigError, match=r"20_a\.ini: ID 20 is also that of .*020_b\.ini"):
        load_experiments(tmp_path)
    (tmp_path / "020_b.ini").rename(tmp_path / "b.ini")
    with pytest.raises(ConfigError, match=r"b\.ini: the file name must start with the experiment"):
        load_experiments(tmp_path)
