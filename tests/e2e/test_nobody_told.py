"""Mail goes by a mail server, or by the sendmail of the host; where nobody would be told, that is said in time."""

import json
import os
import signal
import socket
from http.server import BaseHTTPRequestHandler

import pytest

from tests.e2e.interrupting import Point, interrupted
from tests.e2e.refusals import refused, script
from tests.e2e.scenes import SECONDS, in_background, silent
from tests.support.guards import require
from tests.support.serving import http_server, reply
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer

BY_SENDMAIL = {"RELEASER_SENDMAIL": None}


def sendmail(site: SampleSite, status: int = 0, *, name: str = "sendmail") -> dict[str, str]:
    """Put a sendmail on PATH that notes its arguments and keeps the mail; return the environment with it."""
    place = site.outer / "bin"
    place.mkdir()
    record = site.outer / "sent"
    text = f'echo "$@" > {record}.words; cat > {record}; echo said by sendmail >&2; exit {status}'
    script(place / name, text)
    return {"PATH": f"{place}{os.pathsep}{site.env['PATH']}"}


def sent(site: SampleSite) -> tuple[str, str]:
    words, mail = ((site.outer / name).read_text(encoding="utf-8") for name in ("sent.words", "sent"))
    return words, mail


@pytest.mark.story
def test_without_a_mail_server_the_local_sendmail_is_used(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=BY_SENDMAIL)
    env = sendmail(site)
    site.publish("alpha", "1.1.0")
    report = site.json("update", env=env)
    words, mail = sent(site)
    assert words.split() == ["-i", "-f", "releaser@example.org", "--", "ada@example.org"]
    assert "Subject: " in mail
    assert "alpha" in mail
    assert report["mail"] == f"sent to ada@example.org by {site.outer / 'bin' / 'sendmail'}"
    assert site.outbox_mails() == []


def test_a_sendmail_that_fails_leaves_the_mail_for_the_next_run(make_site: SiteFactory) -> None:
    site = make_site.adopted(dotenv=BY_SENDMAIL)
    env = sendmail(site, status=75)
    answer = json.loads(site.releaser("test-mail", "--json", env=env, check=7).stdout)
    assert (answer["sent"], "did not accept" in answer["problem"]) == (False, True)
    site.publish("alpha", "1.1.0")
    report = site.json("update", env=env, check=7)
    (problem,) = report["problems"]
    assert f"{site.outer / 'bin' / 'sendmail'} did not accept the mail" in problem
    assert "said by sendmail" in problem
    assert site.json("status", env=env)["mails_pending"] == 1
    script(site.outer / "bin" / "sendmail", f"cat > {site.outer / 'sent'}")
    site.releaser("update", env=env, check=0)
    assert "alpha" in (site.outer / "sent").read_text(encoding="utf-8")
    assert site.json("status", env=env)["mails_pending"] == 0


def test_a_mail_is_sent_again_if_a_kill_comes_before_that_is_noted(
    make_site: SiteFactory, smtp_server: MailServer
) -> None:
    """`docs/reliability.md` says so: a mail is never lost, and a copy has the same Message-ID."""
    settings = {"RELEASER_SMTP_HOST": smtp_server.host, "RELEASER_SMTP_PORT": str(smtp_server.port)}
    site = make_site.adopted()
    site.write_dotenv(settings)
    site.publish("alpha", "1.1.0")
    interrupted(site, "update", at=Point(place="releaser.reporting.outbox:Outbox.remove", when="before"))
    assert len(smtp_server.messages) == 1
    site.releaser("update", check=0)
    site.releaser("update", check=0)
    first, again = (one.message["Message-ID"] for one in smtp_server.messages)
    assert first == again


def test_a_sendmail_elsewhere_and_none_at_all(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"sendmail": "../bin/msmtp"}, dotenv=BY_SENDMAIL)
    refused(site).says_only("sendmail", site.outer / "bin" / "msmtp")  # which is not there
    sendmail(site, name="msmtp")
    answer = site.json("test-mail")
    assert answer == {
        "sent": True, "to": ["ada@example.org"], "by": str(site.outer / "bin" / "msmtp"), "problem": "", "notices": [],
    }  # fmt: skip
    assert "test-mail` sent this" in sent(site)[1]
    site.write_dotenv({"RELEASER_SENDMAIL": "none"})
    site.releaser("test-mail", check=3)


@pytest.mark.story
def test_a_mail_to_try_it_says_where_it_went(make_site: SiteFactory) -> None:
    site = make_site(dotenv={**BY_SENDMAIL, "RELEASER_UPDATER_ADMINS": '["team@example.org"]'})
    finished = site.releaser("test-mail", env=sendmail(site), check=0)
    words, mail = sent(site)
    assert words.split()[4:] == ["ada@example.org", "team@example.org"]
    assert f"sent to ada@example.org, team@example.org by {site.outer / 'bin' / 'sendmail'}" in finished.stderr
    assert str(site.path) in mail.replace("=\n", "")


def test_a_run_goes_to_webhook_service_and_ping_and_fails_with_none_of_them(make_site: SiteFactory) -> None:
    pytest.importorskip("apprise")
    got: list[tuple[str, bytes]] = []
    status = 200

    def deal(request: BaseHTTPRequestHandler) -> None:
        got.append((request.path, request.rfile.read(int(request.headers["Content-Length"]))))
        reply(request, status)

    with http_server(deal) as url:
        notices = {
            "WEBHOOK": f"{url}/hook",
            "PING_URL": f"{url}/ping",
            "NOTIFY": url.replace("http:", "json:") + "/chat",
        }
        site = make_site.adopted(dotenv={f"RELEASER_{name}": value for name, value in notices.items()})
        answer = site.json("test-mail")
        assert (answer["sent"], [one["sent"] for one in answer["notices"]]) == (False, [True, True, True])
        silent(site.releaser("update"))  # nothing to tell
        assert [path for path, _ in got] == ["/hook", "/chat", "/ping", "/ping/start", "/ping"]
        got.clear()
        status = 500
        site.publish("alpha", "1.1.0")
        report = site.json("update")
        assert [one.partition(":")[0] for one in report["problems"]] == ["notice", "notice"]
        assert [path for path, _ in got] == ["/ping/start", "/hook", "/chat", "/ping"]
        assert site.json("status")["mails_pending"] == 2
        got.clear()
        status = 200
        site.publish("beta", "1.1.0", broken=True)
        site.releaser("update", check=5)
        told = [json.loads(body) for path, body in got if path == "/hook"]
        assert [one["exit_code"] for one in told] == [0, 5]
        assert [path for path, _ in got].count("/chat") == 2
        *_, (path, body) = got
        headline, step, _, log = body.decode(errors="replace").split("\n", 3)
        assert (path, headline, step[:10]) == ("/ping/fail", told[-1]["headline"], "step test:")
        assert log.count("\n") > 50  # and what led to it
        assert site.json("status")["mails_pending"] == 0


@pytest.fixture
def no_sendmail() -> None:
    """Only on a host that has no sendmail in the places that are looked in whatever PATH says."""
    require(not any(map(os.path.exists, ("/usr/sbin/sendmail", "/usr/lib/sendmail"))), "a host without sendmail")


# `check` and `init` say it; neither fails for it


@pytest.mark.usefixtures("no_sendmail")
def test_no_way_to_send_a_mail_is_said(make_site: SiteFactory) -> None:
    site = make_site(venv=True, dotenv=BY_SENDMAIL)
    assert "smtp_host" in site.releaser("test-mail", check=3).stderr
    for command in ("check", "init"):
        finished = site.releaser(command, check=0)
        assert "smtp_host is not set, and this host has no sendmail" in finished.stderr
        assert "releaser test-mail" in finished.stderr


def test_it_is_said_if_nobody_is_set(make_site: SiteFactory) -> None:
    site = make_site(venv=True, dotenv={**BY_SENDMAIL, "ADMINS_JSON": None})
    env = sendmail(site)
    finished = site.releaser("check", "--json", env=env, check=0)
    warnings = json.loads(finished.stdout)["warnings"]
    problems = site.json("init", env=env)["problems"]
    assert "ADMINS_JSON" in site.releaser("test-mail", env=env, check=3).stderr
    assert "no one gets a mail if an update fails" in finished.stderr
    (warning,) = warnings
    assert "ADMINS_JSON" in warning
    assert any("ADMINS_JSON" in one for one in problems)
    site.write_dotenv(BY_SENDMAIL)
    answer = site.json("check", env=env)
    assert (answer["warnings"], site.json("init", env=env)["problems"]) == ([], [])


# A run that is ended while its mail is being sent: the mail is kept, and the next run sends the very same one


# The server is set in the crontab alone, so that commands by hand have none


@pytest.mark.usefixtures("no_sendmail")
def test_the_next_run_that_can_send_sends_what_commands_by_hand_could_not(
    make_site: SiteFactory, smtp_server: MailServer
) -> None:
    site = make_site.adopted("1.1.0", dotenv={"RELEASER_SENDMAIL": None})
    waited = site.json("status")["mails_pending"]  # the site was made without any server
    for command in (["rollback"], ["rollback", site.live_id()]):
        site.releaser(*command, check=0)
    assert site.json("status")["mails_pending"] == waited + 2
    assert f"{waited + 2} mails not sent yet" in site.releaser("status", check=0).stdout
    assert f"{waited + 2} mails waiting to be sent" in site.releaser("status", "--nagios").stdout
    by_cron = {"RELEASER_SMTP_HOST": smtp_server.host, "RELEASER_SMTP_PORT": str(smtp_server.port)}
    quiet = site.releaser("update", env=by_cron, check=0)
    assert quiet.stderr == ""
    subjects = [str(one.message["Subject"]) for one in smtp_server.messages]
    assert sum("rolled back to" in one or "switched to" in one for one in subjects) == 2
    assert len(subjects) == waited + 2
    assert site.json("status")["mails_pending"] == 0
    assert site.outbox_mails() == []


def test_a_mail_survives_the_end_of_its_run(make_site: SiteFactory, smtp_server: MailServer) -> None:
    """The mail is kept, and the next run sends the very same one."""
    site = make_site.adopted(due="1.1.0")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(SECONDS)
        port = str(mute.getsockname()[1])
        settings = {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": port, "RELEASER_SMTP_TIMEOUT": "60s"}
        site.write_dotenv(settings)
        with in_background(site, "update") as update:
            connection, _ = mute.accept()
            update.send_signal(signal.SIGTERM)
            _, said = update.communicate(timeout=3 * SECONDS)  # or SMTP comes to its limit, which is told otherwise
            connection.close()
    assert (site.live_version("alpha"), update.returncode) == ("1.1.0", 7), said
    assert "interrupted while mails were being sent" in said
    (kept,) = site.outbox_mails()
    site.write_dotenv(settings | {"RELEASER_SMTP_PORT": str(smtp_server.port)})
    site.releaser("update", check=0)
    assert [one.message["Message-ID"] for one in smtp_server.messages] == [kept["Message-ID"]]
    assert site.outbox_mails() == []


def test_mails_for_people_who_read_the_outbox_are_not_counted_as_waiting(make_site: SiteFactory) -> None:
    site = make_site.adopted("1.1.0")  # with sendmail = "none"
    site.releaser("rollback", check=0)
    assert site.outbox_mails()
    assert site.json("status")["mails_pending"] == 0
