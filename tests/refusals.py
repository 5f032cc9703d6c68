"""What a refused input looks like: exit code 2, one line that names it, no trace left behind."""

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType
from typing import Any

from config.text import PROJECT_FOLDER

LONGEST_MESSAGE = 1700
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
DEEDS = {
    "os.chmod",
    "os.exec",
    "os.fork",
    "os.link",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.system",
    "os.truncate",
    "pty.spawn",
    "socket.connect",
    "subprocess.Popen",
}


class _Witness:
    """Sees, through the interpreter's audit events, what this process runs and changes."""

    def __init__(self) -> None:
        self.deeds: list[str] | None = None
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.deeds is None:
            return
        if event == "open":
            changes = bool(arguments[2] & WRITING)
        elif event == "os.mkdir":
            changes = not os.path.lexists(arguments[0]) and Path(arguments[0]).parent.is_dir()
        else:
            changes = event in DEEDS
        # The interpreter keeps the byte code of modules that it imports for the first time.
        if changes and "__pycache__" not in str(arguments[0]):
            self.deeds.append(f"{event}{arguments}")

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Collect what is run, written, renamed or removed in this block."""
        self.deeds = []
        try:
            yield self.deeds
        finally:
            self.deeds = None


WITNESS = _Witness()


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    code: object
    out: str
    err: str


def run_here(words: Sequence[str]) -> Ending:
    """What `python words...` does from the project's folder, in this process.

    An exception other than SystemExit, which would be a traceback on the screen, gets out of here.
    """
    out, err = io.StringIO(), io.StringIO()
    arguments, sys.argv = sys.argv, list(words)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            _run_as_main(PROJECT_FOLDER / words[0])
        code: object = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = arguments
    return Ending(code, out.getvalue(), err.getvalue())


class _ScriptLoader(SourceFileLoader):
    """Compiles a script once, however often it runs."""

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002
        return _code_of(self.path)


@cache
def _code_of(path: str) -> CodeType | None:
    return SourceFileLoader("__main__", path).get_code("__main__")


def _run_as_main(path: Path) -> None:
    loader = _ScriptLoader("__main__", str(path))
    spec = spec_from_file_location("__main__", path, loader=loader)
    assert spec is not None
    loader.exec_module(module_from_spec(spec))


def tree(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in a folder: mode, size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        found[str(path.relative_to(folder))] = (state.st_mode, state.st_size, state.st_mtime_ns)
    return found


def check_line(err: str, named: Sequence[str]) -> None:
    """One printable line of sensible length that holds all the given words."""
    assert err.startswith("error: "), err
    assert err.endswith("\n"), err
    line = err[:-1]
    assert line.isprintable(), line
    assert len(line) <= LONGEST_MESSAGE, line
    for word in named:
        assert word in line, f"{word!r} is not named in: {line}"


class Refusals:
    """Runs commands that must be refused, and counts the different ones.

    Attributes:
        room: the folder that the commands may read, and must not change.
        tried: fingerprints of the commands with the files they were given.
    """

    def __init__(self, room: Path) -> None:
        self.room = room
        self.tried: set[str] = set()

    def check(self, words: Sequence[str], *named: str) -> None:
        """A command must be refused in a line that names these words."""
        assert self._ends_well(words, named), f"accepted: {words}"

    def check_unless_accepted(self, words: Sequence[str]) -> None:
        """A command may be right by chance; if it is not, it must be refused."""
        self._ends_well(words, ())

    def _ends_well(self, words: Sequence[str], named: Sequence[str]) -> bool:
        """Whether the command was refused, as it should be if it was."""
        before = tree(self.room)
        with WITNESS.watching() as deeds:
            ending = run_here(words)
        assert deeds == []
        assert tree(self.room) == before
        if ending.code == 0:
            return False
        assert ending.code == 2
        assert ending.out == ""
        check_line(ending.err, named)
        self.tried.add(self._fingerprint(words))
        return True

    def _fingerprint(self, words: Sequence[str]) -> str:
        contents = [
            (str(path), path.read_bytes())
            for path in sorted(self.room.rglob("*.ini"))
            if path.is_file() and not path.is_symlink()
        ]
        return hashlib.sha256(repr((list(words), contents)).encode()).hexdigest()
