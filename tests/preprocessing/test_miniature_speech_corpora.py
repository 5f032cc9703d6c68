"""Miniature IEMOCAP and LibriSpeech: their layouts, emotions as prosody, words where they are."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from config.settings import load_settings
from preprocessing.corpora.iemocap import ACTORSPLIT, SPEAKER_RANDSPLIT
from preprocessing.corpora.librispeech import WORDS
from preprocessing.miniature.acted_emotions import make_iemocap
from preprocessing.miniature.read_sentences import make_librispeech

Floats = npt.NDArray[np.float64]
EMOTIONS = ("neu", "ang", "hap", "sad")
TURN = re.compile(
    r"\[(\d+\.\d{4}) - (\d+\.\d{4})\]\t(\w+)\t([a-z]{3})\t\[((?:\d\.\d{4}(?:, )?){3})\]"
)
UTTERANCE = re.compile(r"(Ses0[1-5])[FM]_(?:impro\d\d|script\d\d_\d)_([FM])\d{3}")
UTTERANCES_PER_EMOTION = 3
SETS = {"train-clean-100": 8, "dev-clean": 3, "test-clean": 3}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def log_spectrum_statistics(samples: Floats, num_slices: int = 1) -> Floats:
    """Mean, spread and mean change over time of a log spectrum in 32 bands, for each slice."""
    statistics = []
    for part in np.array_split(samples, num_slices):
        padded = np.pad(part, (0, max(0, 768 - len(part))))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::256]
        spectrum = np.abs(np.fft.rfft(frames * np.hanning(512)))[:, :256]
        bands = np.log(spectrum.reshape(len(frames), 32, 8).mean(axis=2) + 1e-3)
        changes = np.abs(np.diff(bands, axis=0)).mean(axis=0)
        statistics += [bands.mean(axis=0), bands.std(axis=0), changes]
    return np.concatenate(statistics)


def classifier() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def pitches(samples: Floats) -> Floats:
    """Fundamental frequencies in Hz of the voiced frames, from the autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::400] * np.hanning(1024)
    energies = (frames**2).sum(axis=1)
    frames = frames[energies > 0.1 * np.percentile(energies, 95)]
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2048)) ** 2)[:, 40:267]
    lags = correlation.argmax(axis=1)
    inner = (lags > 0) & (lags < 226)
    return np.asarray(16000 / (40 + lags[inner]))


class Utterance:
    """What an evaluation file says of an utterance, and its samples."""

    def __init__(self, session: Path, dialog: str, line: re.Match[str]) -> None:
        start, end, self.name, self.emotion, _ = line.groups()
        self.seconds = float(end) - float(start)
        self.dialog = dialog
        name = UTTERANCE.fullmatch(self.name)
        assert name is not None
        assert self.name.startswith(dialog)
        assert name[1] == f"Ses0{session.name[-1]}"
        self.speaker = name[1] + name[2]
        path = session / "sentences" / "wav" / dialog / f"{self.name}.wav"
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        self.samples = soundfile.read(path)[0]


@pytest.fixture(scope="module")
def iemocap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "IEMOCAP"
    assert make_iemocap(folder, UTTERANCES_PER_EMOTION, seed=7) == 10 * (4 * 3 + 2)
    return folder


@pytest.fixture(scope="module")
def utterances(iemocap: Path) -> list[Utterance]:
    found = []
    for session in sorted(iemocap.iterdir()):
        evaluations = session / "dialog" / "EmoEvaluation"
        for path in sorted(evaluations.glob("Ses*.txt")):
            header, *blocks = path.read_text().split("\n\n")
            assert header == "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]"
            for block in filter(str.strip, blocks):
                first, *judges = block.strip().split("\n")
                assert {judge[:2] for judge in judges} == {"C-", "A-"}
                line = TURN.fullmatch(first)
                assert line is not None
                found.append(Utterance(session, path.stem, line))
    return found


@pytest.fixture(scope="module")
def spoken(utterances: list[Utterance]) -> list[Utterance]:
    """The utterances of the four emotions."""
    return [utterance for utterance in utterances if utterance.emotion in EMOTIONS]


def test_dialogs_have_the_layout_of_iemocap(iemocap: Path, utterances: list[Utterance]) -> None:
    assert {path.name for path in iemocap.iterdir()} == {f"Session{n}" for n in range(1, 6)}
    audio = [path.stem for path in iemocap.glob("Session*/sentences/wav/*/*.wav")]
    assert sorted(audio) == sorted(utterance.name for utterance in utterances)
    assert len(set(audio)) == len(audio)
    speakers = {f"Ses0{session}{letter}" for session in range(1, 6) for letter in "FM"}
    counts = Counter((utterance.speaker, utterance.emotion) for utterance in utterances)
    for emotion in EMOTIONS:
        assert {speaker: counts[speaker, emotion] for speaker in speakers} == dict.fromkeys(
            speakers, UTTERANCES_PER_EMOTION
        )
    others = {utterance.emotion for utterance in utterances} - set(EMOTIONS)
    assert len(others) >= 3
    assert others <= {"fru", "exc", "xxx", "sur", "fea", "dis", "oth"}
    by_dialog = defaultdict(set)
    for utterance in utterances:
        by_dialog[utterance.dialog].add(utterance.speaker)
    assert len(by_dialog) == 20
    assert {len(names) for names in by_dialog.values()} == {2}


def test_turns_take_as_long_as_their_audio(utterances: list[Utterance]) -> None:
    for utterance in utterances:
        assert utterance.seconds == pytest.approx(len(utterance.samples) / 16000, abs=2e-4)
        assert 1.5 <= utterance.seconds <= 5
        assert 0.05 < np.abs(utterance.samples).max() < 0.97


def test_actresses_have_higher_voices_than_actors(spoken: list[Utterance]) -> None:
    neutral = defaultdict(list)
    for utterance in spoken:
        if utterance.emotion == "neu":
            neutral[utterance.speaker].append(np.median(pitches(utterance.samples)))
    medians = {speaker: np.median(values) for speaker, values in neutral.items()}
    for session in range(1, 6):
        assert medians[f"Ses0{session}F"] > 1.25 * medians[f"Ses0{session}M"]


def test_emotions_differ_in_loudness_pitch_range_and_rate(spoken: list[Utterance]) -> None:
    measured = defaultdict(list)
    for utterance in spoken:
        semitones = 12 * np.log2(pitches(utterance.samples))
        measured[utterance.emotion].append(
            (
                10 * np.log10(np.mean(utterance.samples**2)),
                np.median(semitones),
                np.subtract(*np.percentile(semitones, (75, 25))),
                utterance.seconds,
            )
        )
    level, pitch, spread, seconds = (
        {emotion: np.mean([row[column] for row in rows]) for emotion, rows in measured.items()}
        for column in range(4)
    )
    assert level["ang"] > level["neu"] + 3 > level["sad"] + 6
    assert pitch["hap"] > pitch["neu"] + 2 > pitch["sad"] + 3
    assert spread["hap"] > 1.3 * spread["neu"] > 1.3 * 1.1 * spread["sad"]
    assert seconds["sad"] > 1.1 * seconds["neu"]
    assert seconds["ang"] < seconds["neu"]


def test_emotions_are_learnable_across_sessions_and_not_trivial(spoken: list[Utterance]) -> None:
    features = [log_spectrum_statistics(utterance.samples) for utterance in spoken]
    emotions = [utterance.emotion for utterance in spoken]
    sessions = [utterance.speaker[:5] for utterance in spoken]
    scores = cross_val_score(classifier(), features, emotions, groups=sessions, cv=GroupKFold(5))
    assert 0.45 < scores.mean() < 0.95  # chance: 0.25


def test_actors_can_be_told_apart(utterances: list[Utterance]) -> None:
    features = [log_spectrum_statistics(utterance.samples) for utterance in utterances]
    speakers = [utterance.speaker for utterance in utterances]
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    assert cross_val_score(classifier(), features, speakers, cv=folds).mean() > 0.6  # chance: 0.1


def test_the_reader_finds_every_utterance(
    iemocap: Path, utterances: list[Utterance], spoken: list[Utterance]
) -> None:
    settings = load_settings(overrides={"input_iemocap_folder": iemocap}, prefer=("preprocessing",))
    found = {clip.path.stem: clip for clip in ACTORSPLIT.list_clips(settings)}
    expected = {utterance.name: utterance.emotion for utterance in spoken}
    assert {name: clip.class_name for name, clip in found.items()} == expected
    assert {clip.group for clip in found.values()} == {f"Session{n}" for n in range(1, 6)}
    speakers = {clip.path.stem: clip.class_name for clip in SPEAKER_RANDSPLIT.list_clips(settings)}
    assert speakers == {utterance.name: utterance.speaker for utterance in utterances}


@pytest.fixture(scope="module")
def librispeech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpora") / "LibriSpeech"
    assert make_librispeech(folder, repetitions_per_word=8, num_words=20, seed=7) == 32 + 2 * 12
    return folder


def read_labels(folder: Path, part: str, num_words: int = 20) -> list[list[str]]:
    path = folder / "word_labels" / f"{part}-selected-{num_words}.txt"
    return [line.split(" ") for line in path.read_text().splitlines()]


def audio_path(folder: Path, part: str, utterance: str) -> Path:
    speaker, chapter, _ = utterance.split("-")
    return folder / "split" / part / speaker / chapter / f"{utterance}.flac"


def test_sentences_have_the_layout_of_librispeech(librispeech: Path) -> None:
    words = (librispeech / "word_labels" / "20-mostfreq").read_text().splitlines()
    assert len(words) == len(set(words)) == 20
    speakers: dict[str, set[str]] = {}
    for part, repetitions in SETS.items():
        labels = read_labels(librispeech, part)
        counts = Counter(fields[4].lower() for fields in labels)
        assert counts == dict.fromkeys(words, repetitions)
        audio = {path.stem for path in (librispeech / "split" / part).glob("*/*/*.flac")}
        assert audio == {fields[0] for fields in labels}
        speakers[part] = {name.split("-")[0] for name in audio}
    assert [len(names) for names in speakers.values()] == [12, 4, 4]
    assert len(set.union(*speakers.values())) == 20
    info = soundfile.info(next((librispeech / "split").rglob("*.flac")))
    assert (info.samplerate, info.channels, info.format) == (16000, 1, "FLAC")


def test_labels_name_the_words_that_are_said_in_their_order(librispeech: Path) -> None:
    words = set((librispeech / "word_labels" / "20-mostfreq").read_text().split())
    for part in SETS:
        texts = {
            line.split(" ")[0]: line.split(" ")[1:]
            for path in (librispeech / "split" / part).glob("*/*/*.trans.txt")
            for line in path.read_text().splitlines()
        }
        labelled = defaultdict(list)
        for fields in read_labels(librispeech, part):
            labelled[fields[0]].append((float(fields[2]), float(fields[3]), fields[4]))
        for name, text in texts.items():
            said = labelled[name]
            assert [word for *_, word in said] == [word for word in text if word.lower() in words]
            ends = [start + duration for start, duration, _ in said]
            assert all(end <= start for end, (start, *_) in zip(ends[:-1], said[1:], strict=True))
            assert ends[-1] < soundfile.info(audio_path(librispeech, part, name)).duration


def cut_words(folder: Path, part: str, shift: float) -> tuple[list[Floats], list[str]]:
    """The labelled words of a set, each cut out `shift` s later than its label says."""
    pieces, words = [], []
    for name, _, start, duration, word, _ in read_labels(folder, part):
        samples = soundfile.read(audio_path(folder, part, name))[0]
        first = round((float(start) + shift) * 16000)
        pieces.append(samples[first : first + round(float(duration) * 16000)])
        words.append(word)
    return pieces, words


def accuracy_of_unheard_speakers(folder: Path, shift: float) -> float:
    sets = {}
    for part in ("train-clean-100", "test-clean"):
        pieces, words = cut_words(folder, part, shift)
        sets[part] = [log_spectrum_statistics(piece, num_slices=4) for piece in pieces], words
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return float(model.fit(*sets["train-clean-100"]).score(*sets["test-clean"]))


def test_words_are_where_the_labels_say(librispeech: Path) -> None:
    pieces, _ = cut_words(librispeech, "train-clean-100", shift=0.0)
    levels = [10 * np.log10(np.mean(piece**2)) for piece in pieces]
    assert min(levels) > -45
    # What is there can be recognized from unheard voices, and what is 0.3 s later cannot.
    aligned = accuracy_of_unheard_speakers(librispeech, shift=0.0)
    assert aligned > 0.6  # chance: 0.05
    assert accuracy_of_unheard_speakers(librispeech, shift=0.3) < 0.6 * aligned


def test_the_reader_finds_every_word(librispeech: Path) -> None:
    settings = load_settings(
        overrides={"input_librispeech_folder": librispeech, "num_classes_librispeech": 20},
        prefer=("preprocessing", "pretraining"),
    )
    clips = WORDS.list_clips(settings)
    expected = [fields for part in SETS for fields in read_labels(librispeech, part)]
    assert sorted((clip.path.stem, clip.start, clip.class_name) for clip in clips) == sorted(
        (fields[0], float(fields[2]), fields[4].lower()) for fields in expected
    )
    counts = Counter(clip.fixed_set for clip in clips)
    assert counts == {"train": 20 * 8, "validation": 20 * 3, "test": 20 * 3}


@pytest.mark.parametrize("num_words", [4, 41])
def test_too_few_and_too_many_words_are_refused(tmp_path: Path, num_words: int) -> None:
    with pytest.raises(ValueError, match="num_words must be 5 to 40"):
        make_librispeech(tmp_path, 1, num_words, seed=0)
    assert not list(tmp_path.iterdir())


def tiny_iemocap(folder: Path, seed: int) -> int:
    return make_iemocap(folder, 1, seed)


def tiny_librispeech(folder: Path, seed: int) -> int:
    return make_librispeech(folder, 3, 5, seed)


@pytest.mark.parametrize("make", [tiny_iemocap, tiny_librispeech])
def test_the_same_seed_gives_the_same_corpus(
    tmp_path: Path, make: Callable[[Path, int], int]
) -> None:
    make(tmp_path / "first", 1)
    make(tmp_path / "again", 1)
    make(tmp_path / "other", 2)
    first, other = contents(tmp_path / "first"), contents(tmp_path / "other")
    assert first == contents(tmp_path / "again")
    audio = [data for name, data in first.items() if name.endswith((".wav", ".flac"))]
    assert len(set(audio)) == len(audio)
    assert not set(audio) & set(other.values())
    with pytest.raises(FileExistsError):
        make(tmp_path / "first", 1)
    assert contents(tmp_path / "first") == first
