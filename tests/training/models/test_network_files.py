"""Trained networks on the disk: what is written is read again, and nothing else is taken for it."""

import hashlib
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from config.errors import UserError
from training.engine.fit import Streams
from training.engine.metrics import SET_METRICS
from training.models.networks import (
    best_run,
    build_network,
    load_extractor,
    start_from_source,
    without_classifier,
)
from training.models.vgg import VGG16
from training.models.weights import (
    learnt_nothing,
    load_weights,
    quality,
    read_description,
    save_extractor,
    save_weights,
    weights_fingerprint,
)
from training.results.dictionary import write_result
from training.results.loading import ResultReader

if TYPE_CHECKING:
    from tests.conftest import Suite

READER = ResultReader()

DESCRIPTION: dict[str, Any] = {
    "architecture": {"network": "vgg16", "num_classes": 2, "in_channels": 1, "width": 0.5},
    "test_accuracy": 0.8,
    "chance_level": 0.5,
    "num_test_examples": 40,
}


def state() -> dict[str, Tensor]:
    return {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0])}


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "weights.pt"
    save_weights(path, state())
    found = load_weights(path)
    assert found.keys() == state().keys()
    assert all(torch.equal(found[name], state()[name]) for name in found)
    assert [each.name for each in path.parent.iterdir()] == ["weights.pt"]


class Trap:
    """What runs code when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("error")
def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "trace"
    torch.save({"a": Trap(trace)}, path)
    with pytest.raises(UserError, match=r"weights\.pt: is no file of weights") as caught:
        load_weights(path)
    assert "weights_only" not in str(caught.value)  # torch says how to run it all the same
    for protocol in (0, 2, pickle.HIGHEST_PROTOCOL):
        path.write_bytes(pickle.dumps(Trap(trace), protocol=protocol))
        with pytest.raises(UserError, match=r"weights\.pt: is no file of weights"):
            load_weights(path)
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 half an archive"])
def test_a_broken_file_is_an_error_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"weights\.pt: is no file of weights: ") as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(1)],
        {"a": 1.0},
        torch.zeros(2),
        {1: torch.zeros(1)},
        {"a": {"b": torch.zeros(1)}},
        None,
    ],
)
def test_anything_but_named_weights_is_refused(tmp_path: Path, value: Any) -> None:
    torch.save(value, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="something other than named weights"):
        load_weights(tmp_path / "weights.pt")


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, dtype=torch.bool),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
    ],
)
def test_tensors_of_anything_but_plain_numbers_are_refused(tmp_path: Path, value: Tensor) -> None:
    torch.save({"a": torch.zeros(1), "b": value}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: (b holds something other|is no file)"):
        load_weights(tmp_path / "weights.pt")


def test_a_shape_that_announces_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    """One number, said to be repeated 10^15 times: 4 PB if anything ever copied it."""
    torch.save({"a": torch.zeros(1).expand(10**6, 10**9)}, tmp_path / "weights.pt")
    assert (tmp_path / "weights.pt").stat().st_size < 5000
    with pytest.raises(UserError, match="its shapes announce more numbers than it holds"):
        load_weights(tmp_path / "weights.pt")


def test_a_file_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    whole, packed = tmp_path / "whole.pt", tmp_path / "packed.pt"
    save_weights(whole, {"a": torch.zeros(100_000)})
    with (
        zipfile.ZipFile(whole) as source,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    assert packed.stat().st_size < 20_000
    with pytest.raises(UserError, match="unpacks to more than its size"):
        load_weights(packed)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither read nor written through; a linked folder is nobody's trick."""
    elsewhere = tmp_path / "elsewhere"
    save_extractor(elsewhere, state(), DESCRIPTION)
    folder = tmp_path / "x"
    folder.mkdir()
    for name in ("model.pt", "extractor.json"):
        (folder / name).symlink_to(elsewhere / name)
    for read in (lambda: load_weights(folder / "model.pt"), lambda: read_description(folder)):
        with pytest.raises(UserError, match=r"x/model\.pt: is a symbolic link") as caught:
            read()
        assert str(caught.value).isprintable()
    (folder / "weights.pt").symlink_to(elsewhere / "model.pt")
    with pytest.raises(UserError, match=r"x/weights\.pt: is a symbolic link"):
        load_weights(folder / "weights.pt")
    before = [path.read_bytes() for path in sorted(elsewhere.iterdir())]
    save_extractor(folder, {"c": torch.ones(1)}, DESCRIPTION)
    assert [path.read_bytes() for path in sorted(elsewhere.iterdir())] == before
    assert load_weights(folder / "model.pt").keys() == {"c"}
    (tmp_path / "linked").symlink_to(elsewhere)
    assert read_description(tmp_path / "linked")["test_accuracy"] == 0.8
    assert load_weights(tmp_path / "linked" / "model.pt").keys() == state().keys()


def test_a_linked_description_is_refused_too(tmp_path: Path) -> None:
    save_extractor(tmp_path / "x", state(), DESCRIPTION)
    path = tmp_path / "x" / "extractor.json"
    path.rename(tmp_path / "other.json")
    path.symlink_to(tmp_path / "other.json")
    with pytest.raises(UserError, match=r"x/extractor\.json: is a symbolic link"):
        read_description(tmp_path / "x")


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"weights\.pt: is no file; run its instance"):
        load_weights(tmp_path / "weights.pt")


def test_weights_of_another_extractor_are_refused(tmp_path: Path) -> None:
    """Of the same shapes: nothing but the fingerprint of the description can tell."""
    save_extractor(tmp_path / "x", state(), {**DESCRIPTION, "name": "nsynth"})
    save_extractor(tmp_path / "iemocap", state(), DESCRIPTION)
    for folder, name in (("x", "nsynth"), ("iemocap", "iemocap")):
        path = tmp_path / folder / "model.pt"
        save_weights(path, {**state(), "b": torch.tensor([3.0000002])})
        with pytest.raises(
            UserError,
            match=r"model\.pt: is not the network that extractor\.json describes .*; "
            rf"train it again: python pretraining/pretrain_vgg_{name}\.py --overwrite$",
        ):
            load_weights(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights\.pt: cannot be read: No such file"):
        load_weights(tmp_path / "weights.pt")


def test_the_fingerprint_changes_with_name_shape_value_and_kind_alone() -> None:
    first = weights_fingerprint(state())
    assert weights_fingerprint(dict(reversed(state().items()))) == first
    assert weights_fingerprint({name: each.clone() for name, each in state().items()}) == first
    others = [
        {"a": torch.tensor([[1.0, 2.0]]), "c": torch.tensor([3.0])},
        {"a": torch.tensor([[1.0], [2.0]]), "b": torch.tensor([3.0])},
        {"a": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([3.0000002])},
        {"a": torch.tensor([[1.0, 2.0]], dtype=torch.float64), "b": torch.tensor([3.0])},
        {"a": torch.tensor([[1.0, 2.0]])},
    ]
    fingerprints = {weights_fingerprint(other) for other in others}
    assert len(fingerprints | {first}) == len(others) + 1


def test_the_fingerprint_is_a_hash_of_names_shapes_and_values() -> None:
    """Written down apart from the code: extractors of earlier versions must stay valid."""
    digest = hashlib.sha256()
    digest.update(b"a (1, 2) torch.float32" + np.array([1, 2], dtype="<f4").tobytes())
    digest.update(b"b (1,) torch.float32" + np.array([3], dtype="<f4").tobytes())
    assert weights_fingerprint(state()) == digest.hexdigest()[:16]
    turned = {"a": torch.tensor([[1.0], [2.0]]).T, "b": torch.tensor([3.0])}
    assert weights_fingerprint(turned) == digest.hexdigest()[:16]


def test_an_extractor_is_read_as_it_was_written(tmp_path: Path) -> None:
    save_extractor(tmp_path / "x", state(), DESCRIPTION)
    found = read_description(tmp_path / "x")
    assert found == {**DESCRIPTION, "weights_fingerprint": weights_fingerprint(state())}
    assert load_weights(tmp_path / "x" / "model.pt").keys() == state().keys()


def test_a_description_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted writing must not leave old words beside new weights."""
    folder = tmp_path / "x"
    save_extractor(folder, state(), DESCRIPTION)

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.models.weights.save_weights", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_extractor(folder, state(), DESCRIPTION)
    with pytest.raises(UserError, match="holds no pre-trained extractor"):
        read_description(folder)


def test_descriptions_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="x: holds no pre-trained extractor"):
        read_description(tmp_path / "x")
    save_extractor(tmp_path / "x", state(), DESCRIPTION)
    path = tmp_path / "x" / "extractor.json"
    for content in (b"{", b"[]", b"3", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"extractor\.json: ") as caught:
            read_description(tmp_path / "x")
        assert "\n" not in str(caught.value)


def refusal_of_changed(folder: Path, change: Any) -> str:
    """The error for a description after a change of its content, one line."""
    save_extractor(folder, state(), DESCRIPTION)
    path = folder / "extractor.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))
    with pytest.raises(UserError) as caught:
        read_description(folder)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("key", [*DESCRIPTION, "weights_fingerprint"])
def test_a_description_without_a_key_is_refused(tmp_path: Path, key: str) -> None:
    message = refusal_of_changed(tmp_path, lambda description: description.pop(key))
    assert message.endswith(f"{key}: missing; train the extractor again with --overwrite")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("test_accuracy", "0.8", "test_accuracy: must be a valid number"),
        ("test_accuracy", True, "test_accuracy: must be a valid number"),
        ("test_accuracy", 1.01, "test_accuracy: must be less than or equal to 1"),
        ("test_accuracy", float("nan"), "NaN is no JSON number"),
        ("test_accuracy", float("inf"), "Infinity is no JSON number"),
        ("chance_level", None, "chance_level: must be a valid number"),
        ("num_test_examples", 0, "num_test_examples: must be greater"),
        ("num_test_examples", 40.5, "num_test_examples: must be a valid integer"),
        ("num_test_examples", 10**300, "num_test_examples: must be less"),
        ("weights_fingerprint", 7, "weights_fingerprint: must be a valid string"),
        ("architecture", [], "architecture: must be a valid dictionary"),
        ("architecture", {"network": "vgg16"}, "architecture.num_classes: missing"),
        (
            "architecture",
            DESCRIPTION["architecture"] | {"width": "1"},
            "architecture.width: must be",
        ),
        ("architecture", DESCRIPTION["architecture"] | {"num_classes": 10**9}, "num_classes: more"),
        ("architecture", DESCRIPTION["architecture"] | {"num_classes": -1}, "num_classes: must be"),
        ("plan", "plan", "plan: must be a valid dictionary"),
    ],
)
def test_a_description_of_other_types_or_ranges_is_refused(
    tmp_path: Path, key: str, value: Any, problem: str
) -> None:
    message = refusal_of_changed(tmp_path, lambda description: description.update({key: value}))
    assert "extractor.json: " in message
    assert problem in message


@pytest.mark.parametrize(
    ("accuracy", "nothing"), [(0.40, True), (0.5, True), (0.59, True), (0.60, False), (1.0, False)]
)
def test_chance_level_of_a_hundred_throws_of_a_coin(accuracy: float, nothing: bool) -> None:
    """The limit is 0.5 + 1.96 * sqrt(0.25 / 100) = 0.598."""
    description = {"test_accuracy": accuracy, "chance_level": 0.5, "num_test_examples": 100}
    assert learnt_nothing(description) is nothing


def test_the_same_accuracy_on_few_examples_may_be_chance() -> None:
    description = {"test_accuracy": 0.6, "chance_level": 0.5}
    assert learnt_nothing({**description, "num_test_examples": 10})
    assert not learnt_nothing({**description, "num_test_examples": 1000})


def test_quality_in_words() -> None:
    words = quality({"test_accuracy": 0.734, "chance_level": 1 / 11})
    assert words == "test accuracy 73.4%, chance 9.1%"


def test_a_frozen_network_has_the_weights_of_its_file(suite: "Suite") -> None:
    folder = suite.write_extractor(seed=4)
    torch.manual_seed(0)
    random_state = torch.get_rng_state()
    frozen = load_extractor(suite.settings(), "noisyspeech", load_weights)
    assert torch.equal(torch.get_rng_state(), random_state)
    stored = torch.load(folder / "model.pt", weights_only=True)
    assert frozen.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in frozen.state_dict().items())
    assert stored["classifier.6.weight"].shape == (11, 128)
    convolutions = {name for name in stored if name.startswith("features.")}
    assert without_classifier(frozen).state_dict().keys() == convolutions


def test_an_extractor_in_a_folder_of_its_own(suite: "Suite") -> None:
    folder = suite.write_extractor("elsewhere")
    settings = suite.settings(at_noisyspeech_model_path=folder)
    assert isinstance(load_extractor(settings, "noisyspeech", load_weights), VGG16)


@pytest.mark.parametrize("key", ["features.0.weight", "features.28.bias", "classifier.6.weight"])
def test_an_extractor_that_lacks_a_weight_is_refused(suite: "Suite", key: str) -> None:
    suite.write_extractor(without=key)
    with pytest.raises(UserError, match=rf"noisyspeech/model\.pt: {key} is missing"):
        load_extractor(suite.settings(), "noisyspeech", load_weights)


def test_an_extractor_of_another_width_is_refused(suite: "Suite") -> None:
    suite.write_extractor(width=1 / 16)
    with pytest.raises(
        UserError,
        match=r"width of the extractor is 0\.0625, this run's is 0\.03125; "
        r"train it again: python pretraining/pretrain_vgg_noisyspeech\.py",
    ):
        load_extractor(suite.settings(), "noisyspeech", load_weights)


@pytest.mark.parametrize(
    ("key", "value", "found"), [("network", "resnet", "resnet"), ("in_channels", 3, "3")]
)
def test_an_extractor_of_another_architecture_is_refused(
    suite: "Suite", key: str, value: Any, found: str
) -> None:
    architecture = VGG16(11, width=1 / 32).architecture | {key: value}
    suite.write_extractor(architecture=architecture)
    with pytest.raises(UserError, match=f"{key} of the extractor is {found}, this run's is "):
        load_extractor(suite.settings(), "noisyspeech", load_weights)


def test_weights_of_other_shapes_than_described_are_refused(suite: "Suite") -> None:
    folder = suite.write_extractor()
    description = json.loads((folder / "extractor.json").read_text())
    save_extractor(folder, VGG16(11, width=1 / 16).state_dict(), description)
    with pytest.raises(UserError, match=r"features\.0\.weight has shape \(4, 1, 3, 3\), expected"):
        load_extractor(suite.settings(), "noisyspeech", load_weights)


def test_weights_that_are_not_finite_are_refused(suite: "Suite") -> None:
    folder = suite.write_extractor()
    weights = load_weights(folder / "model.pt")
    weights["features.10.weight"][0, 0, 1, 1] = float("nan")
    save_extractor(folder, weights, json.loads((folder / "extractor.json").read_text()))
    with pytest.raises(UserError, match=r"features\.10\.weight .* holds NaN or infinite values"):
        load_extractor(suite.settings(), "noisyspeech", load_weights)


def test_other_weights_than_described_are_refused_by_both_ways_to_use_them(suite: "Suite") -> None:
    folder = suite.write_extractor(seed=1)
    other = {name: value + 1 for name, value in load_weights(folder / "model.pt").items()}
    save_weights(folder / "model.pt", other)
    with pytest.raises(UserError, match=r"is not the network that extractor\.json describes"):
        load_extractor(suite.settings(), "noisyspeech", load_weights)
    model = build_network(3, 1 / 32, Streams.from_seed(0, 0))
    with pytest.raises(UserError, match=r"is not the network that extractor\.json describes"):
        start_from_source(model, suite.settings(at_pretraining="noisyspeech"), load_weights, READER)


def test_weight_initialization_takes_the_convolutions_and_nothing_else(suite: "Suite") -> None:
    folder = suite.write_extractor()
    stored = torch.load(folder / "model.pt", weights_only=True)
    streams = Streams.from_seed(0, 0)
    plain = build_network(3, 1 / 32, streams).state_dict()
    model = build_network(3, 1 / 32, streams)
    start_from_source(model, suite.settings(at_pretraining="noisyspeech"), load_weights, READER)
    for name, value in model.state_dict().items():
        source = stored if name.startswith("features.") else plain
        assert torch.equal(value, source[name]), name
    assert not torch.equal(plain["features.0.weight"], stored["features.0.weight"])


def test_without_a_source_a_network_stays_as_it_was_drawn(suite: "Suite") -> None:
    model = build_network(3, 1 / 32, Streams.from_seed(0, 0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    start_from_source(model, suite.settings(), load_weights, READER)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weight_initialization_from_a_file_without_a_convolution_is_refused(
    suite: "Suite",
) -> None:
    suite.write_extractor(without="features.12.bias")
    model = build_network(3, 1 / 32, Streams.from_seed(0, 0))
    with pytest.raises(UserError, match=r"model\.pt: features\.12\.bias is missing"):
        start_from_source(model, suite.settings(at_pretraining="noisyspeech"), load_weights, READER)


def test_no_best_run_of_an_experiment_without_results(suite: "Suite") -> None:
    with pytest.raises(UserError, match=r"run python experiments_manager\.py \[31\] 0"):
        best_run(suite.settings(at_pretraining="experiment 31"), ResultReader())


@pytest.mark.parametrize(
    ("task", "summaries", "best"),
    [
        ("classification", [(0.5, 0.6), (0.9, 0.8), (0.1, 0.7)], 2),
        ("regression", [(0.5, 0.6), (0.9, 0.8), (0.1, 0.7)], 3),
    ],
)
def test_the_best_run_is_that_of_highest_accuracy_or_lowest_error(
    suite: "Suite", task: str, summaries: list[tuple[float, float]], best: int
) -> None:
    metrics = SET_METRICS["classification"] + SET_METRICS["regression"]
    parameters: dict[str, Any] = {
        "task": task,
        "dataset": "tiny",
        "features_type": "spectrum_fast",
        "kind": "baseline",
        "seed": 0,
        "anti_transfer": False,
    }
    for number, (loss, accuracy) in enumerate(summaries, start=1):
        figures = {
            f"{prefix}_{name}": 0.5 for prefix in ("train", "val", "test") for name in metrics
        }
        fold = {**figures, "test_chance": 0.3, "val_loss": loss, "val_acc": accuracy}
        write_result(suite.files(31, number), [fold], parameters, {"split": "by clip"}, {})
    assert (
        best_run(suite.settings(at_pretraining="experiment 31"), ResultReader())["number"] == best
    )
