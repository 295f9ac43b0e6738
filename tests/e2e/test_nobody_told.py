"""Mail goes by a mail server, or by the sendmail of the host; where nobody would be told, that is said in time."""

import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.refusals import refused
from tests.e2e.scenes import SECONDS, in_background, silent
from tests.reporting.makers import a_sendmail
from tests.support.serving import http_server, reply
from tests.support.sites import SampleSite, SiteFactory, variables
from tests.support.smtp import MailServer

BY_SENDMAIL = {"RELEASER_SENDMAIL": None}


def with_sendmail(site: SampleSite) -> dict[str, str]:
    """Put a sendmail on PATH; return the environment with it."""
    place = a_sendmail(site.outer / "bin").parent
    return {"PATH": f"{place}{os.pathsep}{site.env['PATH']}"}


def by_smtp(port: int) -> dict[str, str | None]:
    return {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(port), "RELEASER_SMTP_TIMEOUT": "60s"}


@pytest.mark.story
def test_without_a_mail_server_the_local_sendmail_is_used(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=BY_SENDMAIL, due="1.1.0")
    report = site.json("update", env=with_sendmail(site))
    words, mail = ((site.outer / "bin" / name).read_text(encoding="utf-8") for name in ("sent.words", "sent"))
    assert words.split() == ["-i", "-f", "releaser@example.org", "--", "ada@example.org"]
    assert "Subject: " in mail
    assert "alpha" in mail
    assert report["mail"] == f"sent to ada@example.org by {site.outer / 'bin' / 'sendmail'}"
    assert site.outbox_mails() == []


@pytest.mark.story
def test_a_mail_to_try_it_says_where_it_went(make_site: SiteFactory) -> None:
    site = make_site(dotenv=BY_SENDMAIL)
    said = site.releaser("test-mail", env=with_sendmail(site), check=0).stderr
    assert f"sent to ada@example.org by {site.outer / 'bin' / 'sendmail'}" in said


def test_it_is_said_in_time_that_nobody_would_be_told(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"sendmail": "../bin/msmtp"}, dotenv=BY_SENDMAIL)
    refused(site).says_only("sendmail", site.outer / "bin" / "msmtp")  # which is not there
    a_sendmail(site.outer / "bin", "msmtp")
    site.write_dotenv({**BY_SENDMAIL, "ADMINS_JSON": None})
    (warning,) = site.json("check")["warnings"]
    assert "ADMINS_JSON" in warning
    assert any("ADMINS_JSON" in one for one in site.json("init")["problems"])
    assert "ADMINS_JSON" in site.releaser("test-mail", check=3).stderr


def test_a_mail_is_sent_again_if_a_kill_comes_before_that_is_noted(
    make_site: SiteFactory, smtp_server: MailServer
) -> None:
    """`docs/reliability.md` says so: a mail is never lost, and a copy has the same Message-ID."""
    site = make_site.adopted(dotenv=by_smtp(smtp_server.port), due="1.1.0")
    interrupted(site, "update", at=Point(place="releaser.reporting.outbox:Outbox.remove", when="before"))
    assert len(smtp_server.messages) == 1
    for _ in range(2):
        site.releaser("update", check=0)
    first, again = (one.message["Message-ID"] for one in smtp_server.messages)
    assert first == again


def test_a_mail_survives_the_end_of_its_run(make_site: SiteFactory, smtp_server: MailServer) -> None:
    """The mail is kept, and the next run sends the very same one."""
    site = make_site.adopted(due="1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        site.write_dotenv(by_smtp(mute.getsockname()[1]))
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.send_signal(signal.SIGTERM)
            _, said = update.communicate(timeout=3 * SECONDS)  # or SMTP comes to its limit, which is told otherwise
            connection.close()
    assert (site.live_version("alpha"), update.returncode) == ("1.1.0", 7), said
    assert "interrupted while mails were being sent" in said
    (kept,) = site.outbox_mails()
    site.write_dotenv(by_smtp(smtp_server.port))
    assert site.json("status")["mails_pending"] == 1
    site.releaser("update", check=0)
    assert [one.message["Message-ID"] for one in smtp_server.messages] == [kept["Message-ID"]]
    assert site.outbox_mails() == []


def test_a_run_goes_to_webhook_service_and_ping_and_fails_with_none_of_them(make_site: SiteFactory) -> None:
    pytest.importorskip("apprise")
    got: list[tuple[str, bytes]] = []
    status = 200

    def deal(request: BaseHTTPRequestHandler) -> None:
        got.append((request.path, request.rfile.read(int(request.headers["Content-Length"]))))
        reply(request, status)

    def paths() -> list[str]:
        return [path for path, _ in got]

    with http_server(deal) as url:
        notify = url.replace("http:", "json:") + "/chat"
        notices = variables(webhook=f"{url}/hook", ping_url=f"{url}/ping", notify=notify, culprits="off")
        site = make_site.adopted(dotenv=notices)
        answer = site.json("test-mail")
        assert (answer["sent"], [one["sent"] for one in answer["notices"]]) == (False, [True, True, True])
        silent(site.releaser("update"))  # nothing to tell
        assert paths() == ["/hook", "/chat", "/ping", "/ping/start", "/ping"]
        got.clear()
        status = 500
        site.publish("alpha", "1.1.0")
        report = site.json("update")
        assert [one.partition(":")[0] for one in report["problems"]] == ["notice", "notice"]
        assert paths() == ["/ping/start", "/hook", "/chat", "/ping"]
        assert len(site.outbox_mails()) == 3  # a mail for people who read the outbox is not waiting
        assert site.json("status")["mails_pending"] == 2
        got.clear()
        status = 200
        site.publish("beta", "1.1.0", broken=True)
        site.releaser("update", check=5)
    told = [json.loads(body) for path, body in got if path == "/hook"]
    assert [one["exit_code"] for one in told] == [0, 5]
    assert paths().count("/chat") == 2
    *_, (path, body) = got
    headline, step, _, log = body.decode(errors="replace").split("\n", 3)
    assert (path, headline, step[:10]) == ("/ping/fail", told[-1]["headline"], "step test:")
    assert log.count("\n") > 50  # and what led to it
