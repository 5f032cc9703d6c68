"""What the released code calls things that are called otherwise here, or are not here."""

from collections.abc import Iterable

from pydantic import TypeAdapter, ValidationError

from config.text import hint

# Of VGG16's convolutions 1 to 13 in its `features`, by which the released code names a layer; what
# it then takes is what enters that convolution.
FEATURE_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
# Other ways to write a key.
RENAMED_KEYS = {
    "input_goodsounds_folder": "input_good-sounds_folder",
    "power_law_compression": "compression",
}
CLASSES_OF = (
    *("librispeech", "iemocap", "nsynth", "goodsounds", "noisyspeech", "iemocap_1sec"),
    *("gsc_preiemo", "gsc_prenoisy", "morphomnist_morpholabel"),
)
# What took the place of keys and sections of the released configuration and experiment files.
REPLACEMENTS = {
    "backend": "there is PyTorch alone; leave it out",
    "augmentation": "set [feature_extraction] augmentation = True, which needs no files",
    "augmentation_backgroundnoise_path": "augmentation = True needs no files",
    "augmentation_IRs_path": "augmentation = True needs no files",
    "pretraining_dataset_path": "matrices are read from [preprocessing] output_folder",
    "preprocessing_ID": "matrices are found by their dataset and features_type; leave it out",
    "num_cnn_layers": "set network in [training_defaults], vgg16 if it is left out",
    "input_morphomnist_folder": "MorphoMNIST is no corpus of this project",
    "save_best_model_mode": "it follows from save_best_model_metric; leave it out",
    "save_model_metric": "set save_best_model_metric",
    "gpu_ID": "the GPU is the word after the IDs: experiments_manager.py [20] 0",
    "reshaping_type": "networks are convolutional; leave it out",
    "pretrained_models_folder": "extractors are in [results] pretraining_folder",
    "recompute_matrices": "sets are read from the matrices in every training; leave it out",
    "at_gsc_preiemo_model_path": "set at_pretraining = experiment 31, or another ID",
    "at_gsc_prenoisy_model_path": "set at_pretraining = experiment 28, or another ID",
    "at_morphomnist_morpholabel_path": "MorphoMNIST is no corpus of this project",
    **dict.fromkeys(
        (f"pretraining_classes_{name}" for name in CLASSES_OF),
        "it is read from the extractor's extractor.json; leave it out",
    ),
    "architecture": "set network, vgg16 if it is left out",
    "task_type": "set task in [experiment]",
    "short_description": "set description in [experiment]",
    "num_experiment": "the ID is the number that the file's name starts with",
    "experiment_folder": "set [results] results_folder",
    "overwrite_results": "experiments_manager.py has --overwrite",
    "debug_mode": "after a failure the other instances go on; leave it out",
    "generator": "matrices that do not fit are read from the disk; leave it out",
}


def current(key: str, text: str) -> tuple[str, str]:
    """Return the key and the value that are meant by a key as written and its value.

    Raises:
        ValueError: the value is none of this key's.
    """
    if key == "power_law_compression":
        try:
            is_power_law = TypeAdapter(bool).validate_python(text)
        except ValidationError:
            raise ValueError("must be True or False") from None
        text = "power" if is_power_law else "none"
    return RENAMED_KEYS.get(key, key), text


def replacement(name: str, known: Iterable[str]) -> str:
    """Return what took the place of a released key or section, else the nearest known name."""
    return f"; {REPLACEMENTS[name]}" if name in REPLACEMENTS else hint(name, known)


def convolution_of(layer: str) -> int | None:
    """Return the convolution of what can only be a feature index, such as 28: 13; else None."""
    indices = {str(index): number for number, index in enumerate(FEATURE_INDICES, start=1)}
    number = indices.get(layer)
    return None if number is None or 1 <= int(layer) <= len(FEATURE_INDICES) else number


def convolutions_of(layers: Iterable[str], tap: str) -> dict[str, str]:
    """Return the convolution of each feature index, if layers are such; else {}.

    Raises:
        ValueError: what is an index for sure stands beside what is none, or tap is not input.
    """
    written = list(layers)
    certain = [layer for layer in written if convolution_of(layer)]
    if not certain:
        return {}
    first = certain[0]
    meaning = f"{first} is the released code's index of the input of convolution "
    meaning += f"{convolution_of(first)}"
    if tap != "input":
        raise ValueError(f"{meaning}; set at_tap = input, or write convolutions, 1 to 13")
    indices = [str(index) for index in FEATURE_INDICES]
    for layer in written:
        if layer not in indices:
            raise ValueError(f"{meaning}, but {layer} is none; write convolutions, 1 to 13")
    return {layer: str(indices.index(layer) + 1) for layer in written}
