"""Broken command lines of every script that a user runs: each is refused in one line.

python -m pytest -n 0 tests/test_broken_command_lines.py prints how many were tried.
"""

import os
import pickle
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.command_line import CONFIG_VARIABLE
from config.ini_files import DEFAULTS_FILE, read_ini
from config.text import PROJECT_FOLDER
from tests.refusals import Refusals, check_line, run_here, tree

if TYPE_CHECKING:
    from tests.conftest import Suite

FEWEST_TRIED = 400
MEMORY = 4 << 30
SECONDS = 60

MANAGER = "experiments_manager.py"
DOWNLOADER = "preprocessing/get_corpus.py"
MINIATURES = "preprocessing/make_miniature_corpora.py"
INVARIANCE, REPORT = "training/invariance.py", "plotting/report.py"
FOLDERS = ("preprocessing", "pretraining", "training", "plotting")
SCRIPTS = sorted(
    str(path.relative_to(PROJECT_FOLDER))
    for path in (PROJECT_FOLDER / MANAGER, *PROJECT_FOLDER.glob("*/*.py"))
    if path.parent.name in FOLDERS or path.name == MANAGER
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
WITH_SETTINGS = [script for script in SCRIPTS if script != DOWNLOADER]
PRETRAINING = [script for script in SCRIPTS if script.startswith("pretraining/")]
ONE_OF_EACH_KIND = {
    MANAGER,
    MINIATURES,
    "plotting/plot_accuracy_boost.py",
    "preprocessing/preprocessing_LIBRISPEECH.py",
    "preprocessing/preprocessing_NSYNTH.py",
    "pretraining/pretrain_vgg_nsynth.py",
}
TAKES_WORDS = {
    MANAGER,
    INVARIANCE,
    REPORT,
    DOWNLOADER,
    MINIATURES,
    *PRETRAINING,
    "preprocessing/preprocessing_LIBRISPEECH.py",
    "plotting/plot_loss_epochs.py",
}
CODE = "__import__('os').system('touch canary')"
FOLDER_KEYS = [
    (section, key)
    for section, values in read_ini(DEFAULTS_FILE).items()
    for key in values
    if key.endswith(("_folder", "_repo"))
]
CORPUS_SCRIPTS = [
    script for script in SCRIPTS if script.startswith("preprocessing/") and script != DOWNLOADER
]


@pytest.fixture(scope="module")
def refusals(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Refusals]:
    """A room in which all folders of the settings would be; prints the count in the end."""
    refusals = Refusals(tmp_path_factory.mktemp("room"))
    furnish(refusals.room)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(refusals.room)
        patch.setenv("HOME", str(refusals.room))
        patch.setenv(CONFIG_VARIABLE, str(refusals.room / "room.ini"))
        for script in SCRIPTS:  # what is imported for the first time may write caches
            run_here([script, "--help"])
        yield refusals
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nbroken command lines refused: {len(refusals.tried)} different ones")


def furnish(room: Path) -> None:
    sections: dict[str, list[str]] = {}
    for section, key in FOLDER_KEYS:
        sections.setdefault(section, []).append(f"{key} = {room / 'missing' / key}")
    write_sections(room / "room.ini", sections)
    (room / "experiments").mkdir()
    (room / "experiments" / "1_tiny.ini").write_text(
        "# Does it?\n[experiment]\ndescription = a description\ndataset = tiny\n"
        "output_classes = 3\nfamily = baseline\n[instances]\nrepeat = 3\n"
    )
    (room / "a_file").write_text("text\n")
    (room / "a_folder").mkdir()
    (room / "a_loop").symlink_to("a_loop")
    (room / "empty.ini").write_text("")
    (room / "utf16.ini").write_text("[results]\n", encoding="utf-16")
    (room / "text.json").write_text("text\n")
    (room / "list.json").write_text("[1, 2]\n")
    (room / "deep.json").write_text("[" * 100_000)
    (room / "pickle.json").write_bytes(pickle.dumps({"0": {}}))


def write_sections(path: Path, sections: dict[str, list[str]]) -> None:
    lines = [line for section, values in sections.items() for line in (f"[{section}]", *values)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_scripts_are_those_that_there_are() -> None:
    assert len(SCRIPTS) > 25
    assert {*ONE_OF_EACH_KIND, *TAKES_WORDS} <= set(SCRIPTS)


WRONG_FOR_ALL = [
    (["--nosuch"], "--nosuch"),
    (["--nosuch=1"], "--nosuch=1"),
    (["-x"], "-x"),
    (["--config"], "--config"),
    (["--set"], "--set"),
    (["--se=sead=3"], "sead"),
    (["--set", "novalue"], "--set novalue"),
    (["--set", "=3"], "--set =3"),
    (["--set", ""], "--set"),
    (["--set", "sead=3"], "did you mean seed?"),
    (["--set", "Seed=3"], "did you mean seed?"),
    (["--set", "training_defaults.sead=3"], "[training_defaults] sead"),
    (["--set", "training_default.seed=3"], "[training_default]"),
    (["--set", "training_defaults.seed.real=3"], "seed.real"),
    (["--set", "training_defaults.seed=-1"], "[training_defaults] seed = -1"),
    (["--set", f"training_defaults.seed={CODE}"], "[training_defaults] seed"),
    (["--set", "width=nan"], "[training_defaults] width = nan"),
    (["--set", "workers=1000000000"], "[preprocessing] workers"),
    (["--set", "output_folder=~no_such_user/x"], "[preprocessing] output_folder"),
    (["--set", "results_folder=a\x00b"], "[results] results_folder"),
    (["--set", f"{CODE}=1"], CODE[:20]),
    (["--set", "\x1b[2J=1"], "\\x1b[2J"),
    (["--set", "\udcff=1"], "\\udcff"),
    (["--config", "missing.ini"], "missing.ini"),
    (["--config", "a_folder"], "a_folder"),
    (["--config", "a_loop"], "a_loop"),
    (["--config", "empty.ini"], "empty.ini"),
    (["--config", "utf16.ini"], "utf16.ini"),
    (["--config", "text.json"], "text.json: line 1"),
    (["--config", "a\x00b"], "a\\x00b"),
    (["--config", "\udcff.ini"], "\\udcff.ini"),
]


@pytest.mark.parametrize("script", WITH_SETTINGS)
def test_settings_of_every_script(refusals: Refusals, script: str) -> None:
    tried = WRONG_FOR_ALL if script in ONE_OF_EACH_KIND else WRONG_FOR_ALL[::3]
    for words, named in tried:
        refusals.check([script, *words], named)
    if script not in TAKES_WORDS:
        for word in ("word", "-1", "a\nb", "\x1b[2J", "$(touch canary)", "\udcff"):
            refusals.check([script, word], "unrecognized arguments")


MANAGER_WORDS = [
    [""],
    [],
    ["[1"],
    ["1]"],
    ["[]"],
    ["[,]"],
    ["[[1]]"],
    ["[1;2]", "-1"],
    ["[1]", "x"],
    ["[1]", "0x1"],
    ["[1]", "1.0"],
    ["[1]", "1e3"],
    ["[1]", "-2"],
    ["[1]", "--", "--2"],
    ["[1]", "9999999999"],
    ["[1]", "-1", "0"],
    ["[1]", "-1", "-1"],
    ["[1]", "-1", "3", "2"],
    ["[1]", "-1", "4"],
    ["[1]", "-1", "1", "0"],
    ["[1]", "-1", "1", "2", "3"],
    ["[2]", "-1"],
    ["[0]", "-1"],
    ["[-1]", "-1"],
    ["[999999999]", "-1"],
    ["[99999999999999999999]", "-1"],
    ["[nosuch]", "-1"],
    ["[../../etc]", "-1"],
    ["[1,nosuch]", "-1"],
    ["[$(touch canary)]", "-1"],
    [f"[{CODE}]", "-1"],
    ["[1] -1; touch canary"],
    ["[1]\x00", "-1"],
    ["[\x1b[2J]", "-1"],
    ["[\udcff]", "-1"],
    ["*", "-1"],
    ["~", "-1"],
    ["--summary"],
    ["--summary", "[2]"],
    ["--check"],
    ["--check", "[2]"],
    ["--list", "--experiments", "a_file"],
    ["--list", "--experiments", "a_folder"],
    ["--list", "--experiments", "a_loop"],
    ["--list", "--experiments", "missing"],
    ["--list", "--experiments", ""],
    ["--list", "--experiments", "a\x00b"],
    ["--list", "--experiments"],
    ["--overwrite=yes", "[1]", "-1"],
]


@pytest.mark.parametrize("script", [MANAGER, INVARIANCE, REPORT])
@pytest.mark.parametrize("words", MANAGER_WORDS)
def test_words_of_the_manager(refusals: Refusals, words: list[str], script: str) -> None:
    refusals.check([script, "--experiments", "experiments", *words])


PIECES = [
    *("[1]", "[", "]", ",", "1", "-1", "0", "nosuch", "[baseline]", "--list", "--check", "--force"),
    *("--set", "seed=1", "sead=1", "--config", "empty.ini", "room.ini", "--", "-", "", " ", "\x00"),
    *("é", "\udcff", CODE, "$(touch canary)", "../..", "9" * 30, "nan", "--experiments", "a_file"),
]


@settings(derandomize=True, database=None, deadline=None, max_examples=100)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=6))
@example(["[1]", "9" * 5000])
@example(["x" * 200_000])
@example(["[" + "1," * 50_000 + "]", "-1"])
@example(["1 " * 50_000])
def test_any_words_of_the_manager(refusals: Refusals, words: list[str]) -> None:
    wanted = [MANAGER, "--experiments", "experiments", *words]
    # These would be right, and then lack their matrices or ask for the help.
    if re.fullmatch(r"(\[?1,*\]?|\[?baseline\]?|\[[1,]*\])( -?\d)*", " ".join(words).strip()):
        return
    if not {"--force", "--check"} & set(words) and "-h" not in " ".join(words):
        refusals.check_unless_accepted(wanted)


WORDS = [
    *((script, [word], "gpu") for script in PRETRAINING for word in ("x", "1.5", "0x1", "1e3", "")),
    *((script, ["-1", "-1"], "unrecognized") for script in PRETRAINING),
    *((script, ["--overwrite=1"], "--overwrite") for script in PRETRAINING),
    (DOWNLOADER, [], "corpus"),
    (DOWNLOADER, ["nosuch"], "nosuch"),
    (DOWNLOADER, ["../../etc"], "../../etc"),
    (DOWNLOADER, ["$(touch canary)"], "$(touch canary)"),
    (DOWNLOADER, ["iemocap", "gsc"], "gsc"),
    (DOWNLOADER, ["iemocap", "--to"], "--to"),
    (DOWNLOADER, ["--nosuch", "iemocap"], "--nosuch"),
    (DOWNLOADER, ["--set", "seed=1", "iemocap"], "seed=1"),
    (DOWNLOADER, ["\x1b[2J"], "\\x1b[2J"),
    (DOWNLOADER, ["gsc", "--to", "a_file"], "a_file"),
    (MINIATURES, ["nosuch"], "CORPUS"),
    (MINIATURES, ["../../etc"], "CORPUS"),
    *(
        (MINIATURES, ["gsc", "--clips-per-word", size], "--clips-per-word")
        for size in ("0", "-1", "1.5", "1e3", "nan", "9" * 30, "", CODE)
    ),
    (MINIATURES, ["librispeech", "--num-words", "100000"], "--num-words"),
    (MINIATURES, ["gsc", "--num-voices", "100000"], "--num-voices"),
    (MINIATURES, ["gsc", "--set", "input_gsc_raw_folder="], "input_gsc_raw_folder"),
    (MINIATURES, ["gsc", "--set", "input_gsc_raw_folder={room}/a_file"], "a_file"),
    (MINIATURES, ["--tiny=3", "gsc"], "--tiny"),
    ("plotting/plot_loss_epochs.py", ["missing.json"], "missing.json"),
    ("plotting/plot_loss_epochs.py", ["a_folder"], "a_folder"),
    ("plotting/plot_loss_epochs.py", ["a_loop"], "a_loop"),
    ("plotting/plot_loss_epochs.py", ["text.json"], "text.json"),
    ("plotting/plot_loss_epochs.py", ["list.json"], "list.json"),
    ("plotting/plot_loss_epochs.py", ["deep.json"], "deep.json"),
    ("plotting/plot_loss_epochs.py", ["pickle.json"], "pickle.json"),
    ("plotting/plot_loss_epochs.py", ["result.npy"], "result.npy"),
    ("plotting/plot_loss_epochs.py", ["a\x00b.json"], "a\\x00b.json"),
    ("plotting/plot_loss_epochs.py", ["\udcff.json"], "\\udcff.json"),
    ("plotting/plot_loss_epochs.py", ["a.json", "b.json"], "b.json"),
    ("plotting/plot_loss_epochs.py", ["--fold", "0"], "--fold"),
    ("plotting/plot_loss_epochs.py", ["--fold", "x"], "--fold"),
    ("plotting/plot_loss_epochs.py", ["--fold"], "--fold"),
    ("plotting/plot_perLayer_improvement.py", ["--experiment", "1"], "--baseline"),
    ("plotting/plot_perLayer_improvement.py", ["--baseline", "1"], "--experiment"),
    *(
        ("plotting/plot_perLayer_improvement.py", ["--experiment", one, "--baseline", "2"], named)
        for one, named in (
            ("x", "--experiment"),
            ("1.5", "--experiment"),
            ("", "--experiment"),
            ("[1]", "--experiment"),
            ("1", "experiment 1"),
            ("-1", "experiment -1"),
            ("9" * 30, "experiment 999"),
            ("9" * 5000, "--experiment"),
        )
    ),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a_folder", "there", "x"], "num_classes"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a_folder", "there", "-5"], "num_classes"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a_folder", "there", "1"], "num_classes"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a\x00b"], "input_librispeech_folder"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a_folder", "a\x00b"], "output_folder"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a_file"], "a_file"),
    ("preprocessing/preprocessing_LIBRISPEECH.py", ["a", "b", "3", "4"], "4"),
]


@pytest.mark.parametrize(("script", "words", "named"), WORDS)
def test_words_of_the_other_scripts(
    refusals: Refusals, script: str, words: list[str], named: str
) -> None:
    words = [word.replace("{room}", str(refusals.room)) for word in words]
    refusals.check([script, *words], named)


@pytest.mark.parametrize("name", ["a_file", "a_loop", "missing", "a_folder", "a_file/x"])
def test_corpora_that_are_no_corpora(refusals: Refusals, name: str) -> None:
    sections: dict[str, list[str]] = {}
    for section, key in FOLDER_KEYS:
        if section == "preprocessing":
            sections.setdefault(section, []).append(f"{key} = {refusals.room / name}")
    write_sections(refusals.room / "odd.ini", sections)
    for script in CORPUS_SCRIPTS:
        if script != MINIATURES:
            refusals.check([script, "--config", "odd.ini"], name)


HUGE_FEATURES = [
    (["features_type=stft", "fft_size=1000000", "hop_size_stft=1"], "hop_size_stft"),
    (["features_type=stft", "sr_target=384000", "hop_size_stft=1"], "hop_size_stft"),
    (["features_type=mel", "fft_size_mel=1000000", "hop_size_mel=1"], "hop_size_mel"),
    (["features_type=mfcc", "fft_size_mfcc=1000000", "hop_size_mfcc=1"], "hop_size_mfcc"),
    (["features_type=mfcc", "n_mfcc=1000000"], "n_mfcc"),
    (["features_type=cqt", "n_bins=1000000"], "n_bins"),
    (["features_type=cqt", "fmin=1e9"], "n_bins"),
    (["features_type=cqt", "bins_per_octave=1000000", "n_bins=1000000"], "bins_per_octave"),
    (["features_type=cqt", "fmin=1e-9", "n_bins=12"], "fmin"),
]


@pytest.mark.parametrize(("values", "named"), HUGE_FEATURES)
def test_features_that_fit_no_memory(refusals: Refusals, values: list[str], named: str) -> None:
    words = [word for value in values for word in ("--set", value)]
    script = "preprocessing/preprocessing_GSC_randsplit.py"
    refusals.check([script, *words], "[feature_extraction]", named)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("results_folder={folder}/suite.ini", "results_folder"),
        ("results_folder={folder}/suite.ini/deeper", "results_folder"),
        ("at_pretraining=nosuch", "[training_defaults] at_pretraining"),
    ],
)
def test_what_only_the_inputs_show(
    refusals: Refusals, suite: "Suite", override: str, named: str
) -> None:
    suite.write_matrices()
    suite.write_experiment(1)
    words = ["--set", override.format(folder=suite.folder)]
    refusals.check([MANAGER, "[1]", "-1", *suite.arguments, *words], named)


def test_figures_are_not_written_into_a_file(refusals: Refusals) -> None:
    before = tree(refusals.room)
    words = ["--set", f"figures_folder={refusals.room / 'a_file'}"]
    ending = run_here(["plotting/plot_loss_epochs.py", *words])
    assert ending.code == 2
    check_line(ending.err, ["a_file"])
    assert tree(refusals.room) == before


@pytest.fixture
def room_of_its_own(tmp_path: Path) -> Path:
    furnish(tmp_path)
    return tmp_path


def refuse_in_a_process(room: Path, words: list[str], *named: str) -> None:
    """Run a command as a shell does, in little memory, and see that it is refused."""
    before = tree(room)
    command = [sys.executable, str(PROJECT_FOLDER / words[0]), *words[1:]]
    ended = subprocess.run(
        [os.fsencode(word) for word in command],
        cwd=room,
        env={
            **os.environ,
            CONFIG_VARIABLE: str(room / "room.ini"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(PROJECT_FOLDER),
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    check_line(ended.stderr.decode(), named)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert tree(room) == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["experiments_manager.py", "[\udcff]", "-1"], "\\udcff"),
        (["experiments_manager.py", "--config", "utf16.ini", "--list"], "utf16.ini"),
        (["experiments_manager.py", "--config", "/dev/zero", "--list"], "/dev/zero"),
        (["pretraining/pretrain_vgg_nsynth.py", "x"], "gpu"),
        (["preprocessing/preprocessing_NSYNTH.py", "--set", "sead=1"], "did you mean seed?"),
    ],
)
def test_as_a_shell_runs_them(room_of_its_own: Path, words: list[str], named: str) -> None:
    refuse_in_a_process(room_of_its_own, words, named)


def test_enough_was_tried(refusals: Refusals) -> None:
    assert len(refusals.tried) >= FEWEST_TRIED
