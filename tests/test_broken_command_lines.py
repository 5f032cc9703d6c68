"""Broken command lines of every script: exit code 2, and one line that says why."""

from pathlib import Path

import pytest

from config.command_line import CONFIG_VARIABLE
from config.ini_files import DEFAULTS_FILE, read_ini
from config.text import PROJECT_FOLDER
from tests.conftest import run_script

MANAGER = "experiments_manager.py"
DOWNLOADER = "preprocessing/get_corpus.py"
MINIATURES = "preprocessing/make_miniature_corpora.py"
LIBRISPEECH = "preprocessing/preprocessing_LIBRISPEECH.py"
LOSS_EPOCHS = "plotting/plot_loss_epochs.py"
PER_LAYER = "plotting/plot_perLayer_improvement.py"
PRETRAINING = "pretraining/pretrain_vgg_nsynth.py"
INVARIANCE, REPORT = "training/invariance.py", "plotting/report.py"
SCRIPTS = sorted(
    str(path.relative_to(PROJECT_FOLDER))
    for folder in (".", "preprocessing", "pretraining", "training", "plotting")
    for path in (PROJECT_FOLDER / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
EXPERIMENT = (
    "# Does it?\n[experiment]\ndescription = a description\ndataset = tiny\n"
    "output_classes = 3\nfamily = baseline\n[instances]\nrepeat = 3\n"
)
CHOOSING = [MANAGER, INVARIANCE, REPORT]
TABLE: list[tuple[list[str], list[str], str]] = [
    # What all scripts share.
    (SCRIPTS, ["--nosuch"], ""),
    ([MANAGER], ["--list", "--set", "training_defaults.seed=-1"], "[training_defaults] seed = -1"),
    ([MANAGER], ["--list", "--set", "\x1b[2J=1"], "\\x1b[2J"),
    ([MANAGER], ["--list", "--config", "missing.ini"], "missing.ini"),
    # Which experiments, which GPU, which instances.
    (CHOOSING, ["[1"], ""),
    (CHOOSING, ["[2]", "-1"], "2"),
    (CHOOSING, ["[nosuch]", "-1"], "nosuch"),
    (CHOOSING, ["[../../etc]", "-1"], "etc"),
    ([MANAGER], [], ""),
    ([MANAGER], ["[1]", "x"], "x"),
    ([MANAGER], ["[1]", "-1", "3", "2"], ""),
    ([MANAGER], ["[1]", "-1", "4"], "4"),
    ([MANAGER], ["--check"], ""),
    ([MANAGER], ["--list", "--experiments", "missing"], "missing"),
    # Words of the other scripts.
    (["preprocessing/balance_gsc.py"], ["word"], "unrecognized arguments: word"),
    ([PRETRAINING], ["x"], "gpu"),
    ([DOWNLOADER], ["nosuch"], "nosuch"),
    ([DOWNLOADER], ["gsc", "--to", "a_file"], "a_file"),
    ([MINIATURES], ["nosuch"], "CORPUS"),
    ([MINIATURES], ["gsc", "--set", "input_gsc_raw_folder={room}/a_file"], "a_file"),
    ([LOSS_EPOCHS], ["missing.json"], "missing.json"),
    ([LOSS_EPOCHS], ["result.npy"], "result.npy"),
    ([PER_LAYER], ["--experiment", "1"], "--baseline"),
    ([PER_LAYER], ["--experiment", "1", "--baseline", "2"], "experiment 1"),
    ([LIBRISPEECH], ["a_folder", "there", "x"], "num_classes"),
    ([LIBRISPEECH], ["{room}/a_file"], "a_file"),
]
ROWS = [(script, words, named) for scripts, words, named in TABLE for script in scripts]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with an experiment and odd files; all folders of the settings are in it."""
    lines: list[str] = []
    for section, values in read_ini(DEFAULTS_FILE).items():
        keys = [key for key in values if key.endswith(("_folder", "_repo"))]
        lines += [f"[{section}]", *(f"{key} = {tmp_path / 'missing' / key}" for key in keys)]
    (tmp_path / "room.ini").write_text("\n".join(lines))
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "1_tiny.ini").write_text(EXPERIMENT)
    (tmp_path / "a_file").write_text("text\n")
    (tmp_path / "a_folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "room.ini"))
    return tmp_path


@pytest.mark.parametrize(("script", "words", "named"), ROWS)
def test_a_broken_command_line_is_refused_in_one_line(
    room: Path,
    script: str,
    words: list[str],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.format(room=room) for word in words]
    if script in CHOOSING and "--experiments" not in words:
        words += ["--experiments", "experiments"]
    files = sorted(room.rglob("*"))
    code = run_script(script, *words)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.endswith("\n")
    assert err[:-1].isprintable()
    assert named in err
    assert sorted(room.rglob("*")) == files
