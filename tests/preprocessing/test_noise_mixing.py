"""The mixer: levels and SNR measured on what it makes, files, manifests, restarts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from config.errors import UserError
from preprocessing.pipeline import noise_mixing
from preprocessing.pipeline.audio import write_audio
from preprocessing.pipeline.generated_folders import read_manifest
from preprocessing.pipeline.left_out import LEFT_OUT, LISTED
from preprocessing.pipeline.noise_mixing import Mixture, write_mixtures
from preprocessing.pipeline.tables import read_rows
from tests.preprocessing.conftest import RATE, MakeSettings, WriteWav, contents

LEVEL = 10 ** (-25 / 20)

Write = Callable[..., Path]


def rms(samples: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.asarray(samples, dtype=np.float64) ** 2)))


def measured_snr(noisy: npt.NDArray[Any], speech: npt.NDArray[Any]) -> float:
    """The SNR (dB) of a mixture, from the speech alone: the rest of the mixture is noise."""
    clean = speech * LEVEL / rms(speech)
    return 20 * float(np.log10(rms(clean) / rms(noisy - clean)))


def one_mixture(
    folder: Path, speech: Any, noise: Any, snr: float, length: int | None = None, **more: Any
) -> Mixture:
    """Write the samples of each file of speech and of the noise; return their mixture, a.wav."""
    paths = [folder / f"speech{number}.wav" for number in range(len(speech))]
    for path, samples in zip([*paths, folder / "noise.wav"], [*speech, noise], strict=True):
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    noises = (folder / "noise.wav",)
    return Mixture(tuple(paths), noises, "Typing", length, (snr,), ("a.wav",), **more)


@pytest.fixture
def mixtures(tmp_path: Path, write_wav: WriteWav) -> list[Mixture]:
    """Three mixtures of two SNRs: joined speech, joined noise, and speech as it is."""
    source = tmp_path / "source"
    speech = [write_wav(source / f"s{i}.wav", 0.5 + 0.2 * i, seed=i) for i in range(3)]
    noise = [write_wav(source / f"Typing_{i}.wav", 0.6, seed=10 + i) for i in range(3)]
    plans: list[tuple[tuple[Path, ...], tuple[Path, ...], int | None]] = [
        ((speech[0], speech[1]), tuple(noise[:2]) * 2, 16000),
        ((speech[1],), (noise[1], noise[0]), 11200),
        ((speech[2],), (noise[2],) * 8, None),
    ]
    return [
        Mixture(
            speech=files,
            noise=noises,
            noise_type="Typing",
            num_samples=num_samples,
            snrs=(0.0, 30.0),
            files=(f"noisy{number}_SNRdb_0_Typing.wav", f"noisy{number}_SNRdb_30_Typing.wav"),
        )
        for number, (files, noises, num_samples) in enumerate(plans, start=1)
    ]


@pytest.fixture
def write(tmp_path: Path, make_settings: MakeSettings) -> Write:
    """Write mixtures into a folder of that name; keyword arguments change settings."""

    def write(mixtures: list[Mixture], name: str = "noisy", **changes: Any) -> Path:
        write_mixtures(mixtures, tmp_path / name, make_settings(**changes))
        return tmp_path / name

    return write


@pytest.mark.parametrize(("convention", "factor"), [("ms_snsd", 0.5), ("decibel", 1.0)])
def test_true_snr_of_the_files_is_in_the_manifest(
    mixtures: list[Mixture], write: Write, convention: str, factor: float
) -> None:
    folder = write(mixtures, snr_convention=convention)
    rows = read_manifest(folder, "")
    assert [row["file"] for row in rows] == [f for m in mixtures for f in m.files]
    for mixture, row in zip([m for m in mixtures for _ in m.snrs], rows, strict=True):
        parts = [soundfile.read(path)[0] for path in mixture.speech]
        speech = np.concatenate([part / rms(part) for part in parts])[: mixture.num_samples]
        noisy, rate = soundfile.read(folder / row["file"])
        assert (len(noisy), rate) == (len(speech), RATE)
        true_snr = float(row["true_snr"])
        assert true_snr == pytest.approx(factor * float(row["requested_snr"]), abs=1e-3)
        measured = measured_snr(noisy / float(row["gain"]), speech)
        assert measured == pytest.approx(true_snr, abs=0.02)


def test_the_number_of_processes_changes_nothing(mixtures: list[Mixture], write: Write) -> None:
    assert contents(write(mixtures, "one")) == contents(write(mixtures, "two", workers=2))


def test_loud_mixtures_are_scaled_down_not_clipped(tmp_path: Path, write: Write) -> None:
    """One click in silence is 40 dB above its own mean level."""
    click = np.zeros(RATE)
    click[800] = 0.9
    noise = np.random.default_rng(0).standard_normal(RATE) / 10
    folder = write([one_mixture(tmp_path, [click], noise, 40.0)])
    (row,) = read_manifest(folder, "")
    noisy, _ = soundfile.read(folder / "a.wav")
    assert np.abs(noisy).max() == pytest.approx(0.99, abs=1e-4)
    assert float(row["gain"]) == pytest.approx(0.99 / (LEVEL / rms(click) * 0.9), rel=1e-2)
    assert measured_snr(noisy / float(row["gain"]), click) == pytest.approx(20.0, abs=0.5)


def test_each_file_is_brought_to_one_level_before_files_are_joined(
    tmp_path: Path, write: Write
) -> None:
    """Square waves of 0.5 and 0.05 (20 dB apart), and silence, which has no level."""
    speech = [amplitude * np.resize([1.0, -1.0], 4000) for amplitude in (0.5, 0.05, 0.0)]
    # 500 Hz for the noise: 16 samples up, 16 down.
    noise = 0.5 * np.repeat(np.resize([1.0, -1.0], 750), 16)
    mixture = one_mixture(tmp_path, speech, noise, 400.0, length=12000)
    noisy, _ = soundfile.read(write([mixture], snr_convention="decibel") / "a.wav")
    # Two thirds of the stretch are heard, so they stand sqrt(3 / 2) above -25 dBFS.
    expected = LEVEL * (3 / 2) ** 0.5
    np.testing.assert_allclose(np.abs(noisy[:8000]), expected, atol=1 / 32768)
    np.testing.assert_allclose(noisy[8000:], 0, atol=1 / 32768)


@pytest.mark.parametrize("num_noise", [1, 304, 16000, 16001])
def test_noise_is_repeated_as_often_as_needed(num_noise: int, tmp_path: Path, write: Write) -> None:
    """One second of speech with noise of one sample, of 19 ms, and longer, from its end on."""
    generator = np.random.default_rng(0)
    speech, noise = generator.uniform(-0.3, 0.3, RATE), generator.uniform(-0.3, 0.3, num_noise)
    mixture = one_mixture(tmp_path, [speech], noise, 0.0, noise_position=1.0)
    noisy, _ = soundfile.read(write([mixture], snr_convention="decibel") / "a.wav")
    repeated = np.tile(noise, -(-RATE // num_noise))[-RATE:]
    expected = LEVEL * (speech / rms(speech) + repeated / rms(repeated))
    np.testing.assert_allclose(noisy, expected, atol=2 / 32768)


@pytest.mark.parametrize("part", ["speech", "noise"])
@pytest.mark.parametrize(("num_bytes", "kind"), [(2000, "truncated"), (0, "unreadable")])
def test_a_broken_source_leaves_its_mixture_out_until_it_is_repaired(
    mixtures: list[Mixture], write: Write, part: str, num_bytes: int, kind: str, tmp_path: Path
) -> None:
    path = getattr(mixtures[2], part)[0]
    whole = path.read_bytes()
    path.write_bytes(whole[:num_bytes])
    with pytest.raises(UserError, match="1 of 3 mixtures cannot be used"):
        write(mixtures, max_skipped_fraction=0.3)
    assert not (tmp_path / "noisy" / "manifest.csv").exists()
    folder = write(mixtures, max_skipped_fraction=0.4)
    (row,) = read_rows(folder / LEFT_OUT, LISTED)
    assert (row["files"], row["reason"].partition(":")[0]) == ("s2.wav;Typing_2.wav", kind)
    found = [row["file"] for row in read_manifest(folder, "")]
    assert found == [*mixtures[0].files, *mixtures[1].files]
    path.write_bytes(whole)
    write(mixtures)
    assert len(list(folder.glob("*.wav"))) == 6
    assert read_rows(folder / LEFT_OUT, LISTED) == []


def test_an_interrupted_run_begins_anew_and_ends_the_same(
    mixtures: list[Mixture], write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = contents(write(mixtures, "undisturbed"))

    def interrupted(path: Path, *arguments: Any) -> None:
        if path.name == mixtures[1].files[1]:
            raise KeyboardInterrupt
        write_audio(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(noise_mixing, "write_audio", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(mixtures, "disturbed")
    assert set(contents(tmp_path / "disturbed")) < set(undisturbed)
    with pytest.raises(UserError, match=r"manifest\.csv: is unfinished; run the command"):
        read_manifest(tmp_path / "disturbed", "the command")
    assert contents(write(mixtures, "disturbed")) == undisturbed


def test_another_plan_does_not_mix_in(mixtures: list[Mixture], write: Write) -> None:
    """Of other settings it is refused, of another corpus it takes the folder over."""
    before = contents(write(mixtures))
    with pytest.raises(UserError, match="made with other settings or by another program"):
        write(mixtures, snr_convention="decibel")
    assert contents(write(mixtures)) == before
    assert contents(write(mixtures[1:])) == contents(write(mixtures[1:], "elsewhere"))
