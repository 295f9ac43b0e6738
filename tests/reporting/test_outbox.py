"""Mail is sent or kept; nothing is lost."""

import mailbox
import os
import time
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from releaser.errors import Interrupted
from releaser.reporting.outbox import FlushResult, Outbox, QueuedMail, flush
from releaser.tools.mail_transport import SmtpServer
from tests.support.smtp import Behaviour, MailServer, mail_server

SENDER = "releaser@web1.example.org"
ANN = "ann@example.org"
BOB = "bob@example.org"
NOBODY = "nobody@example.org"


def a_mail(subject: str = "all clear", *, to: str = f"Ann Müller <{ANN}>, {BOB}", run: str = "") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = subject
    message["From"] = f"Releaser <{SENDER}>"
    if to:
        message["To"] = to
    message["Message-ID"] = f"<{run or subject}.1@web1>"
    message["X-Releaser-Run"] = "20260102"
    message.set_content("Grüße\n", cte="quoted-printable")
    message.add_alternative("<p>Grüße</p>\n", subtype="html", cte="quoted-printable")
    return message


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(path=tmp_path / "state" / "outbox")


@pytest.fixture
def dead_server(dead_port: int) -> SmtpServer:
    return SmtpServer(host="127.0.0.1", port=dead_port, timeout=5.0)


def client_for(server: MailServer, *, timeout: float = 10.0) -> SmtpServer:
    return SmtpServer(host=server.host, port=server.port, timeout=timeout)


def fill(outbox: Outbox, *names: str, to: str = ANN) -> None:
    for name in names:
        outbox.put(a_mail(name, to=to), queued=True)


def files_in(outbox: Outbox) -> list[Path]:
    return sorted(path for path in outbox.path.rglob("*") if not path.is_dir())


def subjects(outbox: Outbox) -> list[str]:
    return [str(mail.message["Subject"]) for mail in outbox.list_queued()]


def marks(message: EmailMessage) -> list[str]:
    return [name for name in message if name.startswith("X-Releaser-") and name != "X-Releaser-Run"]


# --- the Maildir ---


def test_a_kept_mail_is_an_ordinary_mail_of_a_maildir_which_is_for_the_group_and_nobody_else(outbox: Outbox) -> None:
    assert outbox.list_queued() == ()
    assert not outbox.path.exists()
    message = a_mail("stored")
    message["X-Releaser-Queue"] = "smtp"  # as of one that was queued
    path = outbox.put(message, queued=False)
    (kept,) = mailbox.Maildir(outbox.path, create=False)
    assert (kept["Subject"], kept["X-Releaser-Queue"], outbox.list_queued()) == ("stored", None, ())
    assert path.parent == outbox.path / "new"
    assert b"\r" not in path.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (outbox.path, *outbox.path.iterdir())} == {0o750}


def test_a_queued_mail_comes_back_with_its_envelope_also_after_somebody_has_read_it(outbox: Outbox) -> None:
    message = a_mail("waits")
    path = outbox.put(message, queued=True)
    assert marks(message) == []
    assert b"X-Releaser-Queue: smtp\n" in path.read_bytes()
    path.rename(outbox.path / "cur" / f"{path.name}:2,S")
    (mail,) = outbox.list_queued()
    assert (mail.key, mail.sender, mail.recipients) == (path.name, SENDER, (ANN, BOB))
    assert (marks(mail.message), mail.message["X-Releaser-Run"]) == ([], "20260102")
    body = mail.message.get_body(("html",))
    assert body is not None
    assert body.get_content().strip() == "<p>Grüße</p>"
    for _ in range(2):
        outbox.remove(mail.key)
        assert files_in(outbox) == []


def test_the_oldest_comes_first_however_the_files_are_called(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for moment, subject in [(3, "third"), (1, "first"), (2, "second")]:
        monkeypatch.setattr(time, "time_ns", lambda moment=moment: moment)
        fill(outbox, subject)
    assert subjects(outbox) == ["first", "second", "third"]


QUEUED = b"X-Releaser-Queue: smtp\n"
SENT_BY = QUEUED + b"X-Releaser-Sender: a@b\n"


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\xff\xfe" * 100,
        QUEUED + b"\nno envelope",
        SENT_BY + b"\nno recipients",
        SENT_BY + b"X-Releaser-Recipients: c@d, \n\nx",
        QUEUED + b"X-Releaser-Sender: \xff\nX-Releaser-Recipients: c@d\n\nx",
        SENT_BY + b"X-Releaser-Recipients: c@d\nX-Releaser-Queued-At: soon\n\nx",
        b"X-Releaser-Queue: \xff\xfe\n\nx",
        b"X-Releaser-Queue: later\nX-Releaser-Sender: a@b\nX-Releaser-Recipients: c@d\n\nx",
    ],
)
def test_garbage_is_passed_over_and_kept(outbox: Outbox, garbage: bytes) -> None:
    fill(outbox, "good")
    trash = outbox.path / "new" / "1.garbage"
    trash.write_bytes(garbage)
    assert subjects(outbox) == ["good"]
    assert trash.read_bytes() == garbage


@pytest.mark.parametrize(
    "headers",
    [
        b'To: =?utf-8?q?\xff <,,;:\nFrom: "\nDate: never\nMessage-ID: <[\nContent-Type: multipart/mixed',
        b"Content-Type: 0<charsetmultipart/mixed=?utf-8?q?x?=;\xff*",  # IndexError in Python 3.11's parser
    ],
)
def test_broken_headers_of_a_queued_mail_do_not_hold_up_the_others(
    outbox: Outbox, smtp_server: MailServer, headers: bytes
) -> None:
    fill(outbox, "good")
    (outbox.path / "new" / "1.broken").write_bytes(SENT_BY + b"X-Releaser-Recipients: c@d\n" + headers + b"\n\nx")
    flush(outbox, client_for(smtp_server))
    assert smtp_server.messages[-1].message["Subject"] == "good"


def test_what_is_no_readable_file_is_passed_over(outbox: Outbox) -> None:
    fill(outbox, "good")
    os.mkfifo(outbox.path / "new" / "1.pipe")
    (outbox.path / "new" / "2.directory").mkdir()
    for name, leads_to in (("3.dangling", "nowhere"), ("4.unreadable", "/proc/self/mem")):
        (outbox.path / "cur" / name).symlink_to(leads_to)
    with pytest.raises(OSError, match="Input/output error"):
        (outbox.path / "cur" / "4.unreadable").read_bytes()
    assert subjects(outbox) == ["good"]


def test_a_mail_with_recipients_is_kept_once_also_in_a_half_made_maildir(outbox: Outbox) -> None:
    with pytest.raises(ValueError, match="cannot be queued"):
        fill(outbox, "for nobody", to="")
    assert files_in(outbox) == []
    (outbox.path / "new").mkdir(parents=True)
    assert outbox.list_queued() == ()
    fill(outbox, "same", "same")
    assert len(files_in(outbox)) == 1
    without_id = a_mail()
    del without_id["Message-ID"]
    assert outbox.put(without_id, queued=False) != outbox.put(without_id, queued=False)


def test_the_outbox_knows_which_runs_have_reported(outbox: Outbox) -> None:
    path = outbox.put(a_mail(run="20261120T031201Z-17"), queued=False)
    path.rename(outbox.path / "cur" / f"{path.name}:2,S")  # somebody has read it
    assert outbox.has_reported("20261120T031201Z-17")
    assert not outbox.has_reported("20261120T031201Z-1")


def test_a_mail_survives_a_power_cut(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def recording(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    path = outbox.put(a_mail(), queued=True)
    assert str(outbox.path / "tmp" / f".{path.name}.new") in synced
    assert synced[-1] == str(outbox.path / "new")
    assert {str(outbox.path), str(outbox.path.parent)} <= {*synced}


# --- flushing ---


def test_a_flushed_mail_is_the_mail_that_was_queued(outbox: Outbox, smtp_server: MailServer) -> None:
    message = a_mail("the same")
    message.as_bytes()  # settles the boundary of the parts
    outbox.put(message, queued=True)
    local = outbox.put(a_mail("local"), queued=False)
    assert flush(outbox, client_for(smtp_server)) == FlushResult(sent=1)
    (received,) = smtp_server.messages
    assert files_in(outbox) == [local]
    assert (received.sender, received.recipients) == (SENDER, (ANN, BOB))
    assert received.raw.rstrip(b"\r\n") == message.as_bytes().rstrip(b"\r\n")


@pytest.mark.parametrize(
    ("behaviour", "queued", "left", "problem"),
    [
        (Behaviour(refuse=NOBODY.__eq__), {"refused": NOBODY}, ["refused"], NOBODY),
        (Behaviour(refuse=NOBODY.__eq__), {"news": f"{ANN}, {NOBODY}"}, [], NOBODY),
        (Behaviour(refuse=NOBODY.__eq__), {"bad": NOBODY, "good": ANN}, ["bad"], NOBODY),
        (Behaviour(data_reply="451 not now"), {"one": ANN, "two": ANN}, ["one", "two"], "451 not now"),
    ],
)
def test_what_a_server_refuses_stays_and_holds_up_nothing_else(
    outbox: Outbox, behaviour: Behaviour, queued: dict[str, str], left: list[str], problem: str
) -> None:
    for name, to in queued.items():
        fill(outbox, name, to=to)
    with mail_server(behaviour) as server:
        result = flush(outbox, client_for(server))
    assert result.sent == len(queued) - len(left)
    assert problem in result.problem
    assert ANN not in result.problem
    assert subjects(outbox) == left


def test_what_a_dead_server_leaves_is_sent_when_it_is_back(outbox: Outbox, dead_server: SmtpServer) -> None:
    assert flush(outbox, dead_server) == FlushResult(sent=0)  # an empty outbox needs no server
    fill(outbox, "one", "two")
    result = flush(outbox, dead_server)
    assert result.sent == 0
    assert dead_server.address in result.problem
    assert subjects(outbox) == ["one", "two"]
    with mail_server() as server:
        assert flush(outbox, client_for(server)) == FlushResult(sent=2)
    assert server.messages[0].message["Message-ID"] == "<one.1@web1>"
    assert files_in(outbox) == []


def test_flushing_ends_at_a_limit_after_its_time_and_at_the_first_failure_of_the_server(
    outbox: Outbox, smtp_server: MailServer, hanging_smtp_server: MailServer
) -> None:
    fill(outbox, "one", "two", "three", "four")
    assert flush(outbox, client_for(smtp_server), limit=2).sent == 2
    assert flush(outbox, client_for(smtp_server), seconds=0.0).sent == 0
    assert flush(outbox, client_for(hanging_smtp_server, timeout=1.0)).sent == 0
    assert hanging_smtp_server.attempts == 1
    assert subjects(outbox) == ["three", "four"]


def test_an_outbox_that_cannot_be_listed_is_reported_and_one_behind_a_symlink_is_not_releasers(
    outbox: Outbox, smtp_server: MailServer
) -> None:
    fill(outbox, "one")
    kept = outbox.path.rename(outbox.path.with_name("theirs"))
    outbox.path.symlink_to(kept)
    assert outbox.list_queued() == ()
    outbox.path.unlink()
    outbox.path.mkdir()
    (outbox.path / "new").symlink_to("new")
    result = flush(outbox, client_for(smtp_server))
    assert result.sent == 0
    assert str(outbox.path) in result.problem


def test_a_mail_is_sent_although_the_outbox_is_unusable(
    outbox: Outbox, smtp_server: MailServer, dead_server: SmtpServer
) -> None:
    outbox.path.parent.mkdir()
    outbox.path.write_text("in the way")
    unkept = QueuedMail.of(a_mail())
    result = flush(outbox, client_for(smtp_server), unkept=unkept)
    assert (result.sent_unkept, result.problem) == (True, "")
    assert [mail.recipients for mail in smtp_server.messages] == [(ANN, BOB)]
    result = flush(outbox, dead_server, unkept=unkept)
    assert not result.sent_unkept
    assert dead_server.address in result.problem


def test_an_interrupt_in_the_middle_of_sending_leaves_the_mail_queued(
    outbox: Outbox, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise Interrupted(15)

    monkeypatch.setattr(SmtpServer, "send", interrupt)
    fill(outbox, "interrupted")
    with pytest.raises(Interrupted):
        flush(outbox, client_for(smtp_server))
    assert subjects(outbox) == ["interrupted"]


def test_a_mail_that_cannot_be_removed_is_reported(
    outbox: Outbox, smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    fill(outbox, "one", "two")
    monkeypatch.setattr("pathlib.PosixPath.unlink", fail)
    result = flush(outbox, client_for(smtp_server))
    assert result.sent == len(smtp_server.messages) == 1
    assert "will be sent again" in result.problem
