"""Mail: what it says, to whom it goes, and how it waits for a server."""

import json
import mailbox
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser

import pytest

from tests.e2e.scenes import CODE, NEW_IS_SICK, hook, make_old, mostly_slow, says, silent, step_names, times_of_tree
from tests.support.commands import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import MailServer, mail_server, read_mail

ADA = '[["Ada Grün, Dr.", "ada@example.org"]]'
DEAD = "localhost:1"  # no server is there


@pytest.fixture
def server() -> Iterator[MailServer]:
    """A mail server that takes everything."""
    with mail_server() as running:
        yield running


def mailing(host: str, admins: str = ADA, **more: str) -> dict[str, str | None]:
    """Return `.env` of a site that mails."""
    return {"ADMINS_JSON": admins, "RELEASER_SMTP_HOST": host, **{f"RELEASER_{name}": more[name] for name in more}}


def only_mail(server: MailServer) -> tuple[EmailMessage, str]:
    """Return the only mail that a server took, and its text."""
    assert len(server.mails) == 1, [mail["Subject"] for _, mail, _ in server.mails]
    mail = server.mails[0][1]
    return mail, read_mail(mail)


class Page(HTMLParser):
    """What a person sees of the HTML part of a mail, and its tags."""

    def __init__(self, mail: EmailMessage) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text, self._hidden = "", False
        self.feed(read_mail(mail, "html"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._hidden = tag in ("title", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._hidden else f"{data} "

    def lacks(self, text: str) -> set[str]:
        """Return the words and numbers of a text that the page does not have."""
        return {*re.findall(r"\w+", text)} - {*re.findall(r"\w+", self.text)}


def section(text: str, title: str) -> list[str]:
    """Return the lines of a section of a mail, each in one piece; none if the mail does not have it."""
    lines = "".join(re.findall(rf"(?ms)^{title}\n-+\n(.*?\n)(?:\n|\Z)", text))
    return re.findall(r".+\n", re.sub(r"\n {2,}", " ", lines))


#: What a person does, or lets go wrong; exit code, how the subject begins, and words of the text.
NEWS: dict[str, tuple[Callable[[SampleSite], object], int, str, tuple[str, ...]]] = {
    "updated": (lambda site: None, 0, "Updated: site, alpha 1.1.0",
                ("{new} is live", "alpha 1.0.0 → 1.1.0", "Widen the door", "{old} was live")),
    "tests": (lambda site: site.publish("alpha", "1.2.0", broken=True), 5, "Failed: site, tests with alpha 1.2.0",
              ("live release is unchanged", "alpha 1.2.0 breaks the shop", "alpha 1.0.0 → 1.2.0", "Widen the door")),
    "refused": (lambda site: site.edit("shop.py", "mine"), 3, "Refused: site, Tracked files",
                ("live release is unchanged", "`shop.py`", "git -C {path} status")),
    "rolled back": (lambda site: site.edit("../sick", ""), 6, "Rolled back: site, The health check failed",
                    ("{old} is live", "alpha 1.0.0 → 1.1.0", "releaser unhold alpha", "Widen the door")),
    "not pushed": (lambda site: hook(site.remote, "pre-receive", "echo the vault is closed >&2; exit 1"), 7,
                   "Updated: site, alpha 1.1.0, 1 problem", ("{new} is live", "the vault is closed")),
    "no remote": (lambda site: site.remote.rename(site.base / "away"), 4, "Failed: site, The remote `origin` could",
                  ("live release is unchanged", "git -C {path} fetch")),
    "strange name": (lambda site: site.run("sh", "-c", "touch $(printf 'caf\\351'); git add ."), 3,
                     "Refused: site, Tracked files", ("live release is unchanged", "`caf\\udce9`")),
    "repaired": (lambda site: site.run("sh", "-c", f"rm .venv; mv {site.remote} {site.base}/away"), 4,
                 "Failed: site, The remote `origin` could", ("led nowhere", "{old}, was made live again")),
}  # fmt: skip


@pytest.mark.parametrize("name", mostly_slow(NEWS, "updated", "tests"))
def test_law_26_28_what_a_mail_says(make_site: SiteFactory, server: MailServer, name: str) -> None:
    healthy = mailing(server.host, HEALTH_CHECK=NEW_IS_SICK, HEALTH_TIMEOUT="0s")
    site = make_site.live(due="1.1.0", dotenv=healthy)
    act, code, subject, words = NEWS[name]
    old = site.live()
    site.push_from_elsewhere(CODE, message="Widen the door")
    act(site)
    finished = site.releaser("update", "--json", check=code)
    mail, text = only_mail(server)
    is_unchanged = "live release is unchanged" in words
    assert ("unchanged" in text, "unchanged" in finished.stderr) == (is_unchanged, is_unchanged), f"{finished}\n{text}"
    in_one_line = " ".join(text.split())
    missing = [w for w in words if w.format(new=site.live(), old=old, path=site.path) not in in_one_line]
    assert not missing, f"{missing} should be in\n{text}"
    assert mail["Subject"].startswith(subject), mail["Subject"]
    assert len(mail["Subject"]) <= 60
    assert getaddresses([mail["To"]]) == [("Ada Grün, Dr.", "ada@example.org")]
    assert (mail["From"].startswith("releaser@"), mail["Auto-Submitted"]) == (True, "auto-generated")
    assert re.fullmatch(r"<\S+@\S+>", mail["Message-ID"])
    assert parsedate_to_datetime(mail["Date"]).tzinfo is not None
    steps = step_names(json.loads(finished.stdout))
    assert [line.split()[0] for line in section(text, "Steps")] == steps, "a step that did not run"
    for line in section(text, "Commands"):  # paste each; those that would change something, without the change
        program, command, *rest = shlex.split(line)
        may_change = command in ("rollback", "update")
        finished = site.releaser(command, *rest, *(["--dry-run"] if may_change else []), project=None)
        assert (program, finished.returncode in (0, 10) or may_change) == ("releaser", True), f"{line}\n{finished}"
        assert finished.returncode not in (1, 2), f"{line}\n{finished}"
    assert section(text, "Commands")
    assert not Page(mail).lacks(f"{text} {subject.partition(':')[0]}"), "facts that are not in the HTML part"


@pytest.mark.parametrize("place", mostly_slow([".env", ".releaser/site/releases"], ".releaser/site/releases"))
def test_law_20_26_a_refusal_without_state_is_one_mail(make_site: SiteFactory, server: MailServer, place: str) -> None:
    site = make_site.live(dotenv=mailing(server.host))
    env = {"RELEASER_SMTP_HOST": server.host, "RELEASER_UPDATER_ADMINS": "boss@example.org"}
    for night in range(1, 5):
        (site.outer / place).chmod(0o755 if night == 4 else 0o777)
        finished = site.releaser("update", env=env)
        says(finished, *([f"chmod go-w {site.outer / place}"] if night < 4 else []))
        assert (finished.returncode, len(server.mails)) == (3 if night < 4 else 0, 1), f"night {night}\n{finished}"


CLOSED: dict[str, Callable[[SampleSite], object]] = {
    "open to strangers": lambda site: site.path.chmod(0o777),
    "no pyproject.toml": lambda site: (site.path / "pyproject.toml").rename(site.path / "elsewhere.toml"),
    "of another user": lambda site: shutil.chown(site.outer / ".env", "nobody"),
    "another encoding": lambda site: (site.outer / ".env").write_bytes(
        (site.outer / ".env").read_bytes() + b"# caf\xe9\n"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLOSED)
def test_law_26_people_hear_of_a_closed_project(make_site: SiteFactory, server: MailServer, name: str) -> None:
    site = make_site.live(dotenv=mailing(server.host))
    require(os.geteuid() == 0 or name != "of another user", "another owner needs root")
    CLOSED[name](site)
    site.releaser("update", check=3)
    assert [mail["Subject"][:15] for _, mail, _ in server.mails] == ["Refused: site, "] * (name != "of another user")


@pytest.mark.slow
def test_law_20_26_the_same_reason_is_one_mail_whatever_is_newer(make_site: SiteFactory, server: MailServer) -> None:
    site = make_site.live(dotenv=mailing(server.host))
    site.push_commit("Note", {"note.txt": "one"})
    site.releaser("update", check=0)
    site.write_dotenv(mailing(server.host, TEST_COMMAND="sh -c 'exit 3'"))
    server.mails.clear()
    for version in ("1.1.0", "1.2.0"):
        site.publish("alpha", version)
        says(site.releaser("update", check=5), "was already failing")
    assert "--project" in only_mail(server)[1]
    site.write_dotenv(mailing(server.host))
    site.publish("alpha", "1.3.0", broken=True)
    site.releaser("update", check=5)
    site.git("update-ref", "refs/heads/main", "main~1", cwd=site.remote)
    server.mails.clear()
    site.releaser("update", check=5)
    assert "was rewritten" in only_mail(server)[1], "a candidate that failed before hides nothing"


@pytest.mark.slow
def test_law_26_a_rollback_is_told_as_one(make_site: SiteFactory, server: MailServer) -> None:
    site = make_site.live(dotenv=mailing(server.host))
    page = "https://alpha.example.org/news?a=1&b=2"
    site.push_from_elsewhere(CODE, message="Widen the door")
    site.publish("alpha", "1.1.0", urls={"Release Notes": page, "Changelog": "javascript:alert(1)"})
    site.releaser("update", check=0)
    mail, text = only_mail(server)
    assert text.startswith("Alpha 1.0.0 → 1.1.0 and 1 new commit are live.\n"), text
    assert page in section(text, "Packages")[0]
    assert (f'href="{page.replace("&", "&amp;")}"' in read_mail(mail, "html"), "javascript" in text) == (True, False)
    server.mails.clear()
    site.releaser("rollback", check=0)
    mail, text = only_mail(server)
    assert mail["Subject"].startswith("Rollback done: site, alpha 1.0.0")
    assert ["Widen the door" in line for line in section(text, "Commits rolled back")] == [False, True], text
    assert text.index("\nSteps\n") > text.index("\nAbout this run\n")
    assert [line.split()[1] for line in section(text, "Commands")] == ["status"]  # there is nothing to go back to
    assert "releaser unhold alpha" in text


@pytest.mark.slow
def test_law_26_each_update_that_a_signal_ends_after_the_flip_is_one_mail(
    make_site: SiteFactory, server: MailServer
) -> None:
    site = make_site.live(dotenv=mailing(server.host, RESTART="sh -c 'kill -TERM $PPID'"))
    for night, version in enumerate(("1.1.0", "1.2.0"), 1):
        site.publish("alpha", version)
        site.releaser("update", check=143)
        assert (site.version("alpha"), len(server.mails)) == (version, night)
        mail = server.mails[-1][1]
        assert mail["Subject"].startswith(f"Interrupted: site, alpha {version}"), mail["Subject"]
        assert f"Release {site.live()} is live." in read_mail(mail)


NAMES = {"long": ("s" * 70, "p" * 70), "not ASCII": ("Grüße 日本語の店 " * 5 + "x", "alpha")}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(NAMES, "not ASCII"))
def test_a_subject_has_sixty_characters(make_site: SiteFactory, server: MailServer, name: str) -> None:
    directory, package = NAMES[name]
    site = make_site(name=directory, packages={package: "1.0.0"}, dotenv=mailing(server.host))
    site.releaser("init", check=0)  # no mail: a person sits at the terminal
    site.update_to("1.1.0", package)
    mail, text = only_mail(server)
    assert (mail["Subject"].startswith("Updated: "), len(mail["Subject"]) <= 60) == (True, True), mail["Subject"]
    assert f"{package} 1.0.0 → 1.1.0" in text


@pytest.mark.parametrize("end", mostly_slow(["\r", "\v", "\x1c", "\x85", "\u2028"], "\r"))
def test_a_commit_adds_no_line_to_a_mail(make_site: SiteFactory, server: MailServer, end: str) -> None:
    site = make_site.live(dotenv=mailing(server.host))
    message = end.join(["Widen", "Bcc: eve@example.org", "curl example.org | sh", "<script>alert('&lt;')</script><p>"])
    site.push_from_elsewhere(CODE, message=message)
    site.releaser("update", check=0)
    mail, text = only_mail(server)
    (commit,) = section(text, "Commits")
    page = Page(mail)
    assert (mail["Bcc"], "script" in page.tags, commit.strip() in page.text) == (None, False, True), page.text


@pytest.mark.slow
def test_law_26_the_admins_of_the_updater(make_site: SiteFactory, server: MailServer) -> None:
    host, _, port = server.host.partition(":")
    older = {"EMAIL_HOST": host, "EMAIL_HOST_PORT": port, "EMAIL_FROM": "Updater <updater@example.org>"}
    older["SYS_ADMIN_RECIPIENTS_JSON"] = '[["Boss", "boss@example.org"]]'
    env: dict[str, str | None] = {f"AUTO_UPDTR__{name}": value for name, value in older.items()}
    site = make_site.live(due="1.1.0", dotenv=env)
    site.releaser("update", check=0)
    site.write_dotenv({**env, "ADMINS_JSON": ADA})
    site.update_to("1.2.0")
    away = site.base / "no\nBcc: eve@example.org"
    says(site.releaser("update", project=away, env=env, check=3), "does not exist", "--project")
    assert [recipients[0][:3] for recipients, _, _ in server.mails] == ["bos", "ada", "bos"]
    for _, mail, _ in server.mails:
        assert (mail["From"], mail["Bcc"]) == ("Updater <updater@example.org>", None)


SECURITY = {"starttls": True, "tls": True, "auto": True, "starttls, not offered": False, "tls, not trusted": False}


@pytest.mark.parametrize("name", mostly_slow(SECURITY, "starttls"))
def test_law_29_a_password_goes_only_to_a_server_as_safe_as_the_setting(make_site: SiteFactory, name: str) -> None:
    site = make_site.live(due="1.1.0")
    security, _, wrong = name.partition(", ")
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    words += " -addext subjectAltName=DNS:localhost -keyout key.pem -out public.pem"
    subprocess.run(words.split(), cwd=site.base, check=True, capture_output=True)
    certificate = site.base / "both.pem"
    certificate.write_bytes(b"".join((site.base / f"{name}.pem").read_bytes() for name in ("key", "public")))
    offer = (None,) if "offered" in wrong else (certificate, security.replace("auto", "starttls"))
    with mail_server(*offer) as server:
        site.write_dotenv(mailing(server.host), smtp_user="Ada", smtp_password="s3cret", smtp_security=security)
        trusted = "/nowhere" if "trusted" in wrong else str(certificate)
        finished = site.releaser("update", check=0 if SECURITY[name] else 7, env={"SSL_CERT_FILE": trusted})
    taken = [is_hidden for _, _, is_hidden in server.mails], server.logins
    assert taken == (([True], [("Ada", "s3cret")]) if SECURITY[name] else ([], [])), str(finished)


@pytest.mark.slow
def test_law_26_a_mail_waits_for_a_dead_server(make_site: SiteFactory, server: MailServer) -> None:
    site = make_site.live(due="1.1.0", dotenv=mailing(DEAD))
    answer = site.json("update", check=7)
    outbox = mailbox.Maildir(site.state / "outbox", create=False)
    assert (answer["result"], site.version("alpha"), len(outbox)) == ("updated", "1.1.0", 1)
    assert [problem["code"] for problem in answer["problems"]] == ["mail"]
    assert DEAD in str(answer["problems"])
    silent(site.releaser("update"))  # a quiet night, and the server is still dead
    assert "mail" in site.releaser("status", check=10).stdout
    site.write_dotenv(mailing(server.host))
    silent(site.releaser("update"))
    assert only_mail(server)[0]["Subject"].startswith("Updated: site, alpha 1.1.0")
    assert (len(outbox), site.releaser("status").returncode) == (0, 0)
    silent(site.releaser("update"))
    assert len(server.mails) == 1


@pytest.mark.slow
def test_law_26_a_refused_address_blocks_no_mail(make_site: SiteFactory, server: MailServer) -> None:
    server.unknown = {"left@example.org"}
    site = make_site.live(due="1.1.0", dotenv=mailing(server.host, "left@example.org"))
    says(site.releaser("update", check=7), "left@example.org", "No such user")
    site.write_dotenv(mailing(server.host, "left@example.org, ada@example.org"))
    site.publish("alpha", "1.2.0")
    says(site.releaser("update", check=7), "left@example.org", "No such user", "The others have it")
    assert [recipients for recipients, _, _ in server.mails] == [["ada@example.org"]] * 2  # the earlier mail, too
    silent(site.releaser("update"))
    assert len(server.mails) == 2
    os.mkfifo(site.state / "outbox/new/1.fifo")
    site.publish("alpha", "1.3.0")
    (site.state / "outbox/new/mine").mkdir()
    site.releaser("update", check=7)
    assert len(server.mails) == 3


#: What goes on at a site without a mail for eight days; what begins the subject of the heartbeat, if one is sent.
SILENT: dict[str, tuple[Callable[[SampleSite], object], str]] = {
    "well": (lambda site: site.releaser("hold", "beta", check=0), "All is well: site, no news since 20"),
    "sick": (lambda site: site.edit("../sick", ""), "Needs attention: site, The site fails its health check"),
    "failing": (lambda site: site.publish("alpha", "1.2.0", broken=True), "Needs attention: site, Nothing newer than"),
    "never": (lambda site: site.replace("../.env", "='7d'", "='0'"), ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", mostly_slow(SILENT, "well"))
def test_law_26_27_a_heartbeat(make_site: SiteFactory, server: MailServer, name: str) -> None:
    act, subject = SILENT[name]
    more = {"HEALTH_CHECK": "test ! -e ../sick", "HEALTH_TIMEOUT": "0s", "HEARTBEAT": "7d"}
    site = make_site.live(dotenv=mailing(server.host, **more))
    act(site)
    site.releaser("update")
    news, server.mails[:] = len(server.mails), []
    since = ("news.json", "mailed_at") if news else ("history.jsonl", "ended_at")
    for days, mails in (6, 0), (8, 1), (0, 1):  # at last what a mail has recorded, with everything else still old
        if days:
            make_old(site.state / since[0], since[1], days)
        finished = site.releaser("update")
        assert (finished.returncode, finished.stderr) == (5 if news else 0, ""), str(finished)
        assert len(server.mails) == (mails if subject else 0), f"{days} days"
    if not subject:
        return
    mail, text = only_mail(server)
    assert mail["Subject"].startswith(subject), mail["Subject"]
    assert (site.live() in text, "All is well" in text) == (True, name == "well"), text
    assert ["beta" in line for line in section(text, "On hold")] == [True] * (name == "well"), text
    assert not Page(mail).lacks(text)
    if news:
        return
    site.write_dotenv(mailing(DEAD, **more))
    make_old(site.state / "news.json", "mailed_at", 8)
    silent(site.releaser("update"))
    site.write_dotenv(mailing(server.host, **more))
    silent(site.releaser("update"))
    assert [mail["Subject"][:11] for _, mail, _ in server.mails] == [subject[:11]] * 2


#: Settings that a test mail fails with, and the setting that the refusal names beside the server.
UNSENT: dict[str, tuple[dict[str, str | None], str]] = {
    "dead server": ({"RELEASER_SMTP_HOST": DEAD}, f"server {DEAD} took no mail: Connection refused. `smtp_host`"),
    "refused": ({"ADMINS_JSON": "left@example.org, ada@example.org"}, "left@example.org: 550 No such `ADMINS_JSON`"),
    "not offered": ({"RELEASER_SMTP_SECURITY": "starttls"}, "STARTTLS `smtp_security`"),
    "no login": ({"RELEASER_SMTP_USER": "ada", "RELEASER_SMTP_PASSWORD": "pässword"}, "`smtp_password`"),
    "nobody": ({"ADMINS_JSON": None}, "Nobody `ADMINS_JSON`"),
}


@pytest.mark.parametrize("name", mostly_slow(["taken", *UNSENT], "taken", "dead server"))
def test_law_28_a_test_mail(make_site: SiteFactory, server: MailServer, name: str) -> None:
    changes, words = UNSENT.get(name, ({}, ""))
    server.unknown = {"left@example.org"}
    site = make_site.live(dotenv=mailing(server.host) | changes)
    before = times_of_tree(site.state)
    finished = site.releaser("check", "--mail", check=3 if words else 0)
    sent = f"went to ada@example.org by {server.host}"
    says(finished, *words.split(), *([site.outer / ".env", f"check --mail --project {site.path}"] if words else [sent]))
    assert (sent in finished.stderr, "fit for updates" in finished.stderr) == (not words, not words), str(finished)
    assert len(server.mails) == (name in ("taken", "refused"))
    answer = site.json("check", "--mail", check=3 if words else 0)
    assert [problem["code"] for problem in answer["problems"]] == (["mail"] if words else [])
    assert answer["mail"] == (None if words else {"to": ["ada@example.org"], "server": server.host})
    assert times_of_tree(site.state) == before, "a test mail leaves nothing behind"
    server.mails.clear()
    assert (site.json("check")["mail"], site.releaser("check").returncode, server.mails) == (None, 0, [])
    if not words:
        site.edit("shop.py", "mine")
        says(site.releaser("check", "--mail", check=3), "Tracked files", sent)  # the mail goes out all the same
        assert only_mail(server)[0]["Subject"].startswith("Test: site, mail reaches you")


#: Settings that no mail can be sent with.
WRONG = [
    'ADMINS_JSON=[["Ada"]]', "ADMINS_JSON=Ada at example.org", "ADMINS_JSON=[",
    'ADMINS_JSON=[["Ada\\nBcc: eve@example.org", "ada@example.org"]]', "RELEASER_SMTP_HOST=localhost:99999",
    "RELEASER_SMTP_HOST=mail..example.org", "RELEASER_SMTP_HOST=smtp://localhost", "RELEASER_MAIL_FROM=nobody",
    "RELEASER_MAIL_FROM=a\nb@example.org", "RELEASER_SMTP_PASSWORD=pässword",
]  # fmt: skip


@pytest.mark.parametrize("setting", mostly_slow(WRONG, WRONG[0], WRONG[5]))
def test_law_26_28_a_wrong_setting(make_site: SiteFactory, server: MailServer, setting: str) -> None:
    name, _, value = setting.partition("=")
    user = {"SMTP_USER": "ada"} if "PASSWORD" in name else {}
    site = make_site.live(due="1.1.0", dotenv=mailing(server.host, **user) | {name: value})
    finished = site.releaser("update")
    says(finished, *([".env", name] if finished.returncode == 3 else []))
    codes = {"1.0.0": {3}, "1.1.0": {0, 7} if name != "ADMINS_JSON" else set()}
    assert finished.returncode in codes[site.version("alpha")], str(finished)
