"""The mixer: levels and SNR measured on what it makes, files, manifests, restarts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from config.errors import UserError
from config.settings import Settings
from preprocessing.pipeline import noise_mixing
from preprocessing.pipeline.audio import write_audio
from preprocessing.pipeline.generated_folders import read_manifest
from preprocessing.pipeline.noise_mixing import (
    Mixture,
    scale_to_snr,
    write_mixtures,
)

RATE = 16000
LEVEL = 10 ** (-25 / 20)

WriteWav = Callable[..., Path]
MakeSettings = Callable[..., Settings]


def rms(samples: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.asarray(samples, dtype=np.float64) ** 2)))


def measured_snr(noisy: npt.NDArray[Any], speech: npt.NDArray[Any]) -> float:
    """The SNR (dB) of a mixture, from the speech alone: the rest of the mixture is noise."""
    clean = speech * LEVEL / rms(speech)
    return 20 * float(np.log10(rms(clean) / rms(noisy - clean)))


def mix_at_snr(*arguments: Any) -> npt.NDArray[np.float64]:
    speech, noise = scale_to_snr(*arguments)
    return speech + noise


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def speech() -> npt.NDArray[np.float64]:
    time = np.arange(RATE) / RATE
    return np.asarray(0.3 * np.sin(2 * np.pi * 150 * time) * np.sin(2 * np.pi * 3 * time) ** 2)


@pytest.fixture
def noise() -> npt.NDArray[np.float64]:
    """Loud at its end, beyond the length of the speech."""
    values = np.random.default_rng(0).standard_normal(2 * RATE) * 0.01
    values[RATE:] *= 50
    return values


class TestOneMixture:
    @pytest.mark.parametrize("requested", [-10.0, 0.0, 2.5, 40.0])
    @pytest.mark.parametrize(("convention", "factor"), [("ms_snsd", 0.5), ("decibel", 1.0)])
    def test_measured_snr(
        self,
        speech: npt.NDArray[np.float64],
        noise: npt.NDArray[np.float64],
        requested: float,
        convention: Any,
        factor: float,
    ) -> None:
        noisy = mix_at_snr(speech, noise, requested, convention)
        assert noisy.shape == speech.shape
        assert measured_snr(noisy, speech) == pytest.approx(factor * requested, abs=1e-6)

    def test_speech_and_noise_are_at_25_db_below_full_scale(
        self, speech: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]
    ) -> None:
        nearly_clean = mix_at_snr(speech * 2, noise, 200.0, "decibel")
        assert 20 * np.log10(rms(nearly_clean)) == pytest.approx(-25, abs=1e-4)
        mixed = mix_at_snr(speech, noise, 0.0, "decibel")
        rest = mixed - speech * LEVEL / rms(speech)
        np.testing.assert_allclose(rest / rest[0], noise[:RATE] / noise[0], rtol=1e-6)
        assert 20 * np.log10(rms(rest)) == pytest.approx(-25, abs=1e-6)


class TestFolders:
    """Three mixtures of two SNRs: joined speech, joined noise, and speech as it is."""

    @pytest.fixture
    def mixtures(self, tmp_path: Path, write_wav: WriteWav) -> list[Mixture]:
        source = tmp_path / "source"
        speech = [write_wav(source / f"s{i}.wav", 0.5 + 0.2 * i, seed=i) for i in range(3)]
        noise = [write_wav(source / f"Typing_{i}.wav", 0.6, seed=10 + i) for i in range(2)]
        plans: list[tuple[tuple[Path, ...], tuple[Path, ...], int | None]] = [
            ((speech[0], speech[1]), tuple(noise) * 2, 16000),
            ((speech[1],), (noise[1], noise[0]), 11200),
            ((speech[2],), (noise[0],) * 8, None),
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
    def write(self, tmp_path: Path, make_settings: MakeSettings) -> Callable[..., Path]:
        def write(
            mixtures: list[Mixture],
            name: str = "noisy",
            convention: Any = "ms_snsd",
            workers: int = 1,
            max_skipped_fraction: float = 0.0,
        ) -> Path:
            folder = tmp_path / name
            settings = make_settings(
                snr_convention=convention,
                workers=workers,
                max_skipped_fraction=max_skipped_fraction,
            )
            write_mixtures(mixtures, folder, settings)
            return folder

        return write

    @pytest.mark.parametrize(("convention", "factor"), [("ms_snsd", 0.5), ("decibel", 1.0)])
    def test_true_snr_of_the_files_is_in_the_manifest(
        self,
        mixtures: list[Mixture],
        write: Callable[..., Path],
        convention: str,
        factor: float,
    ) -> None:
        folder = write(mixtures, convention=convention)
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

    def test_the_number_of_processes_changes_nothing(
        self, mixtures: list[Mixture], write: Callable[..., Path]
    ) -> None:
        assert contents(write(mixtures, "one")) == contents(write(mixtures, "two", workers=2))

    def test_loud_mixtures_are_scaled_down_not_clipped(
        self, tmp_path: Path, write_wav: WriteWav, write: Callable[..., Path]
    ) -> None:
        """One click in silence is 40 dB above its own mean level."""
        click = np.zeros(RATE)
        click[800] = 0.9
        soundfile.write(tmp_path / "click.wav", click, RATE)
        noise = write_wav(tmp_path / "Typing_1.wav", 1.0, seed=0)
        mixture = Mixture((tmp_path / "click.wav",), (noise,), "Typing", None, (40.0,), ("a.wav",))
        folder = write([mixture])
        (row,) = read_manifest(folder, "")
        noisy, _ = soundfile.read(folder / "a.wav")
        assert np.abs(noisy).max() == pytest.approx(0.99, abs=1e-4)
        assert float(row["gain"]) == pytest.approx(0.99 / (LEVEL / rms(click) * 0.9), rel=1e-2)
        assert measured_snr(noisy / float(row["gain"]), click) == pytest.approx(20.0, abs=0.5)

    def test_each_file_is_brought_to_one_level_before_files_are_joined(
        self, tmp_path: Path, write: Callable[..., Path]
    ) -> None:
        """Square waves of 0.5 and 0.05 (20 dB apart), and silence, which has no level."""
        waves = {"loud": 0.5, "quiet": 0.05, "silent": 0.0}
        for name, amplitude in waves.items():
            wave = amplitude * np.resize([1.0, -1.0], 4000)
            soundfile.write(tmp_path / f"{name}.wav", wave, RATE, subtype="FLOAT")
        # 500 Hz for the noise: 16 samples up, 16 down.
        noise = 0.5 * np.repeat(np.resize([1.0, -1.0], 750), 16)
        soundfile.write(tmp_path / "Typing_1.wav", noise, RATE, subtype="FLOAT")
        speech = tuple(tmp_path / f"{name}.wav" for name in waves)
        mixture = Mixture(
            speech, (tmp_path / "Typing_1.wav",), "Typing", 12000, (400.0,), ("a.wav",)
        )
        noisy, _ = soundfile.read(write([mixture], convention="decibel") / "a.wav")
        # Two thirds of the stretch are heard, so they stand sqrt(3 / 2) above -25 dBFS.
        expected = LEVEL * (3 / 2) ** 0.5
        np.testing.assert_allclose(np.abs(noisy[:8000]), expected, atol=1 / 32768)
        np.testing.assert_allclose(noisy[8000:], 0, atol=1 / 32768)

    @pytest.mark.parametrize("num_noise", [1, 304, 16000, 16001])
    def test_noise_is_repeated_as_often_as_needed(
        self, num_noise: int, tmp_path: Path, write: Callable[..., Path]
    ) -> None:
        """One second of speech with noise of one sample, of 19 ms, and longer, from its end on."""
        generator = np.random.default_rng(0)
        speech, noise = generator.uniform(-0.3, 0.3, RATE), generator.uniform(-0.3, 0.3, num_noise)
        soundfile.write(tmp_path / "a.wav", speech, RATE, subtype="FLOAT")
        soundfile.write(tmp_path / "Typing_1.wav", noise, RATE, subtype="FLOAT")
        mixture = Mixture(
            speech=(tmp_path / "a.wav",),
            noise=(tmp_path / "Typing_1.wav",),
            noise_type="Typing",
            num_samples=None,
            snrs=(0.0,),
            files=("noisy.wav",),
            noise_position=1.0,
        )
        noisy, _ = soundfile.read(write([mixture], convention="decibel") / "noisy.wav")
        repeated = np.tile(noise, -(-RATE // num_noise))[-RATE:]
        expected = LEVEL * (speech / rms(speech) + repeated / rms(repeated))
        np.testing.assert_allclose(noisy, expected, atol=2 / 32768)

    def test_an_interrupted_run_begins_anew_and_ends_the_same(
        self,
        mixtures: list[Mixture],
        write: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
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

    def test_another_plan_does_not_mix_in(
        self, mixtures: list[Mixture], write: Callable[..., Path]
    ) -> None:
        """Of other settings it is refused, of another corpus it takes the folder over."""
        before = contents(write(mixtures))
        with pytest.raises(UserError, match="made with other settings or by another program"):
            write(mixtures, convention="decibel")
        assert contents(write(mixtures)) == before
        assert contents(write(mixtures[1:])) == contents(write(mixtures[1:], "elsewhere"))
