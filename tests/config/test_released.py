"""The released configuration's keys: each is read here, or its error says what took its place."""

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.ini_files import load_settings

# Keys of the released configuration and experiment files that are no keys here, with a word of
# what took their place.
GONE = {
    "pretraining": {
        "pretraining_dataset_path": "output_folder",
        "preprocessing_ID": "features_type",
        "num_cnn_layers": "set network",
    },
    "preprocessing": {"input_morphomnist_folder": "no corpus"},
    "training_defaults": {
        "save_best_model_mode": "save_best_model_metric",
        "save_model_metric": "save_best_model_metric",
        "gpu_ID": "word after the IDs",
        "reshaping_type": "leave it out",
        "pretrained_models_folder": "pretraining_folder",
        "recompute_matrices": "leave it out",
        "at_gsc_preiemo_model_path": "experiment 31",
        "at_gsc_prenoisy_model_path": "experiment 28",
        "at_morphomnist_morpholabel_path": "no corpus",
        "pretraining_classes_librispeech": "extractor.json",
        "pretraining_classes_gsc_prenoisy": "extractor.json",
        "architecture": "set network",
        "task_type": "task in [experiment]",
        "short_description": "description in [experiment]",
        "num_experiment": "file's name",
        "experiment_folder": "results_folder",
        "overwrite_results": "--overwrite",
        "debug_mode": "leave it out",
        "generator": "leave it out",
    },
}
KEPT = {
    "feature_extraction": "features_type power_law_compression sequence_length sequence_overlap "
    "segmentation augmentation num_aug_samples normalization window_size fft_size hop_size_stft "
    "window_type hop_size_cqt bins_per_octave n_bins fmin window_size_mfcc fft_size_mfcc "
    "hop_size_mfcc window_type_mfcc n_mfcc hop_size_mel fft_size_mel",
    "sampling": "sr_target",
    "pretraining": "num_classes_librispeech sequence_length",
    "preprocessing": "input_iemocap_folder input_good-sounds_folder input_goodsounds_folder "
    "input_nsynth_folder input_librispeech_folder input_gsc_raw_folder augmented_gsc_folder "
    "input_noisyspeech_repo generated_noisyspeech_folder output_folder",
    "training_defaults": "train_split validation_split test_split shuffle_training_data "
    "save_best_model_metric early_stopping patience batch_size num_epochs regularization_lambda "
    "learning_rate choose_optimizer anti_transfer at_librispeech_model_path at_iemocap_model_path "
    "at_nsynth_model_path at_goodsounds_model_path at_noisyspeech_model_path "
    "at_iemocap_1sec_model_path at_beta at_layer at_aggregation at_distance at_pretraining",
}


@pytest.mark.parametrize(
    ("section", "key", "word"),
    [(section, key, word) for section, keys in GONE.items() for key, word in keys.items()],
)
def test_a_key_that_is_gone_names_what_took_its_place(
    tmp_path: Path, section: str, key: str, word: str
) -> None:
    path = tmp_path / "released.ini"
    path.write_text(f"[{section}]\n{key} = 1\n")
    for files, overrides in (([path], []), ([], [f"{section}.{key}=1"]), ([], [f"{key}=1"])):
        with pytest.raises(ConfigError, match=f"{key}: no such key; ") as caught:
            load_settings(*files, overrides=overrides)
        assert word in str(caught.value).partition("no such key; ")[2]


@pytest.mark.parametrize(
    ("section", "key", "word"),
    [
        ("backend", "backend", "PyTorch"),
        ("augmentation", "augmentation_IRs_path", "[feature_extraction] augmentation = True"),
    ],
)
def test_sections_that_are_gone(tmp_path: Path, section: str, key: str, word: str) -> None:
    path = tmp_path / "released.ini"
    path.write_text(f"[{section}]\n{key} = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert word in str(caught.value).partition(f"[{section}]: no such section; ")[2]


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, keys in KEPT.items() for key in keys.split()]
)
def test_a_key_that_is_kept_is_read(tmp_path: Path, section: str, key: str) -> None:
    """With what can be no value of any, so that not the key is complained of."""
    path = tmp_path / "released.ini"
    path.write_text(f"[{section}]\n{key} = ~no_such_user/*\n")
    with pytest.raises(ConfigError, match=r"\*: ") as caught:
        load_settings(path)
    assert "no such key" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [("True", "power"), ("true", "power"), ("1", "power"), ("False", "none"), ("no", "none")],
)
def test_the_old_key_of_power_law_compression(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "old.ini"
    path.write_text(f"[feature_extraction]\npower_law_compression = {old}\n")
    for settings in (
        load_settings(path),
        load_settings(overrides=[f"power_law_compression={old}"]),
        load_settings(overrides=[f"feature_extraction.power_law_compression={old}"]),
    ):
        assert settings.feature_extraction.compression == new
    settings = load_settings(path, overrides=["compression=log"])
    assert settings.feature_extraction.compression == "log"


@pytest.mark.parametrize(
    ("section", "first", "second"),
    [
        ("feature_extraction", "power_law_compression = True", "compression = log"),
        ("feature_extraction", "compression = none", "power_law_compression = True"),
        ("feature_extraction", "compression = power", "power_law_compression = False"),
        ("preprocessing", "input_goodsounds_folder = /one", "input_good-sounds_folder = /other"),
    ],
)
def test_two_names_of_one_key_that_contradict(
    tmp_path: Path, section: str, first: str, second: str
) -> None:
    path = tmp_path / "both.ini"
    path.write_text(f"[{section}]\n{first}\n{second}\n")
    options = [line.replace(" = ", "=") for line in (first, second)]
    for files, overrides in (([path], []), ([], options)):
        with pytest.raises(ConfigError) as caught:
            load_settings(*files, overrides=overrides)
        problem = f"[{section}] {second}: contradicts {first}; leave one of them out"
        assert problem in str(caught.value)
