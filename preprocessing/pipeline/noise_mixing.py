"""Speech and noise are mixed at a requested signal-to-noise ratio, many mixtures at a time.

A mixer writes its audio and, at the end, manifest.csv beside it: file, speech, noise, noise type,
requested and true SNR in dB.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from config.files import remove_partial_files
from config.log import logger
from config.settings import Settings
from config.text import counted, display_path
from preprocessing.pipeline.audio import audio_seconds, read_audio, write_audio
from preprocessing.pipeline.decoding import UnusableAudioError, why_unusable
from preprocessing.pipeline.generated_folders import MANIFEST, Plan, begin, make_once, plan_of
from preprocessing.pipeline.left_out import Unusable, note_left_out
from preprocessing.pipeline.tables import write_rows
from preprocessing.pipeline.workers import map_in_order

SnrConvention = Literal["ms_snsd", "decibel"]

MIXER_VERSION = 2
REPEATED_IN_PLANS = 8  # what fingerprints count, so that folders stay as they are
LEVEL_DBFS = -25.0
LARGEST_PEAK = 0.99
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

    speech, noise: files, each brought to -25 dBFS, joined end to end, again from the first,
        until the stretch is long enough.
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


@dataclass(frozen=True)
class Sources:
    """Files of one kind that mixtures are planned from; each is read once, for its length.

    what: one of them in words.
    sample_rate: of the mixtures, in Hz.
    seconds: lengths of those that were read; 0.0: unusable.
    reasons: why some are unusable.
    """

    what: str
    sample_rate: int
    seconds: dict[Path, float] = field(default_factory=dict)
    reasons: dict[Path, str] = field(default_factory=dict)

    def seconds_of(self, path: Path) -> float:
        """Return a file's length in s, 0.0 if it is unusable.

        Only whole samples at the rate of the mixtures count, so that joined files never fall short.
        """
        if path not in self.seconds:
            try:
                num_samples = math.floor(audio_seconds(path) * self.sample_rate + 1e-6)
                if num_samples == 0:
                    raise UnusableAudioError("empty")
            except UnusableAudioError as error:
                self.reasons[path] = str(error)
                num_samples = 0
            self.seconds[path] = num_samples / self.sample_rate
        return self.seconds[path]

    @property
    def unusable(self) -> Unusable:
        """Those of the files read that are."""
        reasons = [(path.name, reason) for path, reason in self.reasons.items()]
        return Unusable(self.what, reasons, len(self.seconds))


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
        speech: shape (samples,), not 0 throughout.
        noise: the same, of as many samples.
        snr: requested, in dB.
    """
    clean = _at_level(speech.astype(np.float64))
    other = _at_level(noise.astype(np.float64))
    decibels = snr / 2 if convention == "ms_snsd" else snr
    return clean, other * 10 ** (-decibels / 20)


def _at_level(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
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
    sources: Sequence[Sources] = (),
) -> None:
    """Write all mixtures and their manifest; leave alone a folder that has them already.

    Args:
        convention: in place of [preprocessing] snr_convention.
        sources: what the mixtures were planned from.

    Raises:
        UserError: the folder holds mixtures made in another way, too many cannot be made, or
            too many of the sources are unusable.
    """
    sample_rate = settings.sampling.sr_target
    convention = convention or settings.preprocessing.snr_convention
    names = [_names_of(mixture) for mixture in mixtures]
    plan = plan_of(
        [MIXER_VERSION, names, sample_rate, convention],
        (path for mixture in mixtures for path in (*mixture.speech, *mixture.noise)),
    )
    by_sources = {_all_sources(mixture): mixture for mixture in mixtures}

    def is_usable(files: str) -> bool:
        mixture = by_sources.get(files)
        return mixture is not None and not why_unusable(_read_sources, mixture, sample_rate)

    def make() -> None:
        unusable = [each.unusable for each in sources]
        note_left_out(folder, unusable, settings)
        _write_mixtures(mixtures, folder, settings, convention, plan, unusable)

    make_once(folder, plan, settings, is_usable, make)


def _write_mixtures(
    mixtures: Sequence[Mixture],
    folder: Path,
    settings: Settings,
    convention: SnrConvention,
    plan: Plan,
    unusable: Sequence[Unusable],
) -> None:
    """Write all mixtures into a folder that no other process writes to now."""
    sample_rate = settings.sampling.sr_target
    description = {"snr_convention": convention, "sample_rate": sample_rate}
    begin(folder, plan, settings, description)
    write = partial(_write_mixture, folder=folder, sample_rate=sample_rate, convention=convention)
    results = map_in_order(write, mixtures, settings.preprocessing.workers, folder.name, "mixture")
    rows: list[dict[str, Any]] = []
    left_out: list[tuple[str, str]] = []
    try:
        with closing(results):
            for written, failed in results:
                rows += written
                left_out += failed
    finally:
        remove_partial_files(folder)  # of processes that ended with this one's error
    kinds = [*unusable, Unusable("mixture", left_out, len(mixtures))]
    words = note_left_out(folder, kinds, settings)
    columns = [*MANIFEST_COLUMNS, *dict(mixtures[0].notes if mixtures else ())]
    write_rows(folder / MANIFEST, rows, columns)
    logger.info(
        f"{display_path(folder)}: {counted(len(rows), 'file')}{words or '; nothing left out'}"
    )


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
    if mixture.num_samples is None:
        noise *= REPEATED_IN_PLANS
    names = [speech, noise, mixture.num_samples, mixture.snrs, mixture.files]
    return [*names, mixture.noise_position, mixture.notes]


def _write_mixture(
    mixture: Mixture, folder: Path, sample_rate: int, convention: SnrConvention
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Write one mixture; return its rows of the manifest, or its sources and why it is left out."""
    try:
        speech, noise = _read_sources(mixture, sample_rate)
    except UnusableAudioError as error:
        return [], [(_all_sources(mixture), str(error))]
    rows = []
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
    return rows, []


def _read_sources(
    mixture: Mixture, sample_rate: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the stretches of speech and of noise, of one length.

    Raises:
        UnusableAudioError: a file cannot be read, or one of the two holds nothing but zeros.
    """
    speech = _join(mixture.speech, sample_rate, mixture.num_samples)
    noise = _join(mixture.noise, sample_rate, len(speech), mixture.noise_position)
    for what, samples in (("speech", speech), ("noise", noise)):
        if not samples.any():
            raise UnusableAudioError(f"silent: the {what} is 0 throughout, which has no level")
    return speech, noise


def _all_sources(mixture: Mixture) -> str:
    return _sources((*mixture.speech, *mixture.noise))


def _sources(paths: Sequence[Path]) -> str:
    return ";".join(dict.fromkeys(path.name for path in paths))


def _join(
    paths: Sequence[Path], sample_rate: int, num_samples: int | None, position: float = 0.0
) -> npt.NDArray[np.float64]:
    """Bring files to -25 dBFS and join them, cut to num_samples; None: all of the first one.

    If they are too short, all are repeated. What is cut off is behind the stretch, or a part of it
    (position 0.0 to 1.0) before it.

    Raises:
        UnusableAudioError: a file cannot be read.
    """
    parts: list[npt.NDArray[np.float64]] = []
    for path in paths:
        samples = read_audio(path, sample_rate).astype(np.float64)
        parts.append(_at_level(samples) if samples.any() else samples)
        if num_samples is None or sum(map(len, parts)) >= num_samples:
            break
    joined: npt.NDArray[np.float64] = np.concatenate(parts)
    if num_samples is None:
        return joined
    joined = np.tile(joined, max(1, math.ceil(num_samples / len(joined))))
    start = round(position * (len(joined) - num_samples))
    return joined[start : start + num_samples]
