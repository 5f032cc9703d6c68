"""[extractor NAME], [network NAME]: merged over files, named by section, paths from their file."""

from pathlib import Path

import pytest

from config.errors import ConfigError
from config.ini_files import load_settings


def _file(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def test_later_files_and_set_change_single_keys_of_a_declaration(tmp_path: Path) -> None:
    first = _file(tmp_path / "a", "my.ini", "[extractor room]\ndataset = rooms\nfolder = models\n")
    second = _file(tmp_path / "b", "my.ini", "[extractor room]\nnum_epochs = 7\n")
    overrides = ["extractor room.patience=3", "extractor iemocap.num_epochs=9"]
    settings = load_settings(first, second, overrides=overrides)
    room = settings.extractors["room"]
    assert (room.name, room.dataset, room.num_epochs, room.patience) == ("room", "rooms", 7, 3)
    assert settings.extractor_folder("room") == tmp_path / "a" / "models"
    assert settings.extractors["iemocap"].num_epochs == 9
    assert (settings.extractors["iemocap"].task, room.task) == ("speaker", "rooms")


def test_set_without_a_section_means_no_declaration() -> None:
    settings = load_settings(overrides=["num_epochs=3"])
    assert settings.training_defaults.num_epochs == 3
    assert settings.extractors["nsynth"].num_epochs == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[extractor]\ndataset = rooms", r"\[extractor\]: no such section; did you mean"),
        ("[extractr room]\ndataset = rooms", r"no such section; did you mean extractor NAME"),
        ("[extractor room]\ntask = room", r"my.ini \[extractor room\] dataset: must be given"),
        ("[extractor room]\nname = hall\ndataset = rooms", r"\[extractor NAME\] gives the name"),
        ("[network net]\nweights = a.pt", r"\[network net\] factory: must be given"),
        ("[network net]\nfactory = mine.Net", "must be package.module:name, as in"),
        ("[network net]\nfactory = m:N\nweights = a.ckpt", r"a file that ends in \.safetensors"),
        ("[network net]\nfactory = m:N\nweights = a.pt", "weights = a.pt: needs num_classes"),
        ("[network net]\nfactory = m:N\nin_channels = 2", "in_channels = 2: is always 1"),
        ("[network iemocap]\nfactory = m:N", "two things of one name; rename one"),
        ("[training_defaults]\nnetwork = resnet", r"no such network; did you mean resnet18\?"),
    ],
)
def test_what_is_no_declaration_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(_file(tmp_path, "my.ini", text))
