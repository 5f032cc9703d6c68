"""Every command in a message, typed as it stands, changes what the message is about."""

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile

from preprocessing.corpora.gsc import DIGITS
from preprocessing.corpora.noisyspeech import NOISE_TYPES
from tests.conftest import run_script

RATE = 16000
MANAGER = "experiments_manager.py"
NAME = "gsc_randsplit_spectrum_fast"
CONFIG = """
[preprocessing]
input_gsc_raw_folder = {0}/commands
input_noisyspeech_repo = {0}/noises
augmented_gsc_folder = {0}/augmented
output_folder = {0}/matrices
items_per_class = 5
workers = 1
[results]
results_folder = {0}/results
figures_folder = {0}/figures
pretraining_folder = {0}/extractors
[training_defaults]
width = 0.03125
precision = fp32
num_epochs = 1
batch_size = 10
[pretraining]
extractor_num_epochs = 1
[extractor room]
dataset = gsc_randsplit
"""
EXPERIMENT = """# A question?
[experiment]
description = a description
dataset = gsc_randsplit
output_classes = 10
[training_defaults]
{}
"""
AGAINST_ROOM = "anti_transfer = True\nat_dataset = room\nat_layer = 13"
# What may follow a script in a command: IDs, GPU, instances, a name, options with their values.
WORD = re.compile(r"\[[\w,]+\]|-?\d+(,-?\d+)*|room|--overwrite|--force|--list")
Shell = Callable[..., tuple[int, str]]
WITH_VALUE = ("--config", "--set", "--experiments", "--nproc-per-node")


@dataclass(frozen=True)
class World:
    """A folder with a corpus, its matrices, an extractor, experiments and their results."""

    folder: Path

    @property
    def options(self) -> list[str]:
        return ["--config", str(self.folder / "own.ini")]

    def write_files(self) -> None:
        (self.folder / "own.ini").write_text(CONFIG.format(self.folder))
        experiments = self.folder / "experiments"
        experiments.mkdir(exist_ok=True)
        for identifier, text in ((5, ""), (28, AGAINST_ROOM), (32, "at_pretraining=experiment 5")):
            (experiments / f"{identifier}_x.ini").write_text(EXPERIMENT.format(text))

    def result(self, identifier: int) -> Path:
        folder = self.folder / "results" / f"experiment_{identifier}"
        return folder / "results" / f"results_{NAME}_exp{identifier}_run1.json"

    def model(self, identifier: int) -> Path:
        folder = self.folder / "results" / f"experiment_{identifier}"
        return folder / "models" / f"model_{NAME}_exp{identifier}_run1_fold0.safetensors"

    def part(self, name: str) -> Path:
        return self.folder / "matrices" / f"{NAME}_{name}"

    def extractor(self, name: str) -> Path:
        return self.folder / "extractors" / "room" / name

    def change(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str]) -> Shell:
    def run(*words: str) -> tuple[int, str]:
        capfd.readouterr()
        code = run_script(*words)
        captured = capfd.readouterr()
        return code, captured.out + captured.err

    return run


def write_noise(path: Path, seed: int, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    soundfile.write(path, 0.1 * samples, RATE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Everything is there: audio, matrices, an extractor that learnt, three experiments' runs."""
    world = World(tmp_path_factory.mktemp("world"))
    world.write_files()
    for number, word in enumerate(DIGITS):
        for clip in range(6):
            name = f"{number:04x}{clip:04x}_nohash_0.wav"
            write_noise(world.folder / "commands" / word / name, 10 * number + clip, 0.6)
    for number, kind in enumerate(NOISE_TYPES):
        write_noise(world.folder / "noises" / "noise_train" / f"{kind}_1.wav", 100 + number, 0.7)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for words in (
            ["preprocessing/balance_gsc.py"],
            ["preprocessing/noisyspeech_synthesizer_gsc.py"],
            ["preprocessing/preprocessing_GSC_randsplit.py"],
            ["pretraining/pretrain.py", "room", "-1"],
            [MANAGER, "[5,28,32]", "-1", "--force", *of(world)],
        ):
            assert run_script(*words, *world.options) == 0, words
    described = json.loads(world.extractor("extractor.json").read_text())
    described |= {"test_accuracy": 0.9, "chance_level": 0.1, "num_test_examples": 100}
    world.extractor("extractor.json").write_text(json.dumps(described))
    return world


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    """A copy, to be broken."""
    copied = World(tmp_path / "world")
    shutil.copytree(finished.folder, copied.folder)
    copied.write_files()
    return copied


def of(world: World) -> list[str]:
    return ["--experiments", str(world.folder / "experiments")]


def commands_in(text: str) -> list[list[str]]:
    """Return the commands of a message: a script of this project, and the words of its own."""
    return [list(_words_of(text[match.start() :])) for match in re.finditer(r"python [\w/]", text)]


def _words_of(text: str) -> Iterator[str]:
    lexer = shlex.shlex(text.partition("\n")[0], posix=True, punctuation_chars=";")
    lexer.whitespace_split = True
    lexer.quotes = "'"
    words = iter(lexer)
    assert next(words) == "python"
    yield next(words)
    for word in words:
        if word in WITH_VALUE:
            yield from (word, next(words).rstrip(","))
        elif WORD.fullmatch(word.rstrip(",;")):
            yield word.rstrip(",;")
        else:
            return


def cut(path: Path) -> None:
    """Leave the first half of a file, as a full disk or a killed copy does."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def lose_results(world: World) -> None:
    shutil.rmtree(world.folder / "results" / "experiment_5")


def nothing(_: World) -> None:
    """What is wrong is in the command itself."""


def check(identifier: int, *options: str) -> list[str]:
    return [MANAGER, "--check", f"[{identifier}]", "-1", *options]


Break = Callable[[World], object]
RUN = [MANAGER, "[5]", "-1"]
PRETRAIN = ["pretraining/pretrain.py", "room", "-1"]
NOISY = ["preprocessing/preprocessing_GSC_NOISY_randsplit.py"]
MORE_NOISY = ["preprocessing/noisyspeech_synthesizer_gsc_MORE.py"]
REPORT = ["plotting/report.py", "[5]"]
PER_LAYER = ["plotting/plot_perLayer_improvement.py", "--experiment", "28", "--baseline", "5"]
PROBE = ["training/invariance.py", "[5]", "-1"]
OF_EXPERIMENTS = (MANAGER, REPORT[0], PROBE[0])
MANIFEST = "augmented/noisy_balanced/manifest.csv"
# What is broken, the command that says so, and a part of the message.
SITUATIONS: dict[str, tuple[Break, list[str], str]] = {
    "targets deleted": (lambda w: w.part("target.npy").unlink(), check(28), "no matrices"),
    "matrix cut": (lambda w: cut(w.part("predictors.npy")), check(28), "is no usable matrix"),
    "description cut": (lambda w: cut(w.part("info.json")), check(28), "is no JSON file"),
    "other features in the experiment's file": (
        lambda w: w.change("experiments/5_x.ini", "[tr", "[feature_extraction]\nfmin=50\n[tr"),
        check(5),
        "this run has 50.0",
    ),
    "extractor's weights deleted": (
        lambda w: w.extractor("model.safetensors").unlink(),
        check(28),
        "holds no pre-trained extractor",
    ),
    "extractor of another width": (
        lambda w: w.change("experiments/28_x.ini", AGAINST_ROOM, f"{AGAINST_ROOM}\nwidth=0.0625"),
        check(28),
        "has width 0.03125, this run has 0.0625",
    ),
    "results with other settings": (
        nothing,
        check(5, "--set", "num_epochs=2"),
        "num_epochs: 1 then, 2 now",
    ),
    "a run with other settings": (
        nothing,
        [*RUN, "--set", "seed=7", "--set", "at_cache=off"],
        "seed: 0 then, 7 now",
    ),
    "listed with other settings": (
        nothing,
        [MANAGER, "--list", "[28]", "-1", "--set", "at_beta=0.5"],
        "at_beta: 1.0 then, 0.5 now",
    ),
    "result cut": (lambda w: cut(w.result(5)), RUN, "is no JSON file"),
    "no results to start from": (lose_results, check(32), "which has no results"),
    "no model to start from": (lambda w: w.model(5).unlink(), check(32), "has lost its model"),
    "mixtures not made": (lambda w: (w.folder / MANIFEST).unlink(), NOISY, "is unfinished"),
    "no clips to mix": (
        lambda w: shutil.rmtree(w.folder / "augmented"),
        MORE_NOISY,
        "does not exist",
    ),
    "extractor's data missing": (
        lambda w: w.part("info.json").unlink(),
        PRETRAIN,
        "holds no complete matrices",
    ),
    "extractor with other settings": (
        nothing,
        [*PRETRAIN, "--set", "learning_rate=0.1"],
        "learning_rate: 5e-05 then, 0.1 now",
    ),
    "report without results": (lose_results, REPORT, "none of these experiments has a finished"),
    "figure without results": (lose_results, PER_LAYER, "no results of experiment 5"),
    "nothing to probe": (lose_results, PROBE, "not one of 1 instance is finished"),
    "probing of other data": (
        lambda w: w.change(f"matrices/{NAME}_info.json", '"fingerprint": "', '"fingerprint": "x'),
        PROBE,
        "was trained on another version",
    ),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_command_in_a_message_helps(
    name: str, world: World, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It succeeds, and after it the command that gave the message does not give it again.

    Every other message is given, and followed, in another folder than the project's.
    """
    break_it, words, problem = SITUATIONS[name]
    if list(SITUATIONS).index(name) % 2:
        monkeypatch.chdir(world.folder)
    break_it(world)
    options = world.options
    if words[0] in OF_EXPERIMENTS:
        options = options + of(world)
    code, said = shell(*words, *options)
    assert problem in said
    assert "--list" in words or code != 0, said
    commands = commands_in(said)
    assert commands, said
    for command in commands:
        assert Path(command[0]).is_file()
        code, answer = shell(*command)
        assert code == 0, f"{said}\n{command}\n{answer}"
    _, said_then = shell(*words, *options)
    assert problem not in said_then


def test_an_extractor_at_chance_is_used_by_the_command_that_is_named(
    world: World, shell: Shell
) -> None:
    described = json.loads(world.extractor("extractor.json").read_text())
    world.extractor("extractor.json").write_text(json.dumps(described | {"test_accuracy": 0.1}))
    world.result(28).unlink()
    code, said = shell(*check(28), *world.options, *of(world))
    assert code == 2
    (command,) = commands_in(said)
    code, answer = shell(*command)
    assert code == 0, answer
    assert world.result(28).exists()
