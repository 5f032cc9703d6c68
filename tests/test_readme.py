"""Every command of the README, in its order, on tiny miniature corpora."""

import re
import shlex
from pathlib import Path

import pytest

from config.command_line import CONFIG_VARIABLE
from config.text import PROJECT_FOLDER
from tests.conftest import run_script
from training.results.loading import ResultReader

TINY = """
[preprocessing]
input_gsc_raw_folder = {folder}/corpora/speech_commands
input_gsc_v2_folder = {folder}/corpora/speech_commands_v2
input_noisyspeech_repo = {folder}/corpora/MS-SNSD
input_iemocap_folder = {folder}/corpora/IEMOCAP
input_good-sounds_folder = {folder}/corpora/good-sounds
input_librispeech_folder = {folder}/corpora/LibriSpeech
input_nsynth_folder = {folder}/corpora/nsynth
generated_noisyspeech_folder = {folder}/noisyspeech
augmented_gsc_folder = {folder}/augmented
output_folder = {folder}/matrices
items_per_class = 3
total_hours = 0.12
workers = 1
[sampling]
sr_target = 8000
[pretraining]
num_classes_librispeech = 20
extractor_num_epochs = 1
[training_defaults]
width = 0.03125
num_epochs = 1
[results]
results_folder = {folder}/results
figures_folder = {folder}/figures
pretraining_folder = {folder}/pretraining_vgg
"""

ON_THE_CPU = {
    "[5,28,108]": ["-1", "1", "1"],
    "[28]": ["-1", "5", "5"],
    "[300]": ["-1", "1", "1"],
}


def readme_commands() -> list[list[str]]:
    """The words of each `python ...` line in the README's bash blocks."""
    text = (PROJECT_FOLDER / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("python ")]


def on_this_machine(words: list[str], folder: Path) -> list[str]:
    """The CPU for GPU 0, one instance for all, extractors at chance level, this test's results."""
    if words[0] == "preprocessing/make_miniature_corpora.py":
        return [*words, "--tiny"]
    if words[0].startswith("pretraining/"):
        return [words[0], "-1"]
    if words[0] == "training/invariance.py":
        return [*words[:2], "-1"]
    if words[0] == "experiments_manager.py":
        numbers = ON_THE_CPU.get(words[1])
        return [*words[:2], *numbers, "--force"] if numbers else [*words, "--force"]
    if words[-1] == "recordings":
        words = [*words[:-1], str(folder / "corpora" / "speech_commands" / "seven")]
    return [word.replace("results/experiment", f"{folder}/results/experiment") for word in words]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "tiny.ini"
    config.write_text(TINY.format(folder=tmp_path))
    monkeypatch.setenv(CONFIG_VARIABLE, str(config))
    assert run_script("preprocessing/make_miniature_corpora.py", "--tiny") == 0
    return tmp_path


def test_every_script_of_the_original_is_in_the_readme() -> None:
    named = {Path(words[0]).name for words in readme_commands()}
    folders = ("preprocessing", "pretraining", "training", "plotting")
    scripts = {
        path.name
        for folder in folders
        for path in (PROJECT_FOLDER / folder).glob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert scripts - named == {
        "get_corpus.py",
        "preprocessing_GOODSOUNDS_instrumentsplit.py",
    }


@pytest.mark.timeout(900)
def test_commands_run_in_their_order(tiny: Path) -> None:
    for words in readme_commands():
        if "my.ini" in words:  # the example of --config and --set, not a step
            continue
        assert run_script(*on_this_machine(words, tiny)) == 0, words
    matrices = {path.name for path in (tiny / "matrices").glob("*_predictors.npy")}
    assert len(matrices) == 15
    extractors = {path.parent.name for path in tiny.glob("pretraining_vgg/*/model.safetensors")}
    assert extractors == {
        "iemocap",
        "goodsounds",
        "librispeech",
        "nsynth",
        "noisyspeech",
        "iemocap_1sec",
    }
    for experiment in (5, 28, 108, 300, 301):
        assert ResultReader().find_all(tiny / "results", experiment)
    assert len(list((tiny / "figures").glob("*.png"))) >= 6
    assert "iemocap_excited_5folds" in (tiny / "results" / "report" / "report.html").read_text()
    assert len(list((tiny / "results" / "predictions").glob("*.csv"))) == 1
    assert len(list((tiny / "results" / "exports").glob("*.pt2"))) == 1
    for experiment in (5, 28, 108):
        assert list((tiny / "results" / f"experiment_{experiment}" / "invariance").glob("*.json"))
