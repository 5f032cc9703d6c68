"""Downloads against a server on this machine that cuts, refuses and ignores as real ones do."""

import gzip
import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from config.errors import UserError
from preprocessing.get_corpus import get_corpus
from preprocessing.pipeline.dataset import Archive, Corpus
from preprocessing.pipeline.downloads import download, unpack
from tests.conftest import message_of

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Files to serve, and how.

    cut_after: bytes of an answer after which the connection breaks.
    honours_range: else every answer is the whole file.
    asked: (path, Range header) of each request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: int | None = None
    honours_range: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


def answer(server: Server, request: BaseHTTPRequestHandler) -> None:
    """Serve one GET request, the part of RFC 9110 that a download needs."""
    wanted = request.headers.get("Range")
    server.asked.append((request.path, wanted))
    content = server.files.get(request.path.partition("?")[0].lstrip("/"))
    if content is None:
        request.send_error(404)
        return
    first = 0
    if wanted and server.honours_range:
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
    else:
        request.send_response(200)
    body = content[first:]
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[: server.cut_after])


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server(files={"corpus.bin": CONTENT})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(state, self)

        def log_message(self, *_arguments: object) -> None:
            """Keep the tests' output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the machine must not come between the test and its server."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class TestDownload:
    def test_whole_file_with_its_checksum(self, server: Server, tmp_path: Path) -> None:
        archive = Archive(server.url("corpus.bin?download=1"), SHA256)
        path = download(archive, tmp_path / "new")
        assert path == tmp_path / "new" / "corpus.bin"
        assert path.read_bytes() == CONTENT
        assert [entry.name for entry in path.parent.iterdir()] == ["corpus.bin"]

    def test_wrong_checksum_leaves_nothing(self, server: Server, tmp_path: Path) -> None:
        wrong = "sha256:" + "0" * 64
        error = message_of(download, Archive(server.url("corpus.bin"), wrong), tmp_path)
        assert wrong in error
        assert list(tmp_path.iterdir()) == []


class TestResume:
    @pytest.fixture
    def cut(self, server: Server, tmp_path: Path) -> Archive:
        """An archive whose first 800,000 bytes and more have arrived."""
        server.cut_after = 1_000_000
        archive = Archive(server.url("corpus.bin"), SHA256)
        error = message_of(download, archive, tmp_path)
        assert "the connection failed" in error
        assert "same command goes on" in error
        assert [path.name for path in tmp_path.iterdir()] == ["corpus.bin.part"]
        arrived = (tmp_path / "corpus.bin.part").read_bytes()
        assert 800_000 < len(arrived) <= 1_000_000
        assert arrived == CONTENT[: len(arrived)]
        server.cut_after = None
        server.asked.clear()
        return archive

    def test_only_the_rest_is_asked_for(self, cut: Archive, server: Server, tmp_path: Path) -> None:
        arrived = (tmp_path / "corpus.bin.part").stat().st_size
        assert download(cut, tmp_path).read_bytes() == CONTENT
        assert server.asked == [("/corpus.bin", f"bytes={arrived}-")]
        assert [path.name for path in tmp_path.iterdir()] == ["corpus.bin"]

    def test_server_that_ignores_ranges(self, cut: Archive, server: Server, tmp_path: Path) -> None:
        server.honours_range = False
        assert download(cut, tmp_path).read_bytes() == CONTENT
        ((_, wanted),) = server.asked
        assert wanted is not None


def tar_of(members: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return written.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return written.getvalue()


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


class TestUnpacking:
    def refuse(self, tmp_path: Path, content: bytes, reason: str) -> None:
        path, inside = tmp_path / "a.tar.gz", tmp_path / "inside"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"cannot be unpacked.*{reason}"):
            unpack(Archive("http://x/a.tar.gz", None), path, inside)
        assert not list(inside.glob(".*.unpacked"))
        assert not list(tmp_path.rglob("evil*"))

    @pytest.mark.parametrize("name", ["../evil.txt", "top/x/../../../evil"])
    def test_paths_out_of_the_folder(self, tmp_path: Path, name: str) -> None:
        self.refuse(tmp_path, tar_of({name: b"X"}), "outside the destination")

    def test_damaged_tar(self, tmp_path: Path) -> None:
        """The checksum at the end of a gzip file counts, although tar ends before it."""
        raw = gzip.decompress(tar_of({"a": CONTENT}))
        packed = bytearray(gzip.compress(raw, compresslevel=0))
        packed[1_000_000] ^= 1
        self.refuse(tmp_path, bytes(packed), "")


class TestCorpora:
    @pytest.fixture
    def corpus(self, server: Server) -> Corpus:
        server.files["one.tar.gz"] = tar_of({"Top/dev-clean/a.flac": b"A"})
        server.files["two.zip"] = zip_of({"Top/test-clean/b.flac": b"B"})
        return Corpus(
            name="librispeech",
            title="LibriSpeech",
            key="input_librispeech_folder",
            folder_name="LibriSpeech",
            layout="a folder",
            page="https://example.org",
            archives=tuple(
                Archive(server.url(name), None, folder="split", inner_folder="Top")
                for name in ("one.tar.gz", "two.zip")
            ),
            by_hand="Then do the rest.",
        )

    def test_layout_and_what_to_set(
        self, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        get_corpus(corpus, tmp_path)
        assert files_below(tmp_path / "LibriSpeech") == {
            "split/dev-clean/a.flac": b"A",
            "split/test-clean/b.flac": b"B",
        }
        printed = capsys.readouterr().out
        assert f"input_librispeech_folder = {tmp_path / 'LibriSpeech'}" in printed
        assert "Then do the rest." in printed
