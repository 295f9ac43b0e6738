"""The page of `releaser serve`: who gets in, what it sends, and what a browser may not be made to send."""

import html
import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from releaser.core.request import Wanted
from releaser.fleet.sites_file import SitesFile
from releaser.pipelines.serve import Door, States, make_app
from releaser.releases.requests import MOST_WAITING, leave
from releaser.reporting.many_sites import SiteAnswer
from releaser.reporting.servers import Server, ServerReport
from releaser.site.settings import this_host
from releaser.system.files import plain
from tests.reporting.makers import STATUS

KEY = "the-key"
SITE = STATUS.path
LIVE = "20260101T020304Z"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "requests"
    place.mkdir(mode=0o700)
    return place


def server(directory: Path | str, **more: Any) -> Server:
    status = {**json.loads(json.dumps(STATUS, default=plain)), "request_dir": str(directory), "live": LIVE}
    report = ServerReport(
        host=this_host(), at=datetime.now(UTC), sites=(SiteAnswer(site=SITE, exit_code=0, answer=status),)
    )
    return Server(**{"name": this_host(), "report": report, **more})


class Fixed(States):
    """The states of a list that stays the same."""

    def __init__(self, *known: Server) -> None:
        super().__init__(lambda: SitesFile(sites=()), {})
        self._known = known

    def servers(self) -> Sequence[Server]:
        return self._known


def client(one: Server, door: Door | None = None) -> FlaskClient:
    """Return a browser in front of the page; it has been nowhere yet."""
    return make_app(Fixed(one), door or Door(key=KEY)).test_client()


def inside(one: Server) -> tuple[FlaskClient, dict[str, str]]:
    """Return a browser that has opened the page with the key, and the hidden fields of the forms."""
    browser = client(one)
    assert browser.get(f"/?key={KEY}").status_code == 303
    page = browser.get("/").text
    return browser, dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', page))


def sent(directory: Path) -> list[Any]:
    return [json.loads(file.read_bytes()) for file in directory.glob("*.json")]


def test_a_button_leaves_a_request_that_the_page_then_shows(directory: Path) -> None:
    browser, hidden = inside(server(directory))
    answer = browser.post("/requests", data={**hidden, "action": "hold", "name": " alpha ", "reason": "the\nsale"})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    (found,) = sent(directory)
    assert (found["project"], found["action"], found["name"], found["reason"], found["by"]) == (
        SITE, "hold", "alpha", "the sale", "",
    )  # fmt: skip
    (file,) = directory.iterdir()
    assert (len(file.stem), file.stat().st_mode & 0o777) == (32, 0o644)
    page = browser.get("/").text
    assert "<b>Requested:</b> hold alpha, " in page
    browser.post("/requests", data={**hidden, "action": "hold", "name": "alpha"})  # a second click
    assert len(sent(directory)) == 1


def test_the_answers_permit_nothing_but_the_page(directory: Path) -> None:
    browser, _ = inside(server(directory))
    answer = browser.get("/")
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert re.search(
        r"default-src 'none'; base-uri 'none'; form-action 'self'; style-src 'sha256-", html.unescape(answer.text)
    )
    assert (answer.headers["X-Frame-Options"], answer.headers["Cache-Control"]) == ("DENY", "no-store")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert not re.search(r"(src|href)=\"?(https?:)?//", answer.text)
    cookie = client(server(directory)).get(f"/?key={KEY}").headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


REFUSED: dict[str, tuple[dict[str, str], dict[str, str], int]] = {
    "another site, by its token": ({"token": "wrong"}, {}, 403),
    "no token": ({"token": ""}, {}, 403),
    "a form of another origin": ({}, {"Origin": "http://evil.example.org"}, 403),
    "a form of another port": ({}, {"Origin": "http://localhost:9999"}, 403),
    "what browsers say of other sites": ({}, {"Sec-Fetch-Site": "cross-site"}, 403),
    "what browsers say of other ports": ({}, {"Sec-Fetch-Site": "same-site"}, 403),
    "another name of this host (DNS rebinding)": ({}, {"Host": "evil.example.org"}, 400),
    "another name with our port": ({}, {"Host": "127.0.0.1.evil.example.org:8347"}, 400),
    "an unknown action": ({"action": "run"}, {}, 400),
    "another project": ({"project": "/etc"}, {}, 400),
    "an option as a name": ({"action": "hold", "name": "--force"}, {}, 400),
    "a path as a name": ({"action": "hold", "name": "../x"}, {}, 400),
    "a long reason": ({"action": "hold", "name": "alpha", "reason": "x" * 300}, {}, 400),
    "a large form": ({"reason": "x" * 9000}, {}, 413),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_form_leaves_no_request(directory: Path, name: str) -> None:
    changed, headers, code = REFUSED[name]
    browser, hidden = inside(server(directory))
    answer = browser.post("/requests", data={**hidden, "action": "update", **changed}, headers=headers)
    assert (answer.status_code, sent(directory)) == (code, [])
    assert "Traceback" not in answer.text


def test_a_form_of_this_page_is_accepted_whatever_the_browser_says_of_its_origin(directory: Path) -> None:
    own = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    for number, headers in enumerate(({}, {"Origin": "null"}, own), start=1):
        browser, hidden = inside(server(directory))
        form = {**hidden, "action": "hold", "name": f"alpha{number}"}
        assert browser.post("/requests", data=form, headers=headers).status_code == 303
        assert len(sent(directory)) == number


def test_without_the_key_there_is_no_page(directory: Path) -> None:
    browser = client(server(directory))
    for path in ("/", "/?key=", "/?key=wrong", "/?key=%ff"):
        answer = browser.get(path)
        assert (answer.status_code, SITE in answer.text) == (403, False)
    assert browser.post("/requests", data={"action": "update"}).status_code == 403
    for method in ("put", "delete", "options", "patch"):
        assert getattr(browser, method)("/requests").status_code in (200, 405)
    assert browser.get("/requests").status_code == 405
    assert sent(directory) == []


def test_behind_a_proxy_its_header_names_the_person(directory: Path) -> None:
    door = Door(header="X-Remote-User", hosts=("sites.example.org",))
    browser = client(server(directory), door)
    here = {"Host": "sites.example.org"}
    assert browser.get("/", headers=here).status_code == 403
    assert browser.get("/?key=", headers=here).status_code == 403
    assert browser.get("/", headers={"X-Remote-User": "alice"}).status_code == 400  # by the name of another host
    answer = browser.get("/", headers={**here, "X-Remote-User": "alice"}, base_url="https://sites.example.org")
    assert "Secure" in answer.headers["Set-Cookie"]
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', answer.text))
    answer = browser.post(
        "/requests", data={**hidden, "action": "rollback"}, base_url="https://sites.example.org",
        headers={
            **here, "X-Remote-User": "Zoë".encode().decode("latin-1"), "Origin": "https://sites.example.org"
        },
    )  # fmt: skip
    assert (answer.status_code, [one["by"] for one in sent(directory)]) == (303, ["Zoë"])


def test_only_sites_of_this_host_that_take_requests_have_buttons(directory: Path, tmp_path: Path) -> None:
    report = server(directory).report
    assert report is not None
    file = tmp_path / "state.json"
    file.write_text("{}", encoding="utf-8")
    file.chmod(0o644)
    own = server(directory, place=str(file))
    for one, has_buttons in (
        (own, True),
        (replace(own, report=replace(report, host="elsewhere")), False),
        (replace(own, place="https://elsewhere.example.org/state.json"), False),
        (replace(own, place=str(tmp_path / "missing.json")), False),
        (server(""), False),
        (server(tmp_path / "missing"), False),
    ):
        browser, _ = inside(one)
        assert ('<form method="post"' in browser.get("/").text) == has_buttons
    file.chmod(0o666)
    browser, _ = inside(own)
    assert "<form" not in browser.get("/").text
    directory.chmod(0o777)
    assert "is writable by all users" in inside(server(directory))[0].get("/").text


def test_a_site_that_answers_with_the_path_of_another_has_no_buttons(directory: Path) -> None:
    one = server(directory)
    assert one.report is not None
    forged = replace(one.report.sites[0], site="/srv/mallory")
    browser, _ = inside(replace(one, report=replace(one.report, sites=(forged,))))
    assert "<form" not in browser.get("/").text
    browser, hidden = inside(one)
    one.report.sites[0].answer["path"] = "/srv/victim"
    browser.post("/requests", data={**hidden, "project": "/srv/victim", "action": "update"})
    assert sent(directory) == []


def test_a_rollback_names_the_release_that_the_page_showed(directory: Path) -> None:
    browser, hidden = inside(server(directory))
    assert hidden["live"] == LIVE
    browser.post("/requests", data={**hidden, "action": "rollback"})
    browser.post("/requests", data={**hidden, "action": "pause", "length": ""})
    assert sorted((one["action"], one["live"]) for one in sent(directory)) == [("pause", ""), ("rollback", LIVE)]


def test_a_full_directory_takes_no_more(directory: Path) -> None:
    browser, hidden = inside(server(directory))
    for number in range(MOST_WAITING):
        browser.post("/requests", data={**hidden, "action": "hold", "name": f"alpha{number}"})
    answer = browser.post("/requests", data={**hidden, "action": "update"})
    assert (answer.status_code, len(sent(directory))) == (503, MOST_WAITING)
    assert "20 requests are already waiting" in answer.text


def test_a_name_that_is_html_stays_text(directory: Path) -> None:
    one = server(directory)
    browser, _ = inside(one)
    for_page = Wanted(project=SITE, action="rollback", live="r1", by="<script>alert(1)</script>")
    leave(directory, for_page)
    page = browser.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to be refused")
def test_root_shows_no_page() -> None:
    from click.testing import CliRunner

    from releaser.commands.command import cli

    result = CliRunner().invoke(cli, ["serve", "--sites", "/dev/null"])
    assert result.exit_code == 3
