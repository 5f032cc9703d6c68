"""MS-SNSD: clean speech and noises to mix, and the dataset of noise types made from them.

Layout of the clone: clean_train/*.wav, noise_train/<Type>_<n>.wav.
"""

from pathlib import Path

import numpy as np

from config.errors import UserError
from config.listing import files_in
from config.settings import Settings
from config.text import counted, display_path
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Archive, Clip, Corpus, Dataset
from preprocessing.pipeline.generated_folders import read_manifest
from preprocessing.pipeline.noise_mixing import Mixture, Sources, details_of, write_mixtures

CORPUS = Corpus(
    name="ms-snsd",
    title="MS-SNSD",
    key="input_noisyspeech_repo",
    folder_name="MS-SNSD",
    layout="a clone of MS-SNSD with clean_train and noise_train",
    page="https://github.com/microsoft/MS-SNSD",
    licence=(
        "MS-SNSD: that of each source, as its README lists them (noise: Freesound CC0, DEMAND "
        "CC BY-SA 3.0; speech: PTDB-TUG ODbL 1.0, Edinburgh's own)"
    ),
    archives=(
        Archive(
            "https://github.com/microsoft/MS-SNSD/archive/refs/heads/master.zip",
            None,
            inner_folder="MS-SNSD-master",
        ),
    ),
)
NOISE_TYPES = (
    "AirConditioner",
    "AirportAnnouncements",
    "Babble",
    "CopyMachine",
    "Munching",
    "NeighborSpeaking",
    "ShuttingDoor",
    "SqueakyChair",
    "Typing",
    "VacuumCleaner",
    "WasherDryer",
)
LOWEST_SNR, HIGHEST_SNR, NUM_SNRS = 20.0, 40.0, 5
SHORTEST_SECONDS = 1.0
SYNTHESIZER = "python preprocessing/noisyspeech_synthesizer.py"


def find_noises(settings: Settings, num_types: int = len(NOISE_TYPES)) -> list[tuple[Path, str]]:
    """Return (file, type) of every noise of the eleven types, sorted; others are left out.

    Raises:
        UserError: the folder of the clone is not set, or holds fewer types than are needed.
    """
    folder = CORPUS.folder(settings, "noise_train")
    named = [(path, path.stem.partition("_")[0]) for path in files_in(folder, ".wav")]
    noises = [(path, kind) for path, kind in named if kind in NOISE_TYPES]
    found = {kind for _, kind in noises}
    if len(found) < num_types:
        missing = ", ".join(sorted(set(NOISE_TYPES) - found))
        problem = f"has no <Type>_<n>.wav of {missing}, but {num_types} types are needed"
        raise CORPUS.wrong_folder(folder, problem)
    return noises


def plan_mixtures(settings: Settings) -> tuple[list[Mixture], tuple[Sources, Sources]]:
    """Draw speech and noise until all mixtures together last total_hours.

    Return the mixtures, and what was learnt of speech and of noises: those that cannot be used are
    passed over.

    Each stretch of speech is mixed with one noise at all five SNRs. Speech of less than 1 s is
    extended by the files that follow it; noise that is too short, by others of its own type (the
    released mixer takes whatever file comes next, which gives a mixture of two types one label).
    """
    folder = CORPUS.folder(settings, "clean_train")
    speech = files_in(folder, ".wav")
    if not speech:
        raise CORPUS.wrong_folder(folder, "holds no .wav files")
    noises = find_noises(settings)
    rate = settings.sampling.sr_target
    speech_read, noises_read = Sources("speech file", rate), Sources("noise", rate)
    snrs = tuple(np.linspace(LOWEST_SNR, HIGHEST_SNR, NUM_SNRS).tolist())
    generator = np.random.default_rng(settings.preprocessing.seed)
    wanted = settings.preprocessing.total_hours * 3600
    mixtures: list[Mixture] = []
    planned = 0.0
    while planned < wanted:
        first = int(generator.integers(len(speech)))
        chosen = _extend(speech, first, SHORTEST_SECONDS, speech_read)
        seconds = sum(map(speech_read.seconds_of, chosen))
        noise, kind = noises[int(generator.integers(len(noises)))]
        same_kind = [path for path, other in noises if other == kind]
        counter = len(mixtures) + 1
        mixtures.append(
            Mixture(
                speech=chosen,
                noise=_extend(same_kind, same_kind.index(noise), seconds, noises_read),
                noise_type=kind,
                num_samples=round(seconds * rate),
                snrs=snrs,
                files=tuple(f"noisy{counter}_SNRdb_{snr:g}_{kind}.wav" for snr in snrs),
            )
        )
        planned += seconds * len(snrs)
    return mixtures, (speech_read, noises_read)


def write_noisyspeech(settings: Settings) -> None:
    """Write total_hours of mixtures into generated_noisyspeech_folder."""
    folder = settings.preprocessing.generated_noisyspeech_folder
    mixtures, sources = plan_mixtures(settings)
    write_mixtures(mixtures, folder, settings, sources=sources)


def _extend(files: list[Path], first: int, seconds: float, sources: Sources) -> tuple[Path, ...]:
    """Return files[first] and those after it, circularly, until they last the given seconds.

    Raises:
        UserError: all files together are silent or unreadable.
    """
    chosen: list[Path] = []
    lasting = 0.0
    position = first
    while lasting < seconds or not chosen:
        path = files[position % len(files)]
        position += 1
        if sources.seconds_of(path) > 0:
            chosen.append(path)
            lasting += sources.seconds_of(path)
        if position - first > len(files) and not chosen:
            raise UserError(
                f"{display_path(files[0])}: cannot be used ({sources.reasons[files[0]]}), and none "
                f"of {counted(len(files), sources.what)} that would do in its place"
            )
    return tuple(chosen)


def _list_clips(settings: Settings) -> list[Clip]:
    folder = settings.preprocessing.generated_noisyspeech_folder
    return [
        Clip(
            path=folder / row["file"],
            name=row["file"],
            label=NOISE_TYPES.index(row["noise_type"]),
            class_name=row["noise_type"],
            group=row["file"],
            details=details_of(row),
        )
        for row in read_manifest(folder, SYNTHESIZER)
    ]


RANDSPLIT = Dataset(
    name="noisyspeech_randsplit",
    script="preprocessing_NOISYSPEECH_randsplit",
    task="noise type",
    sequence_length=1.0,
    split_type=RANDOM_BY_CLIP,
    list_clips=_list_clips,
    classes=NOISE_TYPES,
    sources=("speech", "noise"),
    orthogonal_labels=("requested_snr",),
    licence=CORPUS.licence,
)

register(CORPUS, RANDSPLIT)
