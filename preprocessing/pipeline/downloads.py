"""Corpora from the web: downloads that go on where they were cut, checked, and unpacked safely."""

import gzip
import hashlib
import os
import tarfile
import zipfile
import zlib
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tqdm import tqdm

from config.errors import UserError
from config.files import write_text
from config.log import logger
from config.progress import on_terminal
from config.text import display_path, shorten
from preprocessing.pipeline.dataset import Archive

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 16  # a cut connection loses what has arrived of one
TIMEOUTS = (30, 60)  # to connect, and between two pieces, in s
GO_ON = "the same command goes on from there"


def download(archive: Archive, folder: Path) -> Path:
    """Download into a folder unless it is there; return the checked file.

    What a cut connection leaves behind is <file>.part; the next call asks for the rest.

    Raises:
        UserError: the server does not answer, has no such file, or sends another one.
    """
    path = folder / archive.file
    if not (path.exists() and _has_checksum(path, archive.checksum)):
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        logger.info(f"{archive.url} -> {display_path(path)}")
        _fetch(part, archive.url)
        if not _has_checksum(part, archive.checksum):
            part.unlink()
            raise UserError(
                f"{archive.url}: what was downloaded does not have the published checksum "
                f"{archive.checksum} and was removed; try again, or get the file elsewhere and put "
                f"it at {display_path(path)}"
            )
        part.replace(path)
    if archive.checksum is None:
        digest = _digest(path, "sha256")
        logger.info(f"{display_path(path)}: no published checksum to compare with; sha256 {digest}")
    return path


def _has_checksum(path: Path, checksum: str | None) -> bool:
    """Compare a file with the checksum of its archive, if one is published."""
    algorithm, _, digest = (checksum or "").partition(":")
    return checksum is None or _digest(path, algorithm) == digest


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _fetch(part: Path, url: str) -> None:
    """Fetch what a .part file lacks.

    Raises:
        UserError: the server refuses, or the connection is cut.
    """
    import requests

    try:
        if not _fetch_rest(part, url):
            part.unlink()  # more than the server has: another file
            _fetch_rest(part, url)
    except requests.HTTPError as error:
        raise UserError(f"{url}: refused: {shorten(error)}") from None
    except requests.RequestException as error:
        raise UserError(f"{url}: the connection failed ({type(error).__name__}); {GO_ON}") from None


def _fetch_rest(part: Path, url: str) -> bool:
    """Append the rest; False: the server has nothing from there on."""
    import requests

    done = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        if done and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return response.headers.get("Content-Range") == f"bytes */{done}"
        response.raise_for_status()
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            done = 0  # the server sends all of it again
        with part.open("ab" if done else "wb") as file:
            _receive(response, file, done)
    return True


def _receive(response: "requests.Response", file: BinaryIO, done: int) -> None:
    announced = response.headers.get("Content-Length")
    with tqdm(
        desc=Path(file.name).stem,
        total=done + int(announced) if announced else None,
        initial=done,
        unit="B",
        unit_scale=True,
        disable=not on_terminal(),
    ) as bar:
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())


def unpack(archive: Archive, path: Path, folder: Path) -> None:
    """Unpack an archive into a corpus's folder, once; a mark there says that it is complete.

    Raises:
        UserError: the archive is damaged, or a member would land outside the folder.
    """
    target = folder / archive.folder
    target.mkdir(parents=True, exist_ok=True)
    logger.info(f"unpacking {display_path(path)} into {display_path(target)}")
    unpack_members = _unpack_zip if path.suffix == ".zip" else _unpack_tar
    try:
        unpack_members(path, target, archive.inner_folder)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise UserError(
            f"{display_path(path)}: cannot be unpacked ({shorten(error)}); remove it and run the "
            "same command"
        ) from None
    write_text(unpacked_mark(archive, folder), f"{archive.url}\n")


def unpacked_mark(archive: Archive, folder: Path) -> Path:
    """Return the file that says that an archive was unpacked into a folder as a whole."""
    return folder / f".{archive.file}.unpacked"


def _unpack_tar(path: Path, target: Path, inner_folder: str) -> None:
    def renamed(member: tarfile.TarInfo, destination: str) -> tarfile.TarInfo | None:
        name = _without(inner_folder, member.name)
        return tarfile.data_filter(member.replace(name=name), destination) if name else None

    with gzip.open(path) as unzipped:
        with tarfile.open(fileobj=unzipped, mode="r|") as file:
            for member in tqdm(file, desc=path.name, unit="file", disable=not on_terminal()):
                file.extract(member, target, filter=renamed)
        while unzipped.read(CHUNK_BYTES):  # gzip compares its checksum at the very end
            pass


def _unpack_zip(path: Path, target: Path, inner_folder: str) -> None:
    with zipfile.ZipFile(path) as file:
        for member in tqdm(file.infolist(), desc=path.name, unit="file", disable=not on_terminal()):
            member.filename = _without(inner_folder, member.filename)
            if member.filename:
                file.extract(member, target)


def _without(inner_folder: str, name: str) -> str:
    """Return the member's name without the inner folder; empty: nothing to unpack."""
    name = name.removeprefix("./")
    if not inner_folder:
        return name
    return name.removeprefix(f"{inner_folder}/") if name.startswith(f"{inner_folder}/") else ""
