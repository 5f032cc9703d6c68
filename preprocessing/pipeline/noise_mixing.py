"""Speech and noise are mixed at a requested signal-to-noise ratio, many mixtures at a time.

A mixer writes its audio and, at the end, manifest.csv beside it: file, speech, noise, noise type,
requested and true SNR in dB.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from config.files import remove_partial_files
from config.fingerprints import fingerprint_of
from config.settings import Settings
from config.text import display_path
from preprocessing.pipeline import manifests
from preprocessing.pipeline.audio import read_audio, write_audio
from preprocessing.pipeline.decoding import UnusableAudioError
from preprocessing.pipeline.workers import map_in_order

SnrConvention = Literal["ms_snsd", "decibel"]

MIXER_VERSION = 2
LEVEL_DBFS = -25.0
LARGEST_PEAK = 0.99
LEFT_OUT = "left_out.csv"
MANIFEST_COLUMNS = (
    "file",
    "speech",
    "noise",
    "noise_type",
    "requested_snr",
    "true_snr",
    "gain",
)


@dataclass(frozen=True)
class Mixture:
    """A plan for one stretch of speech with one stretch of noise, at one or several SNRs.

    speech, noise: files, each brought to -25 dBFS, joined end to end until the stretch is long
        enough.
    num_samples: shortest length of the speech; None: the first speech file as it is.
    files: for each SNR (dB), the name of the file to write.
    noise_position: where the stretch of noise lies: 0.0 at its beginning, 1.0 at its end.
    notes: further columns of the manifest; all mixtures of a folder have the same ones.
    """

    speech: tuple[Path, ...]
    noise: tuple[Path, ...]
    noise_type: str
    num_samples: int | None
    snrs: tuple[float, ...]
    files: tuple[str, ...]
    noise_position: float = 0.0
    notes: tuple[tuple[str, str], ...] = ()


def scale_to_snr(
    speech: npt.NDArray[Any],
    noise: npt.NDArray[Any],
    snr: float,
    convention: SnrConvention = "ms_snsd",
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return speech at -25 dBFS and noise at the requested SNR, (samples,) each; add them to mix.

    Both are first scaled to -25 dBFS RMS. With `decibel` the noise is then scaled by 10^(-snr/20).
    With `ms_snsd` it is scaled by the square root of that, as the mixer that made the published
    data does, so that a request of x dB gives x/2 dB.

    Args:
        speech: shape (samples,).
        noise: at least as many samples; the rest is not used.
        snr: requested, in dB.

    Raises:
        UnusableAudioError: one of the two is silent.
        ValueError: the noise is too short.
    """
    if len(noise) < len(speech):
        raise ValueError(f"{len(noise)} samples of noise for {len(speech)} of speech")
    clean = _at_level(speech.astype(np.float64))
    other = _at_level(noise[: len(speech)].astype(np.float64))
    decibels = snr / 2 if convention == "ms_snsd" else snr
    return clean, other * 10 ** (-decibels / 20)


def _at_level(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if not samples.any():
        raise UnusableAudioError("silence has no level")
    return samples * (10 ** (LEVEL_DBFS / 20) / _root_mean_square(samples))


def _root_mean_square(samples: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def signal_to_noise_ratio(speech: npt.NDArray[np.float64], noise: npt.NDArray[np.float64]) -> float:
    """Return the true ratio of two signals in dB."""
    return 20 * float(np.log10(_root_mean_square(speech) / _root_mean_square(noise)))


def write_mixtures(
    mixtures: Sequence[Mixture],
    folder: Path,
    settings: Settings,
    convention: SnrConvention | None = None,
) -> None:
    """Write all mixtures and their manifest; leave alone a folder that has them already.

    Args:
        convention: in place of [preprocessing] snr_convention.

    Raises:
        UserError: the folder holds mixtures made in another way, or too many could not be made.
    """
    sample_rate = settings.sampling.sr_target
    convention = convention or settings.preprocessing.snr_convention
    names = [_names_of(mixture) for mixture in mixtures]
    plan = fingerprint_of([MIXER_VERSION, names, sample_rate, convention])
    if not manifests.is_complete(folder, plan):
        with manifests.written_by_one(folder, settings):
            if not manifests.is_complete(folder, plan):
                _write_mixtures(mixtures, folder, settings, convention, plan)


def _write_mixtures(
    mixtures: Sequence[Mixture],
    folder: Path,
    settings: Settings,
    convention: SnrConvention,
    plan: str,
) -> None:
    """Write all mixtures into a folder that no other process writes to now."""
    sample_rate = settings.sampling.sr_target
    manifests.begin(folder, plan, {"snr_convention": convention, "sample_rate": sample_rate})
    write = partial(_write_mixture, folder=folder, sample_rate=sample_rate, convention=convention)
    results = map_in_order(write, mixtures, settings.preprocessing.workers, folder.name, "mixture")
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    try:
        with closing(results):
            for written, failed in results:
                rows += written
                left_out += failed
    finally:
        remove_partial_files(folder)  # of processes that ended with this one's error
    manifests.write_table(folder / LEFT_OUT, left_out, ["files", "reason"])
    reasons = [each["reason"] for each in left_out]
    manifests.refuse_many_left_out(
        reasons, len(mixtures), "mixtures could not be made", folder / LEFT_OUT, settings
    )
    columns = [*MANIFEST_COLUMNS, *dict(mixtures[0].notes if mixtures else ())]
    manifests.write_table(folder / manifests.MANIFEST, rows, columns)
    print(f"{display_path(folder)}: {len(rows)} files, {len(left_out)} mixtures left out")


def details_of(row: Mapping[str, str]) -> dict[str, str | float | int]:
    """Return what a row of the manifest says of a clip, for its dataset."""
    return {
        "noise_type": row["noise_type"],
        "noise": row["noise"],
        "speech": row["speech"],
        "requested_snr": float(row["requested_snr"]),
        "true_snr": float(row["true_snr"]),
    }


def _names_of(mixture: Mixture) -> list[Any]:
    """Return what a mixture is made of; a corpus that moved to another folder is still the same."""
    speech, noise = ([path.name for path in part] for part in (mixture.speech, mixture.noise))
    names = [speech, noise, mixture.num_samples, mixture.snrs, mixture.files]
    return [*names, mixture.noise_position, mixture.notes]


def _write_mixture(
    mixture: Mixture, folder: Path, sample_rate: int, convention: SnrConvention
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Write one mixture; return its rows of the manifest, and its row of those left out."""
    rows = []
    try:
        speech = _join(mixture.speech, sample_rate, mixture.num_samples)
        noise = _join(mixture.noise, sample_rate, len(speech), mixture.noise_position)
        for snr, file in zip(mixture.snrs, mixture.files, strict=True):
            clean, scaled_noise = scale_to_snr(speech, noise, snr, convention)
            noisy = clean + scaled_noise
            gain = min(1.0, LARGEST_PEAK / float(np.abs(noisy).max()))
            write_audio(folder / file, noisy * gain, sample_rate)
            rows.append(
                {
                    "file": file,
                    "speech": _sources(mixture.speech),
                    "noise": _sources(mixture.noise),
                    "noise_type": mixture.noise_type,
                    "requested_snr": snr,
                    "true_snr": round(signal_to_noise_ratio(clean, scaled_noise), 4),
                    "gain": gain,
                    **dict(mixture.notes),
                }
            )
    except UnusableAudioError as error:
        files = _sources((*mixture.speech, *mixture.noise))
        return [], [{"files": files, "reason": str(error)}]
    return rows, []


def _sources(paths: Sequence[Path]) -> str:
    return ";".join(dict.fromkeys(path.name for path in paths))


def _join(
    paths: Sequence[Path], sample_rate: int, num_samples: int | None, position: float = 0.0
) -> npt.NDArray[np.float64]:
    """Bring files to -25 dBFS and join them, cut to num_samples; None: all of the first one.

    What is cut off is behind the stretch, or a part of it (position 0.0 to 1.0) before it.

    Raises:
        UnusableAudioError: a file cannot be read, or all of them together are too short.
    """
    parts: list[npt.NDArray[np.float64]] = []
    for path in paths:
        samples = read_audio(path, sample_rate).astype(np.float64)
        parts.append(_at_level(samples) if samples.any() else samples)
        if num_samples is None or sum(map(len, parts)) >= num_samples:
            break
    joined: npt.NDArray[np.float64] = np.concatenate(parts)
    if num_samples is not None and len(joined) < num_samples:
        raise UnusableAudioError(f"{len(joined)} samples where {num_samples} are needed")
    if num_samples is None:
        return joined
    start = round(position * (len(joined) - num_samples))
    return joined[start : start + num_samples]
