"""Notices and pings, sent to real servers that behave well or badly; none of them holds up or fails a run."""

import email
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from unittest.mock import Mock

import pytest

from releaser.releases.journal import MailSection
from releaser.report import RunReport
from releaser.reporting import notices, reporters
from releaser.reporting.outbox import Outbox
from releaser.reporting.reporters import apprise, webhook
from releaser.reporting.subject import subject
from releaser.site.site import Site
from tests.reporting.makers import QUIET, a_site
from tests.support.serving import hang, http_server, reply

SECRET = "s3cret-of-the-hook"
REPORT = replace(QUIET, result="updated", headline="updated to R: 2 packages changed", live_changed=True)


@dataclass
class Server:
    """Answers as it is told, and notes what it was sent."""

    status: int = 200
    url: str = ""
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def deal(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        self.got.append((request.path, {name.lower(): value for name, value in request.headers.items()}, body))
        if self.status == 0:  # it hangs
            hang(request)
        elif self.status == 1:  # it goes away
            request.close_connection = True
        else:
            reply(request, self.status, b"{}", {"Location": f"{self.url}/elsewhere"})


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    with http_server(it.deal) as it.url:
        yield it


def told(site: Site, report: RunReport = REPORT) -> RunReport:
    """Do what the end of a run does."""
    return notices.send(site, *notices.keep(site, report))


def waiting(site: Site) -> int:
    return len(Outbox(path=site.project.outbox).list_queued())


def give(patch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each receiver have that long to take a notice."""
    for module in (notices, apprise, webhook):
        patch.setattr(module, "SECONDS", seconds)


def test_a_reporter_that_raises_something_else_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = a_site(tmp_path, webhook="http://127.0.0.1:9/hook")
    monkeypatch.setattr(webhook.Webhook, "content", Mock(side_effect=ZeroDivisionError("division by zero")))
    report, lost = notices.keep(site, REPORT.with_section(MailSection(mailed=True)))
    (problem,) = report.problems
    assert (problem.code, report.exit_code, lost) == ("reporter-failed", REPORT.exit_code, {})
    assert not MailSection.of(report).mailed
    assert "ZeroDivisionError: division by zero" in problem.message


# --- the webhook; that a notice waits until it is taken is in tests/kit ---


def test_it_gets_the_report_signed_and_no_secret_of_the_site(tmp_path: Path, server: Server) -> None:
    site = a_site(tmp_path, webhook=f"{server.url}/in?x=1", webhook_secret=SECRET)
    report = replace(REPORT, headline=f"it said {SECRET}")
    assert told(site, report) == report
    ((path, headers, body),) = server.got
    assert (path, headers["content-type"]) == ("/in?x=1", "application/json")
    assert json.loads(body)["headline"] == "it said ***"
    stamp, signature = (part.partition("=")[2] for part in headers["x-releaser-signature"].split(","))
    assert abs(time.time() - int(stamp)) < 60
    assert signature == hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    told(a_site(tmp_path, webhook=server.url))
    assert "x-releaser-signature" not in server.got[1][1]
    assert waiting(site) == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, "answered 500"), (302, "answered 302"), (404, "answered 404"), (0, "within 2 s"), (1, "cannot be")],
)
def test_whatever_it_answers_a_run_does_not_fail_and_follows_no_redirect(
    tmp_path: Path, server: Server, status: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, server.status = a_site(tmp_path, webhook=f"{server.url}/hooks/t0ken4you"), status
    give(monkeypatch, 2.0 if "within" in said else 60.0)
    began = time.monotonic()
    report = told(site)
    assert time.monotonic() - began < 20
    (problem,) = report.problems
    assert said in problem.message
    assert "t0ken4you" not in problem.message
    assert (report.exit_code, waiting(site)) == (0, 1)
    assert {path for path, _, _ in server.got} == {"/hooks/t0ken4you"}


def test_the_oldest_goes_first_and_one_that_is_refused_holds_up_no_other(tmp_path: Path, server: Server) -> None:
    site, server.status = a_site(tmp_path, webhook=server.url), 400
    for run in ("1", "2", "3"):
        notices.keep(site, replace(REPORT, run_id=run))
    notices.send(site, QUIET, {})
    assert [json.loads(body)["run_id"] for _, _, body in server.got] == ["1", "2", "3"]
    server.status, server.got = 503, []
    notices.send(site, QUIET, {})
    assert len(server.got) == 1  # a server that is ill is not asked again


def test_a_notice_that_is_old_is_dropped(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    site, server.status = a_site(tmp_path, webhook=server.url), 500
    monkeypatch.setattr(notices, "_KEPT", 0.0)
    assert told(site).problems
    assert waiting(site) == 0


def test_it_is_sent_although_the_outbox_cannot_keep_it(tmp_path: Path, server: Server) -> None:
    site = a_site(tmp_path, webhook=server.url)
    site.project.outbox.parent.mkdir(parents=True)
    site.project.outbox.write_text("in the way")
    told(site)
    assert len(server.got) == 1


def test_a_notice_is_no_mail_about_the_run(tmp_path: Path, server: Server) -> None:
    site = a_site(tmp_path, webhook=server.url)
    notices.keep(site, REPORT)
    outbox = Outbox(path=site.project.outbox)
    assert not outbox.has_reported(REPORT.run_id)
    (file,) = (outbox.path / "new").iterdir()
    assert server.url not in email.message_from_bytes(file.read_bytes()).as_string()


# --- pings ---


def test_an_update_says_when_it_begins_and_how_it_ends(tmp_path: Path, server: Server) -> None:
    site = a_site(tmp_path, ping_url=f"{server.url}/ping/uu1d/?a=b")
    log = tmp_path / "core.run.log"
    log.write_text("begin" + "." * 20_000 + "end")
    notices.ping(site, "update")
    notices.ping(site, "update", REPORT)
    notices.ping(site, "update", replace(REPORT, exit_code=5, log_file=str(log)))
    notices.ping(site, "update", replace(REPORT, exit_code=3, log_file=""))
    notices.ping(site, "rollback", REPORT)
    notices.ping(site, "update", replace(REPORT, exit_code=8))
    fails = "/ping/uu1d/fail?a=b"
    assert [path for path, _, _ in server.got] == ["/ping/uu1d/start?a=b", "/ping/uu1d?a=b", fails, fails]
    *_, with_log, without = (body.decode() for _, _, body in server.got)
    assert (len(with_log), with_log[-3:], without) == (10_000, "end", f"{REPORT.headline}\n\n")


@pytest.mark.parametrize("status", [0, 1, 500])
def test_nothing_becomes_of_a_ping_that_fails(
    tmp_path: Path, server: Server, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "_PING_SECONDS", 0.5)
    server.status, began = status, time.monotonic()
    notices.ping(a_site(tmp_path, ping_url=server.url), "update", REPORT)
    assert time.monotonic() - began < 20
    assert waiting(a_site(tmp_path)) == 0


# --- services, by Apprise as it is installed: its service `json`, to a server of our own ---


def test_each_gets_the_result_and_what_to_do_and_only_the_one_that_failed_is_tried_again(
    tmp_path: Path, server: Server, dead_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("apprise")
    give(monkeypatch, 20.0)
    host = server.url.removeprefix("http://")
    site = a_site(tmp_path, notify=f"json://{host}/in,json://u:passw0rd1@127.0.0.1:{dead_port}/t0ken4us")
    failed = replace(REPORT, exit_code=5, result="refused", live_changed=False, advice="Look at it.")
    (problem,) = told(site, failed).problems
    assert "json:// of `notify`" in problem.message
    assert "passw0rd1" not in problem.message
    assert "t0ken4us" not in problem.message
    (sent,) = (json.loads(body) for _, _, body in server.got)
    assert (sent["title"], sent["type"]) == (subject(failed), "failure")
    assert "Look at it." in sent["message"]
    assert waiting(site) == 1
    notices.send(site, QUIET, {})
    assert (len(server.got), waiting(site)) == (1, 1)


@pytest.mark.parametrize(
    ("scheme", "seconds", "said"),
    [("json", 2.0, "was ended"), ("nonsense", 20.0, "nonsense:// of `notify` did not accept the notice")],
)
def test_a_service_that_hangs_is_ended_and_one_that_apprise_does_not_know_is_said(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, scheme: str, seconds: float, said: str
) -> None:
    pytest.importorskip("apprise")
    server.status = 0
    give(monkeypatch, seconds)
    (problem,) = told(a_site(tmp_path, notify=f"{scheme}://{server.url.removeprefix('http://')}")).problems
    assert said in problem.message


# --- settings ---


def test_what_is_missing_is_said_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apprise, "_LIBRARY", "nothing_of_that_name")
    said = [str(one) for one in reporters.findings(a_site(tmp_path, notify="ntfy://x/y", webhook_secret=SECRET))]
    assert "webhook is not" in said[0]
    assert "venv-releaser[notify]" in said[1]


def test_secrets_in_the_urls_are_masked(tmp_path: Path) -> None:
    urls = {
        "webhook": "https://hooks.example.org/services/T0123ABCD/B0123ABCD/aB3dE5gH7jK9",
        "ping_url": "https://ping.example.org/0a1b2c3d-4e5f-6789-abcd-ef0123456789",
        "notify": "slack://T9JJ3T3L2/A9BRTD4JD/TIiajkdnlazkcOXr9devi7FQ,ntfy://ntfy.example.org/topic-of-ours9",
        "webhook_secret": SECRET,
    }
    clean = a_site(tmp_path, **urls).redactor.clean
    for url in ",".join(urls.values()).split(","):
        assert clean(f"no {url} here") == "no *** here"
    for part in ("aB3dE5gH7jK9", "0a1b2c3d-4e5f-6789-abcd-ef0123456789", "T9JJ3T3L2", "topic-of-ours9"):
        assert part not in clean(f"it is {part}")
    for word in ("hooks.example.org", "services", "ntfy.example.org", "ntfy://", "shop"):
        assert clean(f"the {word} is") == f"the {word} is"


def test_a_test_tries_everything(tmp_path: Path, server: Server, dead_port: int) -> None:
    site = a_site(tmp_path, webhook=server.url, ping_url=f"http://127.0.0.1:{dead_port}/x")
    hook, ping = notices.try_all(site)
    assert (hook.sent, ping.sent) == (True, False)
    assert hook.to == f"the webhook at {server.url.removeprefix('http://')}"
    assert "cannot be reached" in ping.problem
    assert json.loads(server.got[0][2])["test"] is True
    assert notices.try_all(a_site(tmp_path)) == ()
    assert waiting(site) == 0
