"""No password is in the arguments of a program, which every user of the host can see."""

import base64
import json
import secrets
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.osv import Flaw, VulnerabilityService
from tests.support.serving import http_server, reply
from tests.support.sites import SiteFactory

SEEN = secrets.token_hex(8)  # no other process of this host has that among its arguments
WRITTEN, PASSWORD = f"{SEEN}%20w%2Ford%22", f'{SEEN} w/ord"'


def arguments_of_all() -> str:
    """Return what every process of this host was called with."""
    found = ""
    for place in Path("/proc").iterdir():
        try:
            found += (place / "cmdline").read_bytes().decode(errors="replace") if place.name.isdigit() else ""
        except OSError:
            continue
    return found


class Guarded:
    """Serves what a repository has, and what is known of packages, to who has the password; sees what others see."""

    def __init__(self, remote: Path) -> None:
        self.remote = remote
        self.service = VulnerabilityService(Flaw(id="CVE-2026-1", package="alpha", fixed="1.1.0"))
        self.seen: set[str] = set()
        self.paths: list[str] = []

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        arguments = arguments_of_all()
        self.seen |= {one for one in (WRITTEN, PASSWORD, SEEN) if one in arguments}
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        login = base64.b64encode(f"ann:{PASSWORD}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {login}":
            reply(request, 401, headers={"WWW-Authenticate": 'Basic realm="site"'})
            return
        path = request.path.partition("?")[0]
        self.paths.append(path)
        if "/v1/" in path:
            reply(request, 200, json.dumps(self.service.answer(path, body)).encode())
            return
        file = self.remote / path.removeprefix("/remote.git/")
        reply(request, 200 if file.is_file() else 404, file.read_bytes() if file.is_file() else b"")


def test_credentials_of_a_service_and_a_remote_are_in_no_process_list(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0", settings={"git_push": False})
    site.push_from_elsewhere({"news.txt": "new"})
    site.git("-C", site.remote, "update-server-info")
    guarded = Guarded(site.remote)
    with http_server(guarded.serve) as url:
        place = url.replace("//", f"//ann:{WRITTEN}@")
        site.git("remote", "set-url", "origin", f"{place}/remote.git")
        env = {"RELEASER_VULNERABILITY_SERVICE": f"{place}/osv"}
        for words in (["check"], ["update", "--dry-run"], ["update"], ["audit"]):
            finished = site.releaser(*words, check=0, env=env)
            assert SEEN not in finished.stdout + finished.stderr
    assert (site.path / "news.txt").exists()
    assert any("/v1/" in path for path in guarded.paths)
    assert guarded.seen == set()
