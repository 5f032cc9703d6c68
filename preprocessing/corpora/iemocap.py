"""IEMOCAP: emotions and speakers of acted dialogues, five sessions of two actors each.

Layout: Session<1-5>/sentences/wav/<dialog>/<utterance>.wav, labels in
Session<1-5>/dialog/EmoEvaluation/<dialog>.txt.
"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from config.listing import files_in, folders_in
from config.settings import Settings
from preprocessing.corpora import register
from preprocessing.pipeline.dataset import RANDOM_BY_CLIP, Clip, Corpus, Dataset

CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    key="input_iemocap_folder",
    folder_name="IEMOCAP_full_release",
    layout="IEMOCAP_full_release with Session1 to Session5",
    page="https://sail.usc.edu/iemocap/",
    by_hand=(
        "IEMOCAP is given to researchers who ask for it: read its licence and fill in the form "
        "at https://sail.usc.edu/iemocap/iemocap_release.htm. The answer names the download; "
        "unpack it, so that the folder holds Session1 to Session5."
    ),
)
NUM_SESSIONS, NUM_UTTERANCES = 5, 10_039
EMOTIONS = ("neu", "ang", "hap", "sad")
PERFORMANCES = {"impro": "improvised", "script": "scripted"}
SESSION = re.compile(r"Session\d+")
# Ses01F_impro01_M003: session 1, the actress wears the markers, the actor speaks
UTTERANCE = re.compile(
    r"(?P<session>Ses\d{2})[FM]_(?P<performance>impro|script)\w*_(?P<gender>[FM])[^_]+"
)


class Utterance(NamedTuple):
    """One speaking turn.

    details: session, for example Session1; speaker, whose turn it is, for example Ses01F; gender;
        dialog; emotion, the label of the evaluation file, empty if it has none; performance.
    """

    path: Path
    details: dict[str, str]


def find_utterances(settings: Settings) -> list[Utterance]:
    """Return every utterance with a .wav file, sorted by session, dialog and name.

    Raises:
        UserError: the folder is not set, or holds none.
    """
    folder = CORPUS.folder(settings)
    sessions = [path for path in folders_in(folder) if SESSION.fullmatch(path.name)]
    utterances = [utterance for session in sessions for utterance in _utterances_of(session)]
    if not utterances:
        problem = "holds no Session<n>/sentences/wav/<dialog>/<utterance>.wav"
        raise CORPUS.wrong_folder(folder, problem)
    found = {utterance.details["session"] for utterance in utterances}
    CORPUS.expect("sessions", NUM_SESSIONS, len(found))
    CORPUS.expect("utterances", NUM_UTTERANCES, len(utterances))
    return utterances


def read_emotions(path: Path) -> dict[str, str]:
    """Read the emotion of each utterance from one evaluation file; none if there is no such file.

    Each utterance has one line "[start - end]<tab>utterance<tab>emotion<tab>[v, a, d]", followed
    by the lines of its single judges.
    """
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines if line.startswith("[")]
    return {row[1].strip(): row[2].strip() for row in rows if len(row) >= 3}


def _utterances_of(session: Path) -> list[Utterance]:
    evaluations = session / "dialog" / "EmoEvaluation"
    emotions: dict[str, dict[str, str]] = {}
    utterances = []
    dialogs = folders_in(session / "sentences" / "wav")
    for path in (path for dialog in dialogs for path in files_in(dialog, ".wav")):
        name = UTTERANCE.fullmatch(path.stem)
        if name is None:
            continue
        dialog = path.parent.name
        if dialog not in emotions:
            emotions[dialog] = read_emotions(evaluations / f"{dialog}.txt")
        details = {
            "session": session.name,
            "speaker": name["session"] + name["gender"],
            "gender": name["gender"],
            "dialog": dialog,
            "emotion": emotions[dialog].get(path.stem, ""),
            "performance": PERFORMANCES[name["performance"]],
        }
        utterances.append(Utterance(path, details))
    return utterances


def _list_emotions(settings: Settings, by_session: bool) -> list[Clip]:
    """Return the utterances with one of the four emotions; all other labels are left out."""
    utterances = find_utterances(settings)
    labelled = sum(bool(utterance.details["emotion"]) for utterance in utterances)
    if not labelled:
        place = utterances[0].path.parents[3] / "dialog" / "EmoEvaluation"
        raise CORPUS.wrong_folder(place, "no <dialog>.txt with an emotion for any utterance")
    CORPUS.expect("utterances with an emotion label", NUM_UTTERANCES, labelled)
    return [
        _clip(
            utterance,
            EMOTIONS,
            utterance.details["emotion"],
            group=utterance.details["session"] if by_session else utterance.path.name,
        )
        for utterance in utterances
        if utterance.details["emotion"] in EMOTIONS
    ]


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
    list_clips=partial(_list_emotions, by_session=False),
    classes=EMOTIONS,
    sources=("speaker", "session"),
    orthogonal_labels=("speaker", "session", "gender"),
)
ACTORSPLIT = replace(
    RANDSPLIT,
    name="iemocap_actorsplit",
    script="preprocessing_IEMOCAP_actorsplit",
    task="emotion of unheard speakers",
    split_type="speaker-wise: by session",
    list_clips=partial(_list_emotions, by_session=True),
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

register(CORPUS, RANDSPLIT, ACTORSPLIT, SPEAKER_RANDSPLIT, ONE_SECOND_ACTORSPLIT)
