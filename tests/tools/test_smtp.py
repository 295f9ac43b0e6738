"""Handing mail to real servers, good and bad ones."""

import socket
import threading
import time
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any
from unittest.mock import Mock

import pytest

from releaser.errors import MailError
from releaser.tools import mail_transport
from releaser.tools.mail_transport import SmtpServer
from tests.support.smtp import PASSWORD, USER, Behaviour, MailCa, MailServer, mail_server

SENDER = "releaser@web1.example.org"
ANN = "ann@example.org"
BOB = "bob@example.org"
NOBODY = "nobody@example.org"


@pytest.fixture(autouse=True)
def trusted_ca(monkeypatch: pytest.MonkeyPatch, mail_ca: MailCa) -> None:
    """Let the authority of the servers be one of the system's."""
    monkeypatch.setenv("SSL_CERT_FILE", str(mail_ca.file))


def a_mail() -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["Subject"] = "all clear"
    message["From"] = SENDER
    message["To"] = ANN
    message.set_content("Grüße\n.\nthe line above is a single dot\n", cte="quoted-printable")
    return message


def client_for(server: MailServer, **options: object) -> SmtpServer:
    facts: dict[str, Any] = {"host": server.host, "port": server.port, **options}
    return SmtpServer(**facts)


def failure_of(server: SmtpServer, *recipients: str) -> MailError:
    with pytest.raises(MailError) as caught:
        server.send(a_mail(), sender=SENDER, recipients=recipients or (ANN,))
    return caught.value


STARTTLS, TLS = Behaviour(starttls=True), Behaviour(tls=True)
LOGIN = Behaviour(starttls=True, login=True)


@pytest.mark.parametrize(
    ("behaviour", "options"),
    [
        (STARTTLS, {"security": "starttls"}),
        (TLS, {"security": "tls"}),
        (LOGIN, {"security": "starttls", "user": USER, "password": PASSWORD}),
        (Behaviour(), {"password": "unused"}),  # no login without a user
        (Behaviour(hangs_at_quit=True), {}),
    ],
)
def test_each_server_is_spoken_to_in_its_way(mail_ca: MailCa, behaviour: Behaviour, options: dict[str, Any]) -> None:
    begin = time.monotonic()
    with mail_server(behaviour, ca=mail_ca) as server:
        assert client_for(server, **options).send(a_mail(), sender=SENDER, recipients=[ANN, BOB, ANN]) == ()
    assert time.monotonic() - begin < 20
    (received,) = server.messages
    assert (received.sender, received.recipients) == (SENDER, (ANN, BOB))
    assert received.message["Subject"] == "all clear"
    assert received.message.get_content().splitlines() == ["Grüße", ".", "the line above is a single dot"]


@pytest.mark.parametrize(
    ("behaviour", "options", "said", "unsaid", "refused"),
    [
        (STARTTLS, {}, ["530"], "", True),
        (Behaviour(), {"security": "starttls"}, ["STARTTLS"], "", False),  # never skipped because the server lacks it
        (Behaviour(), {"security": "tls", "timeout": 5.0}, ["TLS failed", "smtp_security"], "", False),
        (LOGIN, {"security": "starttls", "user": USER, "password": "wrong-secret"},
            [f"login as {USER} was refused: 535", "smtp_password"], "wrong-secret", False),
        (LOGIN, {"security": "starttls", "user": USER, "password": "gänseblume"},
            ["characters that a login cannot carry"], "ä", False),
        (LOGIN, {"security": "starttls", "user": USER, "password": "gänseblume"}, [], "\\xe4", False),
        (Behaviour(), {"user": USER, "password": "some-secret"}, ["AUTH"], "some-secret", False),
        (Behaviour(data_reply="552 too big for me"), {}, ["552 too big for me"], "", True),
        (Behaviour(data_reply="421 shutting down"), {}, ["421 shutting down"], "", False),
        (Behaviour(data_reply="554 go away with your hunter22"), {"password": "hunter22"},
            ["554 go away with your ***"], "hunter22", True),
        (Behaviour(refuse=bool), {}, [ANN, BOB, "550 no such user here"], "", True),
        (Behaviour(refuse=bool, rcpt_reply="421 shutting down"), {}, [ANN, "421 shutting down"], "", False),
        (STARTTLS, {"security": "starttls"}, ["certificate is not valid"], "", False),
        (TLS, {"security": "tls"}, ["certificate is not valid"], "", False),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_said_without_any_secret(
    monkeypatch: pytest.MonkeyPatch,
    mail_ca: MailCa,
    behaviour: Behaviour,
    options: dict[str, Any],
    said: list[str],
    unsaid: str,
    refused: bool,
) -> None:
    if "certificate is not valid" in said:  # as it is not of an authority of the system
        monkeypatch.delenv("SSL_CERT_FILE")
    with mail_server(behaviour, ca=mail_ca) as server:
        error = failure_of(client_for(server, **options), ANN, BOB)
    words = error.message + error.advice
    assert [one for one in said if one not in words] == []
    assert not unsaid or unsaid not in words + error.output + repr(error)
    assert error.refused is refused
    assert server.messages == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_for_another_host_is_refused(mail_ca: MailCa, security: str) -> None:
    behaviour = Behaviour(starttls=security == "starttls", tls=security == "tls")
    with mail_server(behaviour, ca=mail_ca, names=("mail.example.org",)) as server:
        error = failure_of(client_for(server, security=security))
    assert server.messages == []
    assert "certificate is not valid" in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "a..b", "a\0b", ""])
def test_a_host_on_which_nobody_listens_or_that_is_none(dead_port: int, host: str) -> None:
    error = failure_of(SmtpServer(host=host, port=dead_port, timeout=5.0, deadline=20.0))
    assert f":{dead_port} did not accept the mail" in error.message
    assert "\0" not in error.message
    assert (error.exit_code, error.refused) == (7, False)


def test_one_of_two_recipients_is_refused_and_none_is_an_error(refusing_smtp_server: MailServer) -> None:
    client = client_for(refusing_smtp_server)
    assert client.send(a_mail(), sender=SENDER, recipients=[NOBODY, ANN]) == (NOBODY,)
    assert refusing_smtp_server.messages[0].recipients == (ANN,)
    with pytest.raises(MailError, match="no recipient"):
        client.send(a_mail(), sender=SENDER, recipients=[])


@pytest.mark.parametrize("address", ["ann@example.org\r\nRSET", "ann@example.org\nDATA", "a\0@b", "a b@c", ""])
def test_commands_cannot_be_smuggled_in_with_an_address(smtp_server: MailServer, address: str) -> None:
    client = client_for(smtp_server)
    assert failure_of(client, ANN, address).refused
    with pytest.raises(MailError, match="not an address"):
        client.send(a_mail(), sender=address, recipients=[ANN])
    assert smtp_server.messages == []


@pytest.mark.parametrize(("timeout", "deadline"), [(1.0, 60.0), (60.0, 1.0)])
def test_a_server_that_hangs_after_the_mail_is_left_and_no_thread_with_it(
    hanging_smtp_server: MailServer, timeout: float, deadline: float
) -> None:
    before, begin = set(threading.enumerate()), time.monotonic()
    error = failure_of(client_for(hanging_smtp_server, timeout=timeout, deadline=deadline))
    assert 0.9 < time.monotonic() - begin < 20
    assert "1 s" in error.message
    assert hanging_smtp_server.attempts == 1
    assert not error.refused
    left = set(threading.enumerate()) - before
    assert [thread for thread in left if thread.name == "releaser-call"] == []


def test_a_server_that_trickles_is_left_after_the_deadline(trickling_smtp_server: tuple[str, int]) -> None:
    host, port = trickling_smtp_server
    begin = time.monotonic()
    error = failure_of(SmtpServer(host=host, port=port, timeout=10.0, deadline=0.4))
    assert 0.3 < time.monotonic() - begin < 20
    assert "0.4 s" in error.message
    assert f"{host}:{port}" in error.message


def test_an_attempt_that_was_given_up_sends_nothing_when_the_name_server_answers_at_last(
    smtp_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = threading.Event()
    resolve = socket.getaddrinfo

    def hang(*args: Any, **options: Any) -> Any:
        answered.wait(30)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    error = failure_of(client_for(smtp_server, timeout=10.0, deadline=0.2))
    answered.set()
    for thread in threading.enumerate():
        if thread.name == "releaser-call":
            thread.join(10)
    assert "0.2 s" in error.message
    assert smtp_server.messages == []


@pytest.mark.parametrize(("security", "port"), [("none", 25), ("starttls", 587), ("tls", 465)])
def test_the_usual_ports(security: str, port: int) -> None:
    assert SmtpServer(host="mail.example.org", security=security).address == f"mail.example.org:{port}"  # type: ignore[arg-type]


# Nobody on the network hears a password


@pytest.mark.parametrize(
    ("address", "stays"),
    [("127.0.0.1", True), ("127.0.1.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False),
     ("::ffff:192.0.2.1", False), ("fe80::1%eth0", False)],
)  # fmt: skip
def test_what_stays_on_this_host_is_known_by_the_address(address: str, *, stays: bool) -> None:
    connection = Mock()
    connection.sock.getpeername.return_value = (address, 25)
    assert mail_transport._stays_here(connection) is stays


@pytest.mark.attack
@pytest.mark.parametrize("security", [None, "none"])
def test_without_encryption_there_is_a_login_only_where_that_is_written_out(
    monkeypatch: pytest.MonkeyPatch, mail_ca: MailCa, security: str | None
) -> None:
    logins: list[str] = []
    monkeypatch.setattr(mail_transport, "_stays_here", lambda _: False)
    monkeypatch.setattr(mail_transport, "_log_in", lambda _, server: logins.append(server.password))
    with mail_server(Behaviour(), ca=mail_ca) as server:
        client = client_for(server, security=security, user=USER, password=PASSWORD)
        if security:
            client.send(a_mail(), sender=SENDER, recipients=[ANN])
        else:
            error = failure_of(client)
            assert "STARTTLS" in error.message
            assert 'smtp_security = "none"' in error.advice
    assert logins == ([PASSWORD] if security else [])


def test_a_login_goes_by_tls_of_itself(monkeypatch: pytest.MonkeyPatch, mail_ca: MailCa) -> None:
    monkeypatch.setattr(mail_transport, "_stays_here", lambda _: False)
    with mail_server(LOGIN, ca=mail_ca) as server:
        client_for(server, user=USER, password=PASSWORD).send(a_mail(), sender=SENDER, recipients=[ANN])
    assert len(server.messages) == 1
