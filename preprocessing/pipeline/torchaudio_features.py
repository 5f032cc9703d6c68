"""Features of many clips at once on a GPU, by torchaudio: features_backend = torchaudio.

The same definitions as preprocessing/pipeline/features.py, which computes them one clip at a time
with scipy, librosa and Essentia; the constant-Q transform has no counterpart here.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from config.errors import UserError
from config.settings import FeatureExtraction
from preprocessing.pipeline.decoding import Samples
from preprocessing.pipeline.features import (
    HOP_LENGTH,
    MFCC_BANDS,
    POWER_LAW_EXPONENT,
    WINDOW_LENGTH,
    Features,
    log_floor,
)

if TYPE_CHECKING:
    from torch import Tensor

SILENCE_THRESHOLD = 1e-10
WINDOWS = {"hann": "hann_window", "hamming": "hamming_window", "blackman": "blackman_window"}


def batched_features(
    clips: Sequence[Samples], settings: FeatureExtraction, sample_rate: int
) -> list[Features]:
    """Compute the configured features of each clip, float32 (frames, bins).

    Args:
        clips: samples of each clip, of any length.
        settings: as check_torchaudio passes them.
    """
    import torch

    spectra = EXTRACTORS[settings.features_type](settings, sample_rate)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lengths = [len(samples) for samples in clips]
    batch = torch.zeros(len(clips), max(lengths))
    for row, samples in enumerate(clips):
        batch.numpy()[row, : len(samples)] = samples
    frames = [_num_frames(length, settings) for length in lengths]
    needed = (max(frames) - 1) * _hop_length(settings)
    batch = torch.nn.functional.pad(batch, (0, max(0, needed - batch.shape[1])))
    features = spectra(batch.to(device))
    if settings.compression == "power":
        features = features.pow(POWER_LAW_EXPONENT)
    if settings.compression == "log":
        features = features.clamp(min=log_floor(settings)).log()
    features = features.cpu()
    return [features[row, :count].contiguous().numpy() for row, count in enumerate(frames)]


def check_torchaudio(settings: FeatureExtraction) -> None:
    """Refuse a backend that cannot compute these features.

    Raises:
        UserError: says what is missing and how to get it.
    """
    if settings.features_type not in EXTRACTORS:
        raise UserError(
            f"[feature_extraction] features_type = {settings.features_type}: features_backend = "
            f"torchaudio has {', '.join(EXTRACTORS)}; use features_backend = cpu"
        )
    if settings.features_type == "stft" and settings.window_type not in WINDOWS:
        raise UserError(
            f"[feature_extraction] window_type = {settings.window_type}: features_backend = "
            f"torchaudio has {', '.join(WINDOWS)}"
        )
    if settings.features_type == "mfcc" and settings.window_type_mfcc != "hann":
        raise UserError(
            f"[feature_extraction] window_type_mfcc = {settings.window_type_mfcc}: "
            "features_backend = torchaudio has hann"
        )
    try:
        import torchaudio  # noqa: F401
    except (ImportError, OSError) as error:
        raise UserError(
            f"[feature_extraction] features_backend = torchaudio: cannot be imported ({error}); "
            "pip install -r requirements-gpu.txt on a machine with a CUDA build of torch, or use "
            "features_backend = cpu"
        ) from None


def _hop_length(settings: FeatureExtraction) -> int:
    return {
        "spectrum_fast": HOP_LENGTH,
        "stft": settings.hop_size_stft,
        "mel": settings.hop_size_mel,
        "log_mel": settings.hop_size_mel,
        "mfcc": settings.hop_size_mfcc,
    }[settings.features_type]


def _num_frames(num_samples: int, settings: FeatureExtraction) -> int:
    """Return the frames of a clip of that length, as the library on the CPU counts them."""
    hop_length = _hop_length(settings)
    if settings.features_type == "spectrum_fast":
        return -(-max(num_samples, WINDOW_LENGTH) // hop_length) + 1
    if settings.features_type == "mfcc":
        return max(0, -((settings.window_size_mfcc - num_samples) // hop_length)) + 1
    return num_samples // hop_length + 1


def _spectrogram(**arguments: Any) -> Callable[["Tensor"], "Tensor"]:
    import torchaudio

    transform = torchaudio.transforms.Spectrogram(pad_mode="constant", **arguments)
    return lambda batch: transform.to(batch.device)(batch).transpose(1, 2)


def _spectrum_fast(_settings: FeatureExtraction, _rate: int) -> Callable[["Tensor"], "Tensor"]:
    import torch

    scale = float(torch.hamming_window(WINDOW_LENGTH).sum())
    spectrogram = _spectrogram(
        n_fft=WINDOW_LENGTH, hop_length=HOP_LENGTH, window_fn=torch.hamming_window, power=1.0
    )
    return lambda batch: spectrogram(batch) / scale


def _stft(settings: FeatureExtraction, _rate: int) -> Callable[["Tensor"], "Tensor"]:
    import torch

    return _spectrogram(
        n_fft=settings.fft_size,
        win_length=settings.window_size,
        hop_length=settings.hop_size_stft,
        window_fn=getattr(torch, WINDOWS[settings.window_type]),
        power=1.0,
    )


def _mel(settings: FeatureExtraction, sample_rate: int) -> Callable[["Tensor"], "Tensor"]:
    import torchaudio

    transform = torchaudio.transforms.MelSpectrogram(
        sample_rate=sample_rate,
        n_fft=settings.fft_size_mel,
        hop_length=settings.hop_size_mel,
        n_mels=settings.n_mels,
        f_min=settings.fmin_mel,
        f_max=settings.fmax_mel,
        power=settings.power_mel,
        norm="slaney",
        mel_scale="slaney",
        pad_mode="constant",
    )
    return lambda batch: transform.to(batch.device)(batch).transpose(1, 2)


def _log_mel(settings: FeatureExtraction, sample_rate: int) -> Callable[["Tensor"], "Tensor"]:
    mel, floor = _mel(settings, sample_rate), log_floor(settings)
    return lambda batch: mel(batch).clamp(min=floor).log()


def _mfcc(settings: FeatureExtraction, sample_rate: int) -> Callable[["Tensor"], "Tensor"]:
    """Compute Essentia's MFCC: power in mel bands of unit sum, in dB, by an orthonormal DCT-II."""
    import torch
    import torchaudio

    length = settings.window_size_mfcc
    window = torch.hann_window(length, periodic=False)
    window = 2 * window / window.sum()
    bands = max(MFCC_BANDS, settings.n_mfcc)
    filters = torchaudio.functional.melscale_fbanks(
        settings.fft_size_mfcc // 2 + 1,
        f_min=0.0,
        f_max=sample_rate / 2 - 1,
        n_mels=bands,
        sample_rate=sample_rate,
        mel_scale="htk",
    )
    filters = filters / filters.sum(dim=0)
    transform = torchaudio.functional.create_dct(settings.n_mfcc, bands, norm="ortho")

    def compute(batch: "Tensor") -> "Tensor":
        padded = torch.nn.functional.pad(batch, (0, length))
        frames = padded.unfold(1, length, settings.hop_size_mfcc)
        spectrum = torch.fft.rfft(frames * window.to(batch.device), settings.fft_size_mfcc)
        power = spectrum.abs().square() @ filters.to(batch.device)
        decibels = 20 * power.clamp(min=SILENCE_THRESHOLD).log10()
        coefficients: Tensor = decibels @ transform.to(batch.device)
        return coefficients

    return compute


# Each makes a function from (clips, samples) to (clips, frames, bins).
EXTRACTORS: dict[str, Callable[[FeatureExtraction, int], Callable[["Tensor"], "Tensor"]]] = {
    "spectrum_fast": _spectrum_fast,
    "stft": _stft,
    "mel": _mel,
    "log_mel": _log_mel,
    "mfcc": _mfcc,
}
