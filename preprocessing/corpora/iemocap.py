"""IEMOCAP: emotions and speakers of acted dialogues, five sessions of two actors each.

Layout: Session<1-5>/sentences/wav/<dialog>/<utterance>.wav, labels in
Session<1-5>/dialog/EmoEvaluation/<dialog>.txt.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config.errors import UserError
from config.files import read_text
from config.listing import files_in, folders_in
from config.log import logger
from config.settings import Settings
from config.text import counted, display_path, first_of
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import OWN_SPLIT, RANDOM_BY_CLIP, Clip, Corpus, Dataset

CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    key="input_iemocap_folder",
    folder_name="IEMOCAP_full_release",
    layout="IEMOCAP_full_release with Session1 to Session5",
    page="https://sail.usc.edu/iemocap/",
    licence=(
        "IEMOCAP: USC's licence agreement, https://sail.usc.edu/iemocap/; not to be redistributed"
    ),
    by_hand=(
        "IEMOCAP is given to researchers who ask for it: read its licence and fill in the form "
        "at https://sail.usc.edu/iemocap/iemocap_release.htm. The answer names the download; "
        "unpack it, so that the folder holds Session1 to Session5."
    ),
)
NUM_SESSIONS, NUM_UTTERANCES = 5, 10_039
EMOTIONS = ("neu", "ang", "hap", "sad")
# Utterances with one of the four emotions, without and with the excited ones as happy.
NUM_EMOTIONAL = {False: 4_490, True: 5_531}
# Both actors of a session: who validates where the other one is the test set.
OTHER_ACTOR = {
    f"Ses{session:02}{tested}": f"Ses{session:02}{other}"
    for session in range(1, NUM_SESSIONS + 1)
    for tested, other in ("FM", "MF")
}
PERFORMANCES = {"impro": "improvised", "script": "scripted"}
SESSION = re.compile(r"Session\d+")
# Ses01F_impro01_M003: session 1, the actress wears the markers, the actor speaks
UTTERANCE = re.compile(
    r"(?P<dialog>(?P<session>Ses\d{2})[FM]_(?P<performance>impro|script)\w*)"
    r"_(?P<gender>[FM])[0-9A-Za-z]+"
)
EVALUATION = re.compile(r"^\s*\[[^\]\n]*\][^\S\n]+(\w+)[^\S\n]+(\w+)\b", re.MULTILINE)


class Utterance(NamedTuple):
    """One speaking turn.

    details: session, for example Session1; speaker, whose turn it is, for example Ses01F; gender;
        dialog; emotion, the label of the evaluation file, empty if it has none; performance.
    """

    path: Path
    details: dict[str, str]


def find_utterances(settings: Settings) -> list[Utterance]:
    """Return every utterance with a .wav file, sorted by session, dialog and name.

    Files whose names are not those of utterances of their folder are left out, and counted.

    Raises:
        UserError: the folder is not set, or holds none.
    """
    folder = CORPUS.folder(settings)
    sessions = [path for path in folders_in(folder) if SESSION.fullmatch(path.name)]
    dialogs = [path for session in sessions for path in folders_in(session / "sentences" / "wav")]
    utterances: list[Utterance] = []
    misnamed: list[str] = []
    for dialog in dialogs:
        label_file = label_file_of(dialog)
        emotions = read_emotions(label_file) if label_file.is_file() else {}
        for path in files_in(dialog, ".wav"):
            details = _details_of(path, emotions)
            if details is None:
                misnamed.append(path.name)
            else:
                utterances.append(Utterance(path, details))
    if misnamed:
        logger.info(
            f"{display_path(folder)}: {counted(len(misnamed), 'file')} left out, for the name is "
            f"that of no utterance of its folder: {first_of(misnamed)}"
        )
    if not utterances:
        problem = "holds no Session<n>/sentences/wav/<dialog>/<utterance>.wav"
        raise CORPUS.wrong_folder(folder, problem)
    found = {utterance.details["session"] for utterance in utterances}
    CORPUS.expect("sessions", NUM_SESSIONS, len(found))
    CORPUS.expect("utterances", NUM_UTTERANCES, len(utterances))
    return utterances


def label_file_of(dialog: Path) -> Path:
    """Return where the emotions of a dialog's folder of sentences are, or should be."""
    folder = dialog.parents[2] / "dialog" / "EmoEvaluation"
    files = {path.stem: path for path in files_in(folder, ".txt")}
    return files.get(dialog.name, folder / f"{dialog.name}.txt")


def read_emotions(path: Path) -> dict[str, str]:
    """Read the emotion of each utterance from one evaluation file.

    Each utterance has one line "[start - end]<tab>utterance<tab>emotion<tab>[v, a, d]", followed
    by the lines of its single judges. Editors make spaces of the tabs, and lines end as they like.
    """
    lines = read_text(path, errors="replace").splitlines()
    found = EVALUATION.findall("\n".join(lines))
    return {utterance: emotion.lower() for utterance, emotion in found}


def _details_of(path: Path, emotions: Mapping[str, str]) -> dict[str, str] | None:
    """Return what is known of an utterance; None if its name contradicts where it lies."""
    name = UTTERANCE.fullmatch(path.stem)
    session = path.parents[3].name
    if name is None or name["dialog"] != path.parent.name:
        return None
    if int(name["session"].removeprefix("Ses")) != int(session.removeprefix("Session")):
        return None
    return {
        "session": session,
        "speaker": name["session"] + name["gender"],
        "gender": name["gender"],
        "dialog": name["dialog"],
        "emotion": emotions.get(path.stem, ""),
        "performance": PERFORMANCES[name["performance"]],
    }


def _list_emotions(
    settings: Settings, group: str = "", as_folds: bool = False, excited_is_happy: bool = False
) -> list[Clip]:
    """Return the utterances with one of the four emotions; all other labels are left out.

    Args:
        group: what stays in one set: session or speaker; empty: each utterance by itself.
        as_folds: whether each group is a fold.

    Raises:
        UserError: as find_utterances, or more than max_skipped_fraction have no label at all.
    """
    utterances = find_utterances(settings)
    _refuse_missing_labels(utterances, settings)
    clips = []
    for utterance in utterances:
        emotion = utterance.details["emotion"]
        if emotion == "exc" and excited_is_happy:
            emotion = "hap"
        if emotion in EMOTIONS:
            kept_together = utterance.details[group] if group else utterance.path.name
            clip = _clip(utterance, EMOTIONS, emotion, kept_together)
            clips.append(replace(clip, fixed_set=kept_together) if as_folds else clip)
    CORPUS.expect("of the four emotions", NUM_EMOTIONAL[excited_is_happy], len(clips))
    return clips


def _refuse_missing_labels(utterances: Sequence[Utterance], settings: Settings) -> None:
    """Say which label files gave nothing; raise if that leaves out too much of the corpus."""
    num_labelled = Counter(
        utterance.path.parent for utterance in utterances if utterance.details["emotion"]
    )
    num_missing = len(utterances) - num_labelled.total()
    if not num_missing:
        return
    dialogs = dict.fromkeys(utterance.path.parent for utterance in utterances)
    files = [label_file_of(dialog) for dialog in dialogs if not num_labelled[dialog]]
    empty = [f"{display_path(file)}{'' if file.exists() else ' (missing)'}" for file in files]
    problem = f"{CORPUS.title}: {num_missing} of {len(utterances)} utterances have no emotion"
    if empty:
        problem += (
            f"; no line [start - end] utterance emotion in {counted(len(empty), 'label file')}: "
            f"{first_of(empty, 3)}"
        )
    allowed = settings.preprocessing.max_skipped_fraction
    if num_missing > allowed * len(utterances):
        enough = math.ceil(100 * num_missing / len(utterances)) / 100
        raise UserError(
            f"{problem}; mend them, or do without with --set max_skipped_fraction={enough:g}"
        )
    logger.warning(f"warning: {problem}")


def _list_speakers(settings: Settings) -> list[Clip]:
    """Return all utterances, whatever their emotion (as in the release).

    A speaker is an actor, or with speaker_label = session the two actors of a session.
    """
    utterances = find_utterances(settings)
    label = "speaker" if settings.preprocessing.speaker_label == "actor" else "session"
    classes = tuple(sorted({utterance.details[label] for utterance in utterances}))
    return [
        _clip(utterance, classes, utterance.details[label], utterance.path.name)
        for utterance in utterances
    ]


def _clip(utterance: Utterance, classes: tuple[str, ...], class_name: str, group: str) -> Clip:
    return Clip(
        path=utterance.path,
        name=utterance.path.name,
        label=classes.index(class_name),
        class_name=class_name,
        group=group,
        details=dict(utterance.details),
    )


RANDSPLIT = Dataset(
    name="iemocap_randsplit",
    script="preprocessing_IEMOCAP_randsplit",
    task="emotion",
    sequence_length=4.0,
    split_type=RANDOM_BY_CLIP,
    list_clips=_list_emotions,
    classes=EMOTIONS,
    sources=("speaker", "session"),
    orthogonal_labels=("speaker", "session", "gender"),
    licence=CORPUS.licence,
)
ACTORSPLIT = replace(
    RANDSPLIT,
    name="iemocap_actorsplit",
    script="preprocessing_IEMOCAP_actorsplit",
    task="emotion of unheard speakers",
    split_type="speaker-wise: by session",
    list_clips=partial(_list_emotions, group="session"),
)
ONE_SECOND_ACTORSPLIT = replace(
    ACTORSPLIT,
    name="iemocap_1sec_actorsplit",
    script="preprocessing_IEMOCAP_1sec_actorsplit",
    task="emotion of unheard speakers in 1 s",
    sequence_length=1.0,
)
SPEAKER_RANDSPLIT = replace(
    RANDSPLIT,
    name="iemocap_speaker_randsplit",
    script="preprocessing_IEMOCAP_randsplit_SPEAKER",
    task="speaker",
    list_clips=_list_speakers,
    classes=(),
    sources=("session",),
    orthogonal_labels=("emotion", "performance"),
)

FIVE_FOLDS = replace(
    RANDSPLIT,
    name="iemocap_5folds",
    script="",
    task="emotion of unheard speakers, each session tested once",
    split_type=OWN_SPLIT,
    list_clips=partial(_list_emotions, group="session", as_folds=True),
    leave_out_silence=False,  # papers count every utterance
)
EXCITED_FIVE_FOLDS = replace(
    FIVE_FOLDS,
    name="iemocap_excited_5folds",
    list_clips=partial(_list_emotions, group="session", as_folds=True, excited_is_happy=True),
)
EXCITED_TEN_FOLDS = replace(
    EXCITED_FIVE_FOLDS,
    name="iemocap_excited_10folds",
    task="emotion of unheard speakers, each speaker tested once",
    list_clips=partial(_list_emotions, group="speaker", as_folds=True, excited_is_happy=True),
    validation_folds=OTHER_ACTOR,
)

register(
    CORPUS,
    RANDSPLIT,
    ACTORSPLIT,
    SPEAKER_RANDSPLIT,
    ONE_SECOND_ACTORSPLIT,
    FIVE_FOLDS,
    EXCITED_FIVE_FOLDS,
    EXCITED_TEN_FOLDS,
)
