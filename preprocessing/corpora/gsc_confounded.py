"""Speech commands whose noise follows the word in training and not in the test: a known shortcut.

Digit i goes with the i-th of the first ten types of noise in alphabetical order, in the fraction
[preprocessing] confounding of the training and validation clips. In the others, and in the whole
test set, each word has each type about equally often, so the type says nothing about the word.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from config.advice import again
from config.errors import UserError
from config.log import logger
from config.settings import Settings
from config.text import display_path
from preprocessing.corpora import register
from preprocessing.corpora.gsc import (
    BALANCE_COMMAND,
    BALANCED,
    DIGITS,
    NOISY_RANDSPLIT,
    balanced_files,
    clip_of,
    mixtures_folder,
    refuse_unknown_speakers,
)
from preprocessing.corpora.noisyspeech import find_noises
from preprocessing.pipeline.dataset import OWN_SPLIT, SETS, Clip, Dataset
from preprocessing.pipeline.generated_folders import read_manifest
from preprocessing.pipeline.noise_mixing import Mixture, details_of, write_mixtures
from preprocessing.pipeline.splits import split_groups

SNRS = (0.0, 2.5, 5.0, 7.5, 10.0)  # true dB
SYNTHESIZER = "python preprocessing/noisyspeech_synthesizer_gsc_confounded.py"
COLUMNS = ("speech", "noise", "noise_type", "requested_snr", "true_snr", "set", "confounded")

FilesOfTypes = dict[str, list[Path]]


def confounded_folder(settings: Settings) -> Path:
    """Return the folder of the mixtures; each value of confounding has a folder of its own."""
    fraction = settings.preprocessing.confounding
    return mixtures_folder(settings, f"confounded_{fraction:g}_balanced")


def write_confounded(settings: Settings) -> Path:
    """Mix the balanced clips with noise that misleads; return the folder.

    Raises:
        UserError: as plan_confounded, or the folder holds mixtures made in another way.
    """
    mixtures = plan_confounded(settings)
    folder = confounded_folder(settings)
    write_mixtures(mixtures, folder, settings, "decibel")
    _print_summary(mixtures, folder, settings)
    return folder


def plan_confounded(settings: Settings) -> list[Mixture]:
    """Plan each balanced clip once, with a noise at one of SNRS, and with the set of its speaker.

    Speakers are divided by train_split, validation_split and test_split, and so are the files of
    each type of noise if each type has three or more. All is drawn by [preprocessing] seed; with
    another confounding, split, SNRs and stretches of noise stay, and a clip that is confounded at
    one value is so at every higher one.

    Raises:
        UserError: there are no balanced clips, fewer types of noise than words, fewer than three
            speakers, or clips that tell no speaker.
    """
    clips = [clip_of(path, {}) for path in balanced_files(settings)]
    refuse_unknown_speakers(clips, mixtures_folder(settings, BALANCED), BALANCE_COMMAND)
    generator = np.random.default_rng(settings.preprocessing.seed)
    set_of = _sets_of_speakers(clips, settings, generator)
    files = _noises_of_sets(settings, generator)
    pairings = _pair(clips, set_of, list(files["test"]), settings, generator)
    mixtures = []
    for counter, (clip, (kind, confounded)) in enumerate(
        zip(clips, pairings, strict=True), start=1
    ):
        set_name = set_of[str(clip.details["speaker"])]
        candidates = files[set_name][kind]
        noise = candidates[int(generator.random() * len(candidates))]
        snr = SNRS[int(generator.integers(len(SNRS)))]
        mixtures.append(
            Mixture(
                speech=(clip.path,),
                noise=(noise,),
                noise_type=kind,
                num_samples=None,
                snrs=(snr,),
                files=(f"noisy{counter}_SNRdb_{snr:g}_{clip.path.name}",),
                noise_position=float(generator.random()),
                notes=(("set", set_name), ("confounded", str(int(confounded)))),
            )
        )
    return mixtures


def _sets_of_speakers(
    clips: Sequence[Clip], settings: Settings, generator: np.random.Generator
) -> dict[str, str]:
    speakers = sorted({str(clip.details["speaker"]) for clip in clips})
    if len(speakers) < len(SETS):
        more = 2 * settings.preprocessing.items_per_class
        raise UserError(
            f"{display_path(mixtures_folder(settings, BALANCED))}: holds clips of {len(speakers)} "
            "speakers, but each of three sets needs one; remove that folder and choose more clips: "
            f"{again(BALANCE_COMMAND)} --set items_per_class={more}"
        )
    generator.shuffle(speakers)
    (split,) = split_groups(speakers, settings.training_defaults.fractions)
    return {speaker: name for name in SETS for speaker in getattr(split, name)}


def _noises_of_sets(settings: Settings, generator: np.random.Generator) -> dict[str, FilesOfTypes]:
    """Return for each set the files that it may use of the ten types, in the words' order."""
    by_type: FilesOfTypes = {}
    for path, kind in find_noises(settings, num_types=len(DIGITS)):
        by_type.setdefault(kind, []).append(path)
    chosen = {kind: by_type[kind] for kind in sorted(by_type)[: len(DIGITS)]}
    fewest = min(chosen, key=lambda kind: len(chosen[kind]))
    if len(chosen[fewest]) < len(SETS):
        folder = display_path(chosen[fewest][0].parent)
        logger.info(
            f"{folder}: {len(chosen[fewest])} files of {fewest}, too few for three sets: training "
            "and test use the same files of noise"
        )
        return dict.fromkeys(SETS, chosen)
    sets: dict[str, FilesOfTypes] = {name: {} for name in SETS}
    for kind, paths in chosen.items():
        order = [paths[number] for number in generator.permutation(len(paths))]
        (split,) = split_groups(order, settings.training_defaults.fractions)
        for name in SETS:
            sets[name][kind] = getattr(split, name)
    return sets


def _pair(
    clips: Sequence[Clip],
    set_of: dict[str, str],
    types: Sequence[str],
    settings: Settings,
    generator: np.random.Generator,
) -> list[tuple[str, bool]]:
    """Draw a type of noise for each clip, and whether the word decided it (confounded).

    The confounded fraction is that of each word in each set. The other clips of a word and set go
    through the types in a random order, again and again.
    """
    members: dict[tuple[str, int], list[int]] = {}
    for number, clip in enumerate(clips):
        key = (set_of[str(clip.details["speaker"])], int(clip.label))
        members.setdefault(key, []).append(number)
    pairings: dict[int, tuple[str, bool]] = {}
    for (set_name, label), numbers in sorted(members.items()):
        fraction = 0.0 if set_name == "test" else settings.preprocessing.confounding
        num_confounded = round(fraction * len(numbers))
        rounds = -(-len(numbers) // len(types))
        drawn = np.concatenate([generator.permutation(len(types)) for _ in range(rounds)])
        for rank, member in enumerate(generator.permutation(len(numbers)).tolist()):
            confounded = rank < num_confounded
            kind = types[label] if confounded else types[int(drawn[rank])]
            pairings[numbers[member]] = (kind, confounded)
    return [pairings[number] for number in range(len(clips))]


def _print_summary(mixtures: Sequence[Mixture], folder: Path, settings: Settings) -> None:
    """Print how many clips each set has, and in how many the noise is the word's, if by chance."""
    kinds = sorted({kind for _, kind in find_noises(settings, num_types=len(DIGITS))})
    sizes: Counter[str] = Counter()
    misleading: Counter[str] = Counter()
    for mixture in mixtures:
        set_name = dict(mixture.notes)["set"]
        sizes[set_name] += 1
        label = int(clip_of(mixture.speech[0], {}).label)
        misleading[set_name] += mixture.noise_type == kinds[label]
    parts = ", ".join(f"{misleading[name]} of {sizes[name]} {name}" for name in SETS)
    expected = ", ".join(f"{sizes[name] / len(DIGITS):.0f}" for name in SETS)
    logger.info(
        f"{display_path(folder)}: noise follows the word in {parts} clips; by chance it would in "
        f"{expected}"
    )


def list_confounded(settings: Settings) -> list[Clip]:
    """Return the mixtures, grouped by speaker, with the sets that their manifest says.

    Raises:
        UserError: there are none for this confounding, or the manifest is damaged.
    """
    folder = confounded_folder(settings)
    command = f"{SYNTHESIZER} --set confounding={settings.preprocessing.confounding:g}"
    clips = [_clip_of_row(folder, row) for row in read_manifest(folder, command, COLUMNS)]
    refuse_unknown_speakers(clips, folder, command)
    return clips


def _clip_of_row(folder: Path, row: dict[str, str]) -> Clip:
    details = details_of(row) | {"set": row["set"], "confounded": int(row["confounded"])}
    clip = clip_of(folder / row["file"], details)
    return replace(clip, group=str(clip.details["speaker"]), fixed_set=row["set"])


SPEAKERSPLIT = Dataset(
    name="gsc_confounded_speakersplit",
    script="preprocessing_GSC_CONFOUNDED_speakersplit",
    task="spoken digit, noise follows the word in training",
    sequence_length=1.0,
    split_type=OWN_SPLIT,
    list_clips=list_confounded,
    classes=DIGITS,
    sources=("speaker", "noise"),
    orthogonal_labels=("noise_type", "speaker"),
    confounder="noise_type",
    decisive_keys=("confounding",),
    licence=NOISY_RANDSPLIT.licence,
)

register(SPEAKERSPLIT)
