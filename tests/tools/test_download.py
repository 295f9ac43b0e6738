"""Files of package indexes: whole or not at all, and no password for another host."""

import contextlib
import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools import download as module
from releaser.tools.download import credentials_for, download
from tests.support.serving import begin_reply, http_server, reply

CONTENT = b"a wheel" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@contextlib.contextmanager
def served(address: str = "127.0.0.1") -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Serve a file, part of it, and redirections; yield host and port, and what was asked with which credentials."""
    asked: list[tuple[str, str | None]] = []

    def deal(request: BaseHTTPRequestHandler) -> None:
        asked.append((request.path, request.headers["Authorization"]))
        if request.path.startswith("/to/"):
            reply(request, 302, headers={"Location": f"http://{request.path.removeprefix('/to/')}"})
            return
        begin_reply(request, 200, len(CONTENT))
        request.wfile.write(CONTENT[: 100 if request.path == "/part" and len(asked) < 3 else None])
        request.close_connection = True

    with http_server(deal, address=address) as url:
        yield url.removeprefix("http://"), asked


def fetch(url: str, target: Path, sha256: str = DIGEST) -> None:
    download(url, target, sha256=sha256, environ={"HOME": "/nowhere"}, indexes={})


def test_a_password_goes_to_its_host_alone(tmp_path: Path) -> None:
    with served() as (host, asked), served("127.0.0.2") as (other, asked_there):
        fetch(f"http://me:secret@{host}/to/{host}/file", tmp_path / "same")
        assert [bool(login) for _, login in asked] == [True, True]
        fetch(f"http://me:secret@{host}/to/{other}/file", tmp_path / "other")
        assert asked_there == [("/file", None)]


def test_what_is_cut_off_is_asked_for_again(tmp_path: Path) -> None:
    with served() as (host, asked):
        fetch(f"http://{host}/part", tmp_path / "file")
    assert (len(asked), (tmp_path / "file").read_bytes()) == (3, CONTENT)


def test_the_hash_is_that_of_what_was_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody puts the good file in its place once another one was read."""
    place = tmp_path / "index.whl"
    place.write_bytes(b"another one")
    opened = open

    def exchange(path: Path, *words: object, **more: object) -> object:
        found = opened(path, *words, **more)  # type: ignore[call-overload]
        if str(path) == str(place):
            place.unlink()
            place.write_bytes(CONTENT)
        return found

    monkeypatch.setattr(module, "open", exchange, raising=False)
    with pytest.raises(ToolError, match="does not have the hash in the lock"):
        fetch(str(place), tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    "text", [b"machine pypi.example login ada password \xff\n", b"machine pypi.example nonsense\n"]
)
def test_a_netrc_that_cannot_be_read_has_no_login(tmp_path: Path, text: bytes) -> None:
    file = tmp_path / "netrc"
    file.write_bytes(text)
    assert credentials_for("https://pypi.example/shop.tar.gz", {"NETRC": str(file)}, {}) is None


@pytest.mark.parametrize(
    ("index", "place", "goes"),
    [
        ("https://ada:secret@pypi.example/simple", "https://pypi.example/shop.tar.gz", True),
        ("https://ada:secret@pypi.example/simple", "http://pypi.example/shop.tar.gz", False),
        ("http://ada:secret@pypi.example/simple", "http://pypi.example/shop.tar.gz", True),
        ("https://ada:secret@pypi.example/simple", "https://files.example/shop.tar.gz", False),
    ],
)
def test_a_password_goes_to_the_host_of_its_index_and_not_in_clear(index: str, place: str, goes: bool) -> None:
    login = ("ada", "secret") if goes else None
    assert credentials_for(place, {"UV_INDEX_URL": index}, {}) == login
    variables = {"UV_INDEX_SHOP_USERNAME": "ada", "UV_INDEX_SHOP_PASSWORD": "secret"}
    assert credentials_for(place, variables, {"shop": index.replace("ada:secret@", "")}) == login
