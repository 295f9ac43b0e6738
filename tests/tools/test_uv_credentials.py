"""What uv finds of passwords of indexes on its standard input, whatever lies in the places of their files."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from releaser.system.process import NO_SANDBOX, Sandbox
from releaser.tools.uv_credentials import for_uv_alone

INDEX = '[[tool.uv.index]]\nname = "my-own"\nurl = "https://index.example.org/simple"\n'
PASSWORD = {"UV_INDEX_MY_OWN_USERNAME": "a@b", "UV_INDEX_MY_OWN_PASSWORD": 'x/"\\y'}
STORE = '[[credential]]\nservice = "https://b.example.org/"\nusername = "me"\nscheme = "basic"\npassword = "pw"\n'


def handed(tmp_path: Path, environ: Mapping[str, str], *, isolated: bool = True) -> tuple[dict[str, str], list[str]]:
    """Return the environment of uv, and the URLs in what it finds on its standard input."""
    env = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), **environ}
    sandbox = Sandbox(prefix=("true",), variables=(("TMPDIR", str(tmp_path)),), outside=str(tmp_path))
    with for_uv_alone(env, tmp_path, sandbox if isolated else NO_SANDBOX) as (found, given):
        config = Path(found["XDG_CONFIG_HOME"], "uv", "uv.toml") if given else None
        assert config is None or os.readlink(config) == "/proc/self/fd/0"
        return found, [one["url"] for one in tomllib.loads(given.decode()).get("index", [])]


def test_a_variable_becomes_the_login_of_its_index(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(INDEX, encoding="utf-8")
    for isolated in (True, False):
        env, urls = handed(tmp_path, PASSWORD, isolated=isolated)
        assert urls == ["https://a%40b:x%2F%22%5Cy@index.example.org/simple"]
        assert not PASSWORD.keys() & env.keys()
    assert handed(tmp_path, {})[1] == []


def test_files_are_read_where_what_is_built_does_not_see_them(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine a.example.org login me password pw\n", encoding="utf-8")
    store = tmp_path / ".local/share/uv/credentials"
    store.mkdir(parents=True)
    (store / "credentials.toml").write_text(STORE, encoding="utf-8")
    (tmp_path / "uv.lock").write_text('registry = "http://a.example.org:81/simple"', encoding="utf-8")
    own = ["http://me:pw@a.example.org:81", "https://me:pw@a.example.org", "https://me:pw@b.example.org/"]
    assert handed(tmp_path, {})[1] == own
    assert handed(tmp_path, {}, isolated=False)[1] == []


@pytest.mark.parametrize("kind", ["a pipe", "nonsense"])
def test_what_cannot_be_read_keeps_nothing_waiting(tmp_path: Path, kind: str) -> None:
    store = tmp_path / ".local/share/uv/credentials"
    store.mkdir(parents=True)
    for file in (tmp_path / ".netrc", store / "credentials.toml", tmp_path / ".config" / "uv" / "uv.toml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == "a pipe":
            os.mkfifo(file)
        elif file.name != "uv.toml":
            file.write_bytes(b"credential = [1]\n\xff")
    (tmp_path / "pyproject.toml").write_text('[tool.uv]\nindex = ["https://x.example.org"]\n', encoding="utf-8")
    assert handed(tmp_path, PASSWORD)[1] == []


def test_what_uv_is_set_to_for_the_user_stays(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(INDEX, encoding="utf-8")
    own = tmp_path / "config"
    (own / "uv").mkdir(parents=True)
    (own / "git").mkdir()
    (own / "uv" / "uv.toml").write_text('[[index]]\nname = "mine"\nurl = "https://b.example.org"\n', encoding="utf-8")
    env, urls = handed(tmp_path, {**PASSWORD, "XDG_CONFIG_HOME": str(own)})
    assert urls == ["https://b.example.org", "https://a%40b:x%2F%22%5Cy@index.example.org/simple"]
    assert env["XDG_CONFIG_HOME"] != str(own)
