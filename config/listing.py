"""Which files and folders of a folder are the user's: the one rule for every listing.

What other programs leave beside them is passed over: hidden files, indices of file managers and
disk stations, backups of editors, copies that a synchronisation made of two versions.
"""

import os
import re
from pathlib import Path

from config.errors import refuse_all
from config.log import logger
from config.text import display_path, first_of

FOREIGN_NAME = re.compile(
    r"""
    \..*                                # hidden: ._x.wav, .DS_Store, .#28.ini, .x.wav.swp
    | (eh)?thumbs\.db | desktop\.ini | \$recycle\.bin | system\ volume\ information  # Windows
    | __macosx | lost\+found | __pycache__
    | @eadir | @tmp | @recycle | @recently-snapshot | \#recycle | \#snapshot  # disk stations
    | ~\$.* | ~syncthing~.*             # open in an office program, being synchronised
    | \#.*\#                            # saved by Emacs while it was edited
    | .*~ | .*\.bak
    | .*\(.*conflicted\ copy.*\).*      # Dropbox, Nextcloud
    | .*\.sync-conflict-\d{8}-\d{6}.*   # Syncthing
    | .*_[a-z]{3}-\d\d-\d{4}-\d{4}_(case)?conflict(\.\w+)?  # Synology
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def is_foreign(name: str) -> bool:
    """Return whether a file or folder of this name is another program's."""
    return FOREIGN_NAME.fullmatch(name) is not None


def files_in(folder: Path, suffix: str | None = None) -> list[Path]:
    """Return the user's files in a folder with a suffix (lower case) in any case, sorted by name.

    Without a suffix, all of them. A link counts wherever it leads, so that a broken one is found
    missing when it is read. None if there is no such folder; names that are not UTF-8 are left out,
    with a line that counts them.

    Raises:
        UserError: of some it cannot be told which is meant, a.wav or a.WAV.
    """
    names = [
        entry.name
        for entry in _own_entries(folder)
        if suffix in (None, Path(entry.name).suffix.lower()) and not entry.is_dir()
    ]
    paths = _readable(folder, names)
    namesakes: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        namesakes.setdefault((path.stem, path.suffix.lower()), []).append(path.name)
    unclear = [" or ".join(each) for each in namesakes.values() if len(each) > 1]
    refuse_all(display_path(folder), unclear, "remove one, for they are one name")
    return paths


def folders_in(folder: Path) -> list[Path]:
    """Return the user's folders in a folder, sorted by name; names as in files_in."""
    return _readable(folder, [entry.name for entry in _own_entries(folder) if entry.is_dir()])


def _own_entries(folder: Path) -> list[os.DirEntry[str]]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not is_foreign(entry.name)]


def _readable(folder: Path, names: list[str]) -> list[Path]:
    """Return the paths of names that are UTF-8; print how many are not, for tables name them."""
    damaged = sorted(name for name in names if not is_utf8(name))
    if damaged:
        logger.info(
            f"{display_path(folder)}: {len(damaged)} left out, whose names are not "
            f"UTF-8: {first_of(damaged)}; rename them"
        )
    return [folder / name for name in sorted(set(names) - set(damaged))]


def is_utf8(name: str) -> bool:
    """Return whether a name from the disk (undecodable bytes as surrogates) is UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
