"""The passwords of git remotes, asked of a real server: one that refuses a right password once loses none."""

import base64
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from releaser.errors import ToolError
from releaser.tools.git_reader import asks_for_credentials
from tests.support.commands import git_executable
from tests.support.serving import http_server, reply
from tests.tools.repository import Repository

LOGIN = "ada:s3cret-word"


class GitServer:
    """Serves the repositories of a directory by git-http-backend(1), for one password; `refuses` all while set."""

    def __init__(self, base: Path) -> None:
        self.base, self.password, self.refuses = base, LOGIN, False

    def deal(self, request: BaseHTTPRequestHandler) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        if self.refuses or base64.b64decode(given).decode() != self.password:
            reply(request, 401, headers={"WWW-Authenticate": 'Basic realm="git"'})
            return
        path, _, query = request.path.partition("?")
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        env = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.base), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": request.command, "REMOTE_USER": "ada",
            "CONTENT_TYPE": request.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""), "REMOTE_ADDR": "127.0.0.1",
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
        }  # fmt: skip
        said = subprocess.run([git_executable(), "http-backend"], input=body, env=env, check=True, capture_output=True)
        head, _, content = said.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        reply(request, int(headers.pop("Status", "200").split()[0]), content, headers)


@pytest.fixture
def server(repository: Repository) -> Iterator[GitServer]:
    """The remote of the repository, behind a password that git has stored."""
    found = GitServer(repository.path.parent)
    with http_server(found.deal) as url:
        repository.call("remote", "set-url", "origin", f"{url}/remote.git")
        stored = repository.path.parent / "stored"
        stored.write_text(f"{url.replace('://', f'://{LOGIN}@')}\n", encoding="utf-8")
        repository.call("config", "--global", "credential.helper", f"store --file={stored}")
        yield found


def push(repository: Repository, text: str) -> None:
    repository.git.push("origin", "main", repository.commit({"uv.lock": text}))


@pytest.mark.parametrize("name", ["credential.helper", "credential.http://127.0.0.1.helper"])
def test_a_server_that_refuses_once_costs_no_stored_password(
    repository: Repository, server: GitServer, name: str
) -> None:
    stored = repository.path.parent / "stored"
    if name != "credential.helper":
        port = repository.call("config", "remote.origin.url").split(":")[2].partition("/")[0]
        repository.call("config", "--global", "--unset-all", "credential.helper")
        repository.call("config", name.replace(".helper", f":{port}.helper"), f"store --file={stored}")
    push(repository, "two")
    server.refuses = True
    for ask in (lambda: push(repository, "three"), lambda: repository.git.fetch("origin", "main")):
        with pytest.raises(ToolError) as caught:
            ask()
        assert asks_for_credentials(caught.value)
    with pytest.raises(ToolError, match="did not accept the key, password or token: fatal: Auth") as caught:
        push(repository, "three and more")
    assert "store a new one for this user: `git ls-remote` asks for it" in caught.value.advice
    assert LOGIN in stored.read_text(encoding="utf-8")
    server.refuses = False
    push(repository, "four")
    # A person's own git still forgets it, and asks.
    server.refuses = True
    with pytest.raises(pytest.fail.Exception):
        repository.call("ls-remote", "origin")
    assert stored.read_text(encoding="utf-8") == ""


def test_another_helper_is_asked_as_before(repository: Repository, server: GitServer) -> None:
    """One that fetches tokens has to hear that a token was refused."""
    asked = repository.path.parent / "asked"
    helper = f'!f() {{ echo "$1" >> {asked}; }}; f'
    repository.call("config", "--global", "--add", "credential.helper", helper)
    server.password = "another:word"
    with pytest.raises(ToolError):
        push(repository, "two")
    assert "erase" in asked.read_text(encoding="utf-8").split()
