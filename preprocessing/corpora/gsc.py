"""Google Speech Commands v0.01, the ten digits: balanced, and mixed with noise.

Layout: one folder per word, files <speaker hash>_nohash_<n>.wav.
"""

import re
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from config.errors import UserError
from config.files import written_aside
from config.listing import files_in, folders_in
from config.log import logger
from config.settings import Settings
from config.text import counted, display_path, first_of, printable
from preprocessing.corpora import register
from preprocessing.corpora.noisyspeech import CORPUS as NOISES
from preprocessing.corpora.noisyspeech import find_noises
from preprocessing.pipeline.audio import decode
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Archive, Clip, Corpus, Dataset
from preprocessing.pipeline.decoding import why_unusable
from preprocessing.pipeline.generated_folders import (
    MANIFEST,
    Plan,
    begin,
    make_once,
    plan_of,
    read_manifest,
)
from preprocessing.pipeline.left_out import Unusable, note_left_out
from preprocessing.pipeline.noise_mixing import Mixture, details_of, write_mixtures
from preprocessing.pipeline.tables import write_rows
from preprocessing.pipeline.workers import map_in_order

# The checksum is that of torchaudio.datasets.
CORPUS = Corpus(
    name="gsc",
    title="Google Speech Commands v0.01",
    key="input_gsc_raw_folder",
    folder_name="speech_commands_v0.01",
    layout="Google Speech Commands v0.01 with a folder for each word",
    page="https://arxiv.org/abs/1804.03209",
    licence="Google Speech Commands: CC BY 4.0",
    archives=(
        Archive(
            "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
            "sha256:743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        ),
    ),
)
# A balanced clip abcd1234_nohash_0_seven.wav, and what a mixer puts before its name.
SPEAKER = re.compile(r"(?:noisy\d+_SNRdb_[\d.]+_)?([^_]+)_nohash_\d+_[a-z]+")
NUM_FILES = 64_727  # all words, and six background noises
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BALANCED, NOISY, NOISY_MORE = "balanced", "noisy_balanced", "noisy_MORE_balanced"
SNRS = {NOISY: (20.0, 25.0, 30.0, 35.0, 40.0), NOISY_MORE: (0.0, 2.5, 5.0, 7.5, 10.0)}
# Clips of a speaker that is told from others, so that training and test have some.
FEWEST_OF_SPEAKER = 10
BALANCE_COMMAND = "python preprocessing/balance_gsc.py"
SYNTHESIZERS = {
    NOISY: "python preprocessing/noisyspeech_synthesizer_gsc.py",
    NOISY_MORE: "python preprocessing/noisyspeech_synthesizer_gsc_MORE.py",
}


def choose_balanced(settings: Settings) -> list[tuple[Path, str]]:
    """Draw items_per_class clips of each digit, with the names they get when balanced.

    Raises:
        UserError: the corpus is missing, or a word has too few clips.
    """
    raw = CORPUS.folder(settings)
    count = settings.preprocessing.items_per_class
    generator = np.random.default_rng(settings.preprocessing.seed)
    files = {folder.name: files_in(folder, ".wav") for folder in folders_in(raw)}
    sizes = {word: len(files.get(word, [])) for word in DIGITS}
    empty = [word for word, size in sizes.items() if not size]
    if empty:
        raise CORPUS.wrong_folder(raw, f"holds no .wav files of {', '.join(empty)}")
    few = [f"{word} {size}" for word, size in sizes.items() if size < count]
    if few:
        raise UserError(
            f"{display_path(raw)}: fewer clips than items_per_class = {count}: {', '.join(few)}; "
            f"pass --set items_per_class={min(sizes.values())} or less"
        )
    chosen = []
    for word in DIGITS:
        clips = files[word]
        picked = sorted(generator.choice(len(clips), size=count, replace=False).tolist())
        chosen += [(clips[i], f"{clips[i].stem}_{word}.wav") for i in picked]
    CORPUS.expect("audio files", NUM_FILES, sum(map(len, files.values())))
    return chosen


def write_balanced(settings: Settings) -> Path:
    """Copy the chosen clips that can be read into one folder with a manifest; return the folder.

    Raises:
        UserError: as choose_balanced, too many cannot be read, or the folder holds another choice.
    """
    chosen = choose_balanced(settings)
    folder = mixtures_folder(settings, BALANCED)
    paths = {name: path for path, name in chosen}
    plan = plan_of(list(paths), paths.values())

    def is_usable(name: str) -> bool:
        return name in paths and not why_unusable(decode, paths[name])

    make = partial(_write_balanced, chosen, folder, plan, settings)
    make_once(folder, plan, settings, is_usable, make)
    return folder


def _write_balanced(
    chosen: Sequence[tuple[Path, str]], folder: Path, plan: Plan, settings: Settings
) -> None:
    """Copy the clips into a folder that no other process writes to now."""
    count = settings.preprocessing.items_per_class
    begin(folder, plan, settings, {"items_per_class": count})
    workers = settings.preprocessing.workers
    copied = map_in_order(partial(_copy, folder=folder), chosen, workers, folder.name, "clip")
    with closing(copied):
        reasons = {name: reason for (_, name), reason in zip(chosen, copied, strict=True) if reason}
    unusable = Unusable("clip", list(reasons.items()), len(chosen))
    words = note_left_out(folder, [unusable], settings)
    rows = [
        {"file": name, "source": printable(str(path))}
        for path, name in chosen
        if name not in reasons
    ]
    write_rows(folder / MANIFEST, rows, ["file", "source"])
    logger.info(
        f"{display_path(folder)}: {counted(len(rows), 'clip')}{words or f', {count} of each digit'}"
    )


def _copy(chosen: tuple[Path, str], folder: Path) -> str:
    """Copy a clip under another name; return why it cannot be used, then it is not copied."""
    path, name = chosen
    reason = why_unusable(decode, path)
    if not reason:
        with written_aside(folder / name) as aside:
            shutil.copyfile(path, aside)
    return reason


def write_noisy_balanced(settings: Settings) -> None:
    """Mix the balanced clips with noise at 20 to 40 dB."""
    _write_noisy(settings, NOISY)


def write_noisy_more_balanced(settings: Settings) -> None:
    """Mix the balanced clips with noise at 0 to 10 dB."""
    _write_noisy(settings, NOISY_MORE)


def _write_noisy(settings: Settings, kind: str) -> None:
    mixtures = plan_noisy(settings, SNRS[kind])
    write_mixtures(mixtures, mixtures_folder(settings, kind), settings)


def plan_noisy(settings: Settings, snrs: Sequence[float]) -> list[Mixture]:
    """Plan each balanced clip once, with a random noise at a random one of the SNRs (dB)."""
    noises = find_noises(settings)
    generator = np.random.default_rng(settings.preprocessing.seed)
    mixtures = []
    for counter, path in enumerate(balanced_files(settings), start=1):
        noise, kind = noises[int(generator.integers(len(noises)))]
        snr = float(snrs[int(generator.integers(len(snrs)))])
        file = f"noisy{counter}_SNRdb_{snr:g}_{path.name}"
        mixtures.append(Mixture((path,), (noise,), kind, None, (snr,), (file,)))
    return mixtures


def mixtures_folder(settings: Settings, kind: str) -> Path:
    """Return the folder of one kind of clips: balanced, noisy_balanced, noisy_MORE_balanced."""
    return settings.preprocessing.augmented_gsc_folder / kind


def balanced_files(settings: Settings) -> list[Path]:
    """Return the clips that write_balanced chose.

    Raises:
        UserError: there are none; says which command makes them.
    """
    folder = mixtures_folder(settings, BALANCED)
    rows = read_manifest(folder, BALANCE_COMMAND)
    return [folder / row["file"] for row in rows]


def clip_of(path: Path, details: dict[str, str | float | int]) -> Clip:
    """Describe a clip whose name ends in _<word>.wav.

    Its speaker is empty unless all before the word is <speaker hash>_nohash_<n>.
    """
    word = path.stem.rpartition("_")[2]
    named = SPEAKER.fullmatch(path.stem)
    return Clip(
        path=path,
        name=path.name,
        label=DIGITS.index(word),
        class_name=word,
        group=path.name,
        details={"speaker": named[1] if named else "", **details},
    )


def refuse_unknown_speakers(clips: Sequence[Clip], folder: Path, command: str) -> None:
    """Make sure that each clip has a speaker, for what divides clips by speaker.

    Args:
        folder: where the clips lie.
        command: what made them.

    Raises:
        UserError: some have none; names the first of them.
    """
    unknown = [clip.name for clip in clips if not clip.details["speaker"]]
    if unknown:
        raise UserError(
            f"{display_path(folder)}: {len(unknown)} of {counted(len(clips), 'clip')} tell no "
            f"speaker, and no speaker may be in two sets: {first_of(unknown)}; call them <speaker>"
            f"_nohash_<n>.wav in [preprocessing] {CORPUS.key}, or take them away there; then "
            f"remove this folder and run {command}"
        )


def _list_balanced(settings: Settings) -> list[Clip]:
    return [clip_of(path, {}) for path in balanced_files(settings)]


def _list_noisy(settings: Settings, kind: str) -> list[Clip]:
    folder = mixtures_folder(settings, kind)
    return [
        clip_of(folder / row["file"], details_of(row))
        for row in read_manifest(folder, SYNTHESIZERS[kind])
    ]


def _list_by_speaker(settings: Settings) -> list[Clip]:
    """Return the clips of all speakers who have enough of them for every set."""
    clips = _list_balanced(settings)
    refuse_unknown_speakers(clips, mixtures_folder(settings, BALANCED), BALANCE_COMMAND)
    counts = Counter(str(clip.details["speaker"]) for clip in clips)
    speakers = sorted(name for name, count in counts.items() if count >= FEWEST_OF_SPEAKER)
    known = [clip for clip in clips if clip.details["speaker"] in speakers]
    logger.info(
        f"{len(clips) - len(known)} of {counted(len(clips), 'clip')} left out, of "
        f"{counted(len(counts) - len(speakers), 'speaker')} with fewer than {FEWEST_OF_SPEAKER}"
    )
    return [
        replace(
            clip,
            label=speakers.index(str(clip.details["speaker"])),
            class_name=str(clip.details["speaker"]),
            details={"word": clip.class_name},
        )
        for clip in known
    ]


CLEAN_RANDSPLIT = Dataset(
    name="gsc_randsplit",
    script="preprocessing_GSC_randsplit",
    task="spoken digit",
    sequence_length=1.0,
    split_type=RANDOM_BY_CLIP,
    list_clips=_list_balanced,
    classes=DIGITS,
    sources=("speaker",),
    orthogonal_labels=("speaker",),
    licence=CORPUS.licence,
)
NOISY_RANDSPLIT = replace(
    CLEAN_RANDSPLIT,
    name="gsc_noisy_randsplit",
    script="preprocessing_GSC_NOISY_randsplit",
    task="spoken digit in noise",
    list_clips=partial(_list_noisy, kind=NOISY),
    sources=("speaker", "noise"),
    orthogonal_labels=("noise_type", "speaker"),
    licence=f"{CORPUS.licence}; {NOISES.licence}",
)
NOISY_MORE_RANDSPLIT = replace(
    NOISY_RANDSPLIT,
    name="gsc_noisy_more_randsplit",
    script="preprocessing_GSC_NOISY_MORE_randsplit",
    task="spoken digit in more noise",
    list_clips=partial(_list_noisy, kind=NOISY_MORE),
)
SPEAKER_RANDSPLIT = replace(
    CLEAN_RANDSPLIT,
    name="gsc_speaker_randsplit",
    script="",
    task="speaker of a digit",
    list_clips=_list_by_speaker,
    classes=(),
    sources=(),
    orthogonal_labels=("word",),
)

register(CORPUS, CLEAN_RANDSPLIT, NOISY_RANDSPLIT, NOISY_MORE_RANDSPLIT, SPEAKER_RANDSPLIT)
