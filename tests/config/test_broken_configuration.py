"""Broken configuration files, experiment files and --set arguments: each is refused in one line.

python -m pytest -n 0 tests/config/test_broken_configuration.py prints how many were tried.
"""

import codecs
import gzip
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from config.settings import DEFAULTS_FILE, SECTIONS, read_ini
from tests.refusals import Refusals, run_here

FEWEST_TRIED = 400
MORE_MEMORY = 1 << 30

CONFIG = read_ini(DEFAULTS_FILE)
KEYS = [(section, key) for section, values in CONFIG.items() for key in values]
EXPERIMENT_SECTIONS = ("feature_extraction", "training_defaults")
NUMBERS = {"fmin", "total_hours", "sequence_length"}
WHOLE_NUMBERS = {"extractor_num_epochs", "extractor_patience", "extractor_batch_size"}
OPTIONAL = {"sequence_length", *WHOLE_NUMBERS}
EXPERIMENT = """# Does it?
[experiment]
description = a description
dataset = tiny
output_classes = 3
family = baseline
[training_defaults]
batch_size = 10
[instances]
at_layer = 1..3
comment_2 = layer{at_layer}
"""
OVERLAY = "[training_defaults]\nbatch_size = 10\npatience = 3\n[results]\nresults_folder = here\n"

INJECTED = [
    "__import__('os').system('touch canary')",
    "exec(\"open('canary', 'w')\")",
    "$(touch canary)",
    "`touch canary`",
    "; touch canary",
    "%(batch_size)s",
    "%(__import__('os').system('touch canary'))s",
    "${HOME}",
    "{seed.__class__.__mro__}",
    "!!python/object/apply:os.system ['touch canary']",
    "<!ENTITY x SYSTEM 'file:///etc/passwd'>",
]
WRONG = {
    "flag": ["", "2", "-1", "Ture", "None", "yes please", "[True]", *INJECTED],
    "whole": [
        *("-1", "-5", "1.5", "1e3", "nan", "inf", "-inf", "ten", "0x10", "1 2", "1;2", "1e400"),
        *("9" * 30, "9" * 1500, f"-{'9' * 1500}", "True", "None", "[1]", "10**9", "1,5", "", "--1"),
        *INJECTED,
    ],
    "number": [
        *("nan", "NaN", "inf", "Infinity", "-inf", "-0.5", "-1e-9", "1e400", "9" * 1500, "much"),
        *("1,5", "1/2", "0x1p3", "1e", "None", "True", "", "(1)", *INJECTED),
    ],
    "word": [
        *("nosuch!", "../../etc/passwd", "/etc/passwd", "a b c", "/", "~", ".", "\u202egnp"),
        *(f"{'x' * 1500}!", "1.5.6", "True False", *INJECTED),
    ],
    "folder": ["~no_such_user_1/x", "~no_such_user_2", "~no such user/$(touch canary)"],
}
FEW = settings(derandomize=True, database=None, deadline=None, max_examples=30)
MANY = settings(FEW, max_examples=80)


@pytest.fixture(scope="module")
def refusals(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Refusals]:
    """A room with an experiment file, in which memory is short; prints the count in the end."""
    room = tmp_path_factory.mktemp("room")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    refusals = Refusals(room)
    write_experiment(refusals)
    run_here(["experiments_manager.py", "--list", "--experiments", str(room / "experiments")])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        patch.setenv("HOME", str(room))
        resource.setrlimit(resource.RLIMIT_AS, (virtual_memory() + MORE_MEMORY, hard))
        yield refusals
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print(f"\nbroken configurations refused: {len(refusals.tried)} different ones")


def virtual_memory() -> int:
    """Of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def write_experiment(
    refusals: Refusals, content: str | bytes = EXPERIMENT, name: str = "1_tiny.ini"
) -> list[str]:
    """Make this the only experiment file; returns the command that reads it."""
    folder = refusals.room / "experiments"
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return ["experiments_manager.py", "[1]", "-1", "--experiments", str(folder)]


def write_overlay(refusals: Refusals, content: str | bytes) -> list[str]:
    """Write a --config file; returns the command that reads it."""
    path = refusals.room / "mine.ini"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [*write_experiment(refusals), "--config", str(path)]


def kind_of(section: str, key: str) -> str:
    default = CONFIG[section][key]
    if key in NUMBERS or (default.replace(".", "").isdecimal() and "." in default):
        return "number"
    if key in WHOLE_NUMBERS or default.isdecimal():
        return "whole"
    if default in ("True", "False"):
        return "flag"
    return "folder" if key.endswith(("_folder", "_repo", "_path")) else "word"


@dataclass(frozen=True)
class Setting:
    """A value for a key, where it stands, and what must be named when it is refused."""

    section: str
    key: str
    value: str
    place: str

    @property
    def named(self) -> tuple[str, ...]:
        return (self._source, self.key)

    @property
    def _source(self) -> str:
        return {
            "--set": "--set",
            "--config": f"mine.ini [{self.section}]",
            "experiment": f"1_tiny.ini [{self.section}]",
        }.get(self.place, f"1_tiny.ini [{self.place}]")

    def command(self, refusals: Refusals) -> list[str]:
        line = f"{self.key} = {self.value}"
        if self.place == "--set":
            override = f"{self.section}.{self.key}={self.value}"
            return [*write_experiment(refusals), "--set", override]
        if self.place == "--config":
            return write_overlay(refusals, f"[{self.section}]\n{line}\n")
        section = self.section if self.place == "experiment" else self.place
        return write_experiment(refusals, with_line(section, line))


def with_line(section: str, line: str) -> str:
    """The experiment file with a line in one of its sections, in place of that key's own."""
    before, header, after = EXPERIMENT.partition(f"[{section}]\n")
    if not header:
        return f"{EXPERIMENT}[{section}]\n{line}\n"
    own, bracket, others = after.partition("[")
    key = line.partition(" =")[0]
    kept = [each for each in own.splitlines() if each.partition(" =")[0] != key]
    return "\n".join([before + header + line, *kept, bracket + others])


@st.composite
def wrong_values(draw: st.DrawFn) -> Setting:
    section, key = draw(st.sampled_from(KEYS))
    kind = kind_of(section, key)
    value = draw(st.sampled_from(WRONG[kind]))
    place = draw(st.sampled_from(places_of(section)))
    assume(value or key not in OPTIONAL)
    assume((place, key) != ("experiment", "at_layer"))  # its [instances] have values of their own
    assume(place != "instances" or not any(sign in value for sign in (",", "|", "..")))
    return Setting(section, key, value, place)


def places_of(section: str) -> list[str]:
    places = ["--config", "--set"]
    if section in EXPERIMENT_SECTIONS:
        places.append("experiment")
    if section == "training_defaults":
        places += ["instances", "instance 1"]
    return places


MISSPELLINGS: dict[str, Callable[[str, int], str]] = {
    "dropped": lambda name, at: name[:at] + name[at + 1 :],
    "doubled": lambda name, at: name[:at] + name[at] + name[at:],
    "swapped": lambda name, at: name[:at] + name[at + 1 : at + 2] + name[at] + name[at + 2 :],
    "capital": lambda name, at: name[:at] + name[at].upper() + name[at + 1 :],
    "dashed": lambda name, _at: name.replace("_", "-"),
    "spaced": lambda name, _at: name.replace("_", " "),
    "foreign": lambda name, at: name[:at] + "é" + name[at + 1 :],
    "look-alike": lambda name, _at: name.replace("a", "а").replace("e", "е"),  # noqa: RUF001
    "other": lambda _name, _at: "no_such_name",
    "code": lambda _name, _at: "__import__('os').system('touch canary')",
    "format": lambda _name, _at: "{seed.__class__}",
    "attribute": lambda _name, _at: "__class__",
    "field": lambda _name, _at: "extractor_paths",
}


def misspelt(draw: st.DrawFn, name: str, known: set[str]) -> str:
    misspell = MISSPELLINGS[draw(st.sampled_from(sorted(MISSPELLINGS)))]
    wrong = misspell(name, draw(st.integers(0, len(name) - 1)))
    assume(wrong.strip() == wrong and wrong and wrong not in known)
    return wrong


@st.composite
def wrong_keys(draw: st.DrawFn) -> Setting:
    section, key = draw(st.sampled_from(KEYS))
    known = {*CONFIG[section], "repeat", "comment_1", "comment_2"}
    wrong = misspelt(draw, key, known)
    assume("." not in wrong)  # --set would take it for a section
    return Setting(section, wrong, "1", draw(st.sampled_from(places_of(section))))


@st.composite
def wrong_sections(draw: st.DrawFn) -> tuple[str, str]:
    """(place, section)"""
    place = draw(st.sampled_from(["--config", "--set", "experiment"]))
    section = draw(st.sampled_from(sorted(SECTIONS)))
    others = ["DEFAULT", "default", "experiment", "instances", "instance 1", "a]b", " ", "\u00a0"]
    if place == "experiment":
        others = ["DEFAULT", "results", "sampling", "preprocessing", "instance", "Instances"]
    misspelling = st.just(misspelt(draw, section, set(SECTIONS)))
    wrong = draw(st.one_of(misspelling, st.sampled_from(others)))
    assume("." not in wrong)
    return place, wrong


@pytest.mark.parametrize("section", sorted(CONFIG))
def test_every_key_has_its_limits(refusals: Refusals, section: str) -> None:
    for key in CONFIG[section]:
        kind = kind_of(section, key)
        for value in (
            ("-1", "nan", "inf", "1e400") if kind in ("whole", "number") else WRONG[kind][1:3]
        ):
            setting = Setting(section, key, value, "--config")
            refusals.check(setting.command(refusals), *setting.named)


@MANY
@given(wrong_values())
@example(Setting("training_defaults", "batch_size", "9" * 1500, "--set"))
@example(Setting("training_defaults", "seed", str(2**32), "--config"))
@example(Setting("training_defaults", "at_layer", "14", "instances"))
@example(Setting("training_defaults", "at_layer", "0", "instance 1"))
@example(Setting("training_defaults", "at_layer", "1..1000000000000", "instances"))
@example(Setting("training_defaults", "at_pretraining", f"experiment {'9' * 1500}", "--set"))
@example(Setting("training_defaults", "at_pretraining", "experiment 1", "experiment"))
@example(Setting("training_defaults", "at_dataset", "../../etc", "--config"))
@example(Setting("training_defaults", "at_librispeech_model_path", "~no_such_user/x", "--config"))
@example(Setting("results", "results_folder", "~no_such_user/x", "--set"))
@example(Setting("results", "results_folder", "a\0b", "--set"))
@example(Setting("results", "results_folder", "a\nb", "--set"))
@example(Setting("results", "results_folder", "a\x1b[2Jb", "--set"))
@example(Setting("results", "results_folder", "a\udcffb", "--set"))
@example(Setting("results", "results_folder", "here\n  figures_folder = there", "--config"))
@example(Setting("preprocessing", "total_hours", "1e9", "--config"))
def test_wrong_values(refusals: Refusals, setting: Setting) -> None:
    refusals.check(setting.command(refusals), *setting.named)


@MANY
@given(wrong_keys())
@example(Setting("preprocessing", "input_good_sounds_folder", "here", "--config"))
@example(Setting("training_defaults", "seed\x00", "1", "--set"))
@example(Setting("training_defaults", "k" * 1500, "1", "--config"))
@example(Setting("training_defaults", "k" * 100_000, "1", "--set"))
def test_unknown_keys(refusals: Refusals, setting: Setting) -> None:
    shown = setting.key if setting.key.isprintable() else setting.key.strip("\x00")
    refusals.check(setting.command(refusals), setting.named[0], shown[:20])


@FEW
@given(wrong_sections())
@example(("--config", "s" * 1500))
@example(("--set", "s" * 100_000))
def test_unknown_sections(refusals: Refusals, where: tuple[str, str]) -> None:
    place, section = where
    shown = f"[{section.strip()}" if len(section) < 100 else ""
    if place == "--set":
        refusals.check([*write_experiment(refusals), "--set", f"{section}.seed=1"], "--set", shown)
    elif place == "--config":
        command = write_overlay(refusals, f"[{section}]\nseed = 1\n")
        refusals.check(command, "mine.ini", shown if section.isprintable() else "")
    else:
        command = write_experiment(refusals, f"{EXPERIMENT}[{section}]\nseed = 1\n")
        refusals.check(command, "1_tiny.ini", shown)


@FEW
@given(st.sampled_from(KEYS), st.sampled_from(["key", "section"]), st.integers(0, 3))
def test_what_stands_twice(
    refusals: Refusals, place: tuple[str, str], what: str, distance: int
) -> None:
    section, key = place
    line = f"{key} = {CONFIG[section][key]}\n"
    between = "# a comment\n" * distance
    if what == "key":
        content = f"[{section}]\n{line}{between}{line}"
        named: tuple[str, ...] = (f"line {3 + distance}", f"[{section}] {key} stands twice")
    else:
        content = f"[{section}]\n{line}{between}[{section}]\n"
        named = (f"line {3 + distance}", f"[{section}] stands twice")
    refusals.check(write_overlay(refusals, content), "mine.ini", *named)


BROKEN_LINES = [
    "batch_size",
    "batch_size 10",
    "= 10",
    ": 10",
    "[training_defaults",
    "training_defaults]",
    "]",
    "batch_size 10" + " " * 1000 + "x",
    "key" + " " * 500_000 + "x",
    "x" * 100_000,
    "[" * 100_000,
    "__import__('os').system('touch canary')",
    "<<<<<<< HEAD",
    "\x00",
    "\x1b[2J",
    "batch_size = 1\x00",
    "# a comment with \x00",
    "batch_size\x0b",
    "\x85",
    "\ufeff[results]",
]


@FEW
@given(st.sampled_from(BROKEN_LINES), st.integers(0, 4))
@example("[]", 0)
@example("seed = 1", 0)
def test_lines_that_mean_nothing(refusals: Refusals, line: str, position: int) -> None:
    lines = OVERLAY.splitlines()
    lines.insert(position, line)
    refusals.check(write_overlay(refusals, "\n".join(lines)), "mine.ini: line ")


@FEW
@given(
    st.integers(0, len(EXPERIMENT) - 1), st.sampled_from(["\x00", "\x08", "\x1b", "\x7f", "\x9b"])
)
def test_control_characters(refusals: Refusals, position: int, character: str) -> None:
    content = EXPERIMENT[:position] + character + EXPERIMENT[position:]
    number = EXPERIMENT[:position].count("\n") + 1
    refusals.check(write_experiment(refusals, content), f"1_tiny.ini: line {number}: ")


UNREADABLE = [
    b"",
    b"\n \n\n",
    b"# only a comment\n",
    codecs.BOM_UTF8,
    codecs.BOM_UTF16_LE,
    codecs.BOM_UTF8 * 2 + OVERLAY.encode(),
    gzip.compress(OVERLAY.encode()),
    pickle.dumps({"training_defaults": {"batch_size": 10}}),
    b"\x93NUMPY\x01\x00",
    b"PK\x03\x04",
    b"\xff" * 100,
    b"\x80",
    f"# \u00e9\n{OVERLAY}".encode("latin-1"),
    f"# \u20ac\n{OVERLAY}".encode("cp1252"),
    b"# \xed\xa0\x80\n" + OVERLAY.encode(),
    OVERLAY.encode() + b"\n" * 1_100_000,
    OVERLAY.encode() + b"x" * 5_000_000,
    *(OVERLAY.encode(codec) for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037")),
]


@pytest.mark.parametrize("number", range(len(UNREADABLE)))
@pytest.mark.parametrize("what", ["--config", "experiment"])
def test_no_utf_8_text_and_nothing_at_all(refusals: Refusals, number: int, what: str) -> None:
    if what == "--config":
        refusals.check(write_overlay(refusals, UNREADABLE[number]), "mine.ini")
    else:
        refusals.check(write_experiment(refusals, UNREADABLE[number]), "1_tiny.ini")


@FEW
@given(st.binary(max_size=200), st.binary(min_size=1, max_size=3), st.binary(max_size=200))
def test_bytes_that_are_no_text(
    refusals: Refusals, before: bytes, wrong: bytes, after: bytes
) -> None:
    content = before + wrong + after
    try:
        content.decode()
    except UnicodeDecodeError:
        refusals.check(write_overlay(refusals, content), "mine.ini")
    else:
        refusals.check_unless_accepted([*write_overlay(refusals, content), "--list"])


INI_LIKE = st.text("[]=:#;%{}\\|.,- \t\r\n\x00\ufeff'\"$`~/abé019_", max_size=60)


@MANY
@given(st.sampled_from([OVERLAY, EXPERIMENT]), st.data())
def test_files_damaged_anywhere(refusals: Refusals, content: str, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(content)))
    last = data.draw(st.integers(first, min(len(content), first + 20)))
    damaged = content[:first] + data.draw(INI_LIKE) + content[last:]
    write = write_overlay if content is OVERLAY else write_experiment
    refusals.check_unless_accepted([*write(refusals, damaged), "--list"])


HEADS = [
    ("dataset", "../../etc", ""),
    ("dataset", "/etc/passwd", ""),
    ("dataset", "~", ""),
    ("dataset", "a b", ""),
    ("dataset", "tiny$(touch canary)", ""),
    ("dataset", "", "must be given"),
    ("output_classes", "1", ""),
    ("output_classes", "-3", ""),
    ("output_classes", "0", ""),
    ("output_classes", "3.0", ""),
    ("output_classes", "nan", ""),
    ("output_classes", "9" * 1500, ""),
    ("output_classes", "__import__('os').getpid()", ""),
    ("output_classes", "", "must be given"),
    ("family", "", "must be given"),
    ("description", "", "must be given"),
    ("task", "regression", "output_classes"),
    ("task", "clasification", "classification"),
    ("task", "", "must be given"),
    ("tasks", "classification", "did you mean task?"),
    ("id", "5", "no such key"),
    ("description", "a description\n  batch_size = 3", "goes on in the next line"),
]
SWEEPS = [
    *(("repeat", value) for value in ("0", "-1", "1.5", "10001", "1000000000", "10**9", "nan", "")),
    *(("repeat", value) for value in ("9" * 1500, "1..3", "5, 6", "$(touch canary)", "True")),
    *(("at_layer", value) for value in ("13..1", "1..14", "0..3", "1..1000000000000", "1...3")),
    *(("at_layer", value) for value in ("1..", "..3", "1,,2", "1 | | 2", "|", ",", "-3..3")),
    *(("seed", value) for value in ("0..10000", "5..1", "0..999999", "1..1000000", "1..1e9")),
    ("seed", "4294967295..4294967296"),
    ("batch_size", ", ".join(["10"] * 300 + ["-1"])),
    ("width", "0.5..2"),
    ("width", "1, nan"),
    ("learning_rate", "0.1 | inf"),
    ("comment_1", "{at_layer.__class__}"),
    ("comment_1", "{no_such}"),
    ("comment_2", "{}"),
    ("comment_2", "{0}"),
    ("comment_2", "{__import__('os').system('touch canary')}"),
    ("results_folder", "elsewhere"),
    ("dataset", "tiny, huge"),
]
INSTANCES = ["0", "4", "-1", "1.5", "1e0", "one", "1 2", "", "999999999999", "9" * 1500, "../1"]


@pytest.mark.parametrize(("key", "value", "said"), HEADS)
def test_wrong_heads(refusals: Refusals, key: str, value: str, said: str) -> None:
    lines = [line for line in EXPERIMENT.splitlines() if not line.startswith(f"{key} =")]
    lines.insert(2, f"{key} = {value}")
    command = write_experiment(refusals, "\n".join(lines))
    refusals.check(command, "1_tiny.ini [experiment]", said or key)


@pytest.mark.parametrize(("key", "value"), SWEEPS)
def test_wrong_sweeps(refusals: Refusals, key: str, value: str) -> None:
    setting = Setting("training_defaults", key, value, "instances")
    refusals.check(setting.command(refusals), "1_tiny.ini [instances]", key)


@FEW
@given(
    st.one_of(st.integers(10_001), st.integers(max_value=0), st.floats(allow_nan=True)),
    st.sampled_from(["repeat", "at_layer", "num_epochs"]),
)
def test_sweeps_without_end(refusals: Refusals, number: float, key: str) -> None:
    value = str(number) if key == "repeat" else f"1..{number}"
    setting = Setting("training_defaults", key, value, "instances")
    refusals.check(setting.command(refusals), "1_tiny.ini [instances]", key)


@pytest.mark.parametrize(
    "lines",
    [
        ["seed = 0..999", "at_layer = 1..13"],
        ["repeat = 10000", "at_layer = 1, 2"],
        [f"{key} = {'1, ' * 100}1" for key in ("at_layer", "patience", "batch_size", "num_epochs")],
    ],
)
def test_more_instances_than_anyone_wants(refusals: Refusals, lines: list[str]) -> None:
    head = EXPERIMENT.partition("[instances]")[0]
    command = write_experiment(refusals, "\n".join([head, "[instances]", *lines]))
    refusals.check(command, "1_tiny.ini [instances]", "10000")


@pytest.mark.parametrize("number", INSTANCES)
def test_instances_that_there_are_not(refusals: Refusals, number: str) -> None:
    content = f"{EXPERIMENT}[instance {number}]\nseed = 1\n"
    named = f"[instance {number[:20]}" if number else "[instance"
    refusals.check(write_experiment(refusals, content), "1_tiny.ini", named)


def test_an_instance_that_stands_twice(refusals: Refusals) -> None:
    content = f"{EXPERIMENT}[instance 1]\nseed = 1\n[instance 01]\nseed = 2\n"
    refusals.check(write_experiment(refusals, content), "1_tiny.ini", "[instance 01]", "twice")


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"train_split": 0.8}, "train_split"),
        ({"train_split": 1, "validation_split": 0, "test_split": 0}, "train_split"),
        ({"anti_transfer": True}, "at_dataset"),
        ({"anti_transfer": True, "at_dataset": "nsynth"}, "at_layer"),
        ({"anti_transfer": True, "at_dataset": "nsynth", "at_layer": "1; 2"}, "at_layer"),
        (
            {"anti_transfer": True, "at_dataset": "nsynth", "at_layer": 1, "at_beta": "1; 2"},
            "at_beta",
        ),
    ],
)
def test_values_that_contradict_each_other(
    refusals: Refusals, values: dict[str, object], key: str
) -> None:
    lines = [f"{each} = {value}" for each, value in values.items()]
    content = "\n".join(["[training_defaults]", *lines])
    source = "mine.ini" if key in values else "config.ini"
    command = write_overlay(refusals, content)
    write_experiment(refusals, EXPERIMENT.partition("[instances]")[0])
    refusals.check(command, f"{source} [training_defaults] {key}")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "tiny.ini",
            "_tiny.ini",
            "x1_tiny.ini",
            "-1_tiny.ini",
            "1.ini",
            "1-tiny.ini",
            "1.5_a.ini",
        ),
        *(f"{'9' * 200}_tiny.ini", "0x1_tiny.ini", " 1_tiny.ini", "$(touch canary).ini", "~.ini"),
        *("a\nb.ini", "\x1b[2J.ini", "\udcff.ini", "é.ini"),
    ],
)
def test_experiment_files_without_an_id(refusals: Refusals, name: str) -> None:
    command = write_experiment(refusals, name=name)
    refusals.check(command, ".ini: the file name must start with the experiment's ID")


@pytest.mark.parametrize("other", ["1_other.ini", "01_tiny.ini", "000000001_x.ini"])
def test_an_id_that_is_taken(refusals: Refusals, other: str) -> None:
    command = write_experiment(refusals)
    (refusals.room / "experiments" / other).write_text(EXPERIMENT, encoding="utf-8")
    refusals.check(command, "1_tiny.ini", other, "ID 1")


def folder_in_place_of_a_file(path: Path) -> None:
    path.mkdir()


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


def endless_file(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nothing(path: Path) -> None:
    assert not path.exists()


def link_to_another_file(path: Path) -> None:
    path.symlink_to("/etc/hostname" if Path("/etc/hostname").exists() else "/etc/passwd")


NO_FILES = [
    folder_in_place_of_a_file,
    loop,
    dangling_link,
    endless_file,
    nothing,
    link_to_another_file,
]


@pytest.mark.parametrize("make", NO_FILES)
def test_config_that_is_no_file(
    refusals: Refusals, make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "odd.ini"
    make(path)
    refusals.check([*write_experiment(refusals), "--config", str(path)], "odd.ini")


@pytest.mark.parametrize("make", [each for each in NO_FILES if each is not nothing])
def test_experiment_that_is_no_file(
    refusals: Refusals, make: Callable[[Path], None], tmp_path: Path
) -> None:
    write_experiment(refusals)
    make(tmp_path / "2_odd.ini")
    refusals.check(
        ["experiments_manager.py", "[2]", "-1", "--experiments", str(tmp_path)], "2_odd.ini"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("", "a\0b", "a\nb", "\udcff", "~no_such_user/x.ini", "$(touch canary)", "x" * 5000),
        *("../../../../../../../../etc/shadow/x", "-", "http://localhost/x.ini", "|touch canary"),
    ],
)
def test_odd_names_of_files(refusals: Refusals, name: str) -> None:
    command = write_experiment(refusals)
    refusals.check([*command, "--config", name], "cannot be read" if "\0" not in name else "null")
    refusals.check(
        [*command[:-1], name or "nothing"],
        "holds no experiment files" if len(name) < 300 else "too long",
    )


@pytest.mark.parametrize("make", [loop, dangling_link, link_to_another_file, nothing])
def test_experiments_that_are_no_folder(
    refusals: Refusals, make: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    make(path)
    refusals.check(["experiments_manager.py", "[1]", "-1", "--experiments", str(path)], "odd")


def test_config_that_the_environment_names(
    refusals: Refusals, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = write_overlay(refusals, "[training_defaults]\nbatch_sise = 3\n")[:-2]
    monkeypatch.setenv("ANTI_TRANSFER_CONFIG", os.pathsep.join(["", "mine.ini"]))
    refusals.check(command, "mine.ini [training_defaults] batch_sise")


@FEW
@given(
    st.sampled_from([key for key in KEYS if kind_of(*key) == "folder"]),
    st.sampled_from([*INJECTED, "../../etc", "a b", "é", "%"]),
)
def test_paths_are_names_and_nothing_else(
    refusals: Refusals, place: tuple[str, str], value: str
) -> None:
    setting = Setting(*place, value, "--set")
    refusals.check_unless_accepted([*setting.command(refusals), "--list"])
    assert not list(refusals.room.rglob("canary"))


def test_a_byte_order_mark_does_no_harm(refusals: Refusals) -> None:
    command = write_overlay(refusals, codecs.BOM_UTF8 + OVERLAY.encode())
    ending = run_here([*command, "--list"])
    assert (ending.code, ending.err) == (0, "")


def test_enough_was_tried(refusals: Refusals) -> None:
    assert len(refusals.tried) >= FEWEST_TRIED
