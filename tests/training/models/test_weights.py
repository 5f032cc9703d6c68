"""Files of trained networks: what is written is read again, and nothing else is taken for it."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from config.errors import UserError
from training.models.description import is_at_chance, read_description
from training.models.weights import (
    WEIGHTS_FILE,
    is_whole,
    load_weights,
    save_model,
    save_weights,
    weights_at,
    weights_fingerprint,
)

DESCRIPTION: dict[str, Any] = {
    "architecture": {"network": "any", "num_classes": 2, "in_channels": 1, "width": 0.5},
    "test_accuracy": 0.8,
    "chance_level": 0.5,
    "num_test_examples": 40,
}


def state() -> dict[str, Tensor]:
    return {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}


def test_an_extractor_is_read_as_it_was_written(tmp_path: Path) -> None:
    counted = {**state(), "num_batches_tracked": torch.tensor(7)}  # of batch normalisation
    save_model(tmp_path / "x" / WEIGHTS_FILE, counted, DESCRIPTION)
    found = load_weights(tmp_path / "x" / "model.safetensors")
    assert found.keys() == counted.keys()
    assert all(torch.equal(found[name], counted[name]) for name in found)
    assert read_description(tmp_path / "x") == {
        **DESCRIPTION,
        "weights_fingerprint": weights_fingerprint(counted),
    }


def test_weights_that_share_memory_or_lie_in_another_order_are_kept_as_they_are(
    tmp_path: Path,
) -> None:
    """Which safetensors refuses: tied layers, slices, and the order that convolutions like."""
    whole = torch.arange(24.0).reshape(2, 3, 2, 2)
    tied = {
        "a": whole,
        "b": whole,
        "slice": whole[0],
        "last": whole.to(memory_format=torch.channels_last),
        "turned": whole[0, 0].T,
    }
    save_weights(tmp_path / "x.safetensors", tied)
    found = load_weights(tmp_path / "x.safetensors")
    assert found.keys() == tied.keys()
    assert all(torch.equal(found[name], tied[name]) for name in tied)
    assert weights_fingerprint(found) == weights_fingerprint(tied)


def test_weights_of_earlier_versions_count_until_new_ones_are_written(tmp_path: Path) -> None:
    path, earlier = tmp_path / "x.safetensors", tmp_path / "x.pt"
    torch.save(state(), earlier)
    assert is_whole(path)
    assert torch.equal(load_weights(weights_at(path))["a"], state()["a"])
    save_weights(path, {"c": torch.ones(1)})
    assert not earlier.exists()
    assert load_weights(weights_at(path)).keys() == {"c"}
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_whole(path)
    path.unlink()
    assert not is_whole(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half an archive"])
def test_a_broken_file_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pt: is no file of weights: ") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ({"epoch": 3, "state_dict": {"a": torch.ones(1)}}, "epoch, state_dict"),
        ({"a": torch.ones(1), "step": 7}, "step"),
        ({1: torch.ones(1)}, "1"),
        (torch.ones(1), "Tensor"),
    ],
)
def test_what_holds_other_things_than_weights_is_told_which(
    tmp_path: Path, content: Any, held: str
) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=rf"holds {held}, not named weights alone; name another"):
        load_weights(tmp_path / "weights.pt")


def test_the_fingerprint_is_a_hash_of_names_shapes_and_values() -> None:
    """Written down apart from the code: extractors of earlier versions must stay valid."""
    digest = hashlib.sha256()
    digest.update(b"a (1, 2) torch.float32" + np.array([1, 2], dtype="<f4").tobytes())
    digest.update(b"b (1,) torch.float32" + np.array([3], dtype="<f4").tobytes())
    assert weights_fingerprint(state()) == digest.hexdigest()[:16]
    turned = {"b": torch.tensor([3.0]), "a": torch.tensor([[1.0], [2.0]]).T}
    assert weights_fingerprint(turned) == digest.hexdigest()[:16]


def test_a_description_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted writing must not leave old words beside new weights."""
    folder = tmp_path / "x"
    save_model(folder / WEIGHTS_FILE, state(), DESCRIPTION)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.models.weights.save_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder / WEIGHTS_FILE, state(), DESCRIPTION)
    with pytest.raises(UserError, match="holds no pre-trained extractor"):
        read_description(folder)


@pytest.mark.parametrize(
    ("accuracy", "num_examples", "at_chance"),
    [(0.59, 100, True), (0.60, 100, False), (0.6, 10, True), (0.6, 1000, False)],
)
def test_chance_level_of_throws_of_a_coin(
    accuracy: float, num_examples: int, at_chance: bool
) -> None:
    """Of a hundred the limit is 0.5 + 1.96 * sqrt(0.25 / 100) = 0.598."""
    description = {
        "test_accuracy": accuracy,
        "chance_level": 0.5,
        "num_test_examples": num_examples,
    }
    assert is_at_chance(description) is at_chance
