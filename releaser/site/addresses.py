"""The settings for mail, and the addresses in them."""

import unicodedata
from typing import TYPE_CHECKING, Annotated, Any, Literal

from releaser.site.declaring import Part, secret
from releaser.site.values import Duration, FilePath, Limit, Line, Port, either, kind, non_empty, pattern, refuse
from releaser.system.environment import own_path
from releaser.system.expression import expression
from releaser.system.frozen import Frozen, field
from releaser.system.later import Later

if TYPE_CHECKING:
    import json
    from pathlib import Path

    from releaser.system.process import Runner
    from releaser.tools.mail_transport import Sendmail, SmtpServer
else:
    json = Later("json")

_NO_SENDMAIL = "none"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_ADDRESS = expression(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NAMED = expression(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")


class Address(Frozen):
    """A sender or recipient of mail. Raises ValueError if no mail can be sent to `address`.

    `name` may have any characters: the code that writes headers escapes it.
    """

    name: str
    address: str

    def __post_init__(self) -> None:
        shown = _shorten(self.address)
        if "@" not in self.address:
            refuse(f"the address {shown} has no @")
        if not self.address.isascii():
            refuse(f"the address {shown} is not ASCII (a domain can be written in its xn-- form)")
        if len(self.address) > 254 or _ADDRESS.fullmatch(self.address) is None:  # RFC 5321, 4.5.3.1.3
            refuse(f"the address {shown} is not of the form name@domain")


@kind("text", pattern("^[^@]*@"))
def sender(value: Any) -> str:
    """An address, or `Name <address>`."""
    parse_address(non_empty(value))
    return non_empty(value)


_MUST = "must be an address such as ada@example.org, several separated by commas, or a JSON list"
_PAIR = {"type": "array", "prefixItems": [{"type": "string"}, pattern("@")], "minItems": 2, "maxItems": 2}


@kind(
    "addresses",
    either({"type": "array", "items": either(pattern("@"), _PAIR)}, pattern(r"^\s*\[|^[^\[{]*@")),
    spell=lambda value: [[one.name, one.address] for one in value],
    in_line=lambda spelled: json.dumps(spelled, ensure_ascii=False),
)
def addresses(value: Any) -> tuple[Address, ...]:
    """Addresses, or `[name, address]` pairs as in Django's ADMINS: a list; in a variable, JSON, or with commas."""
    if isinstance(value, str) and not value.lstrip().startswith(("[", "{")):
        value = [one.strip() for one in value.split(",") if one.strip()] or refuse(_MUST)
    elif isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            refuse(f"{_MUST}; this begins like JSON, but is not JSON: {error}")
    if not isinstance(value, list):
        refuse(f"{_MUST}, not {_shorten(value)}")
    found = []
    for number, item in enumerate(value, start=1):
        try:
            found.append(_parse_item(item))
        except ValueError as error:
            refuse(f"has a wrong item {number}: {error}")
    return tuple(found)


def _parse_item(item: object) -> Address:
    match item:
        case str():
            return parse_address(item)
        case [str() as name, str() as address]:
            _refuse_control(name, "name")
            _refuse_control(address, "address")
            return Address(name=name.strip(), address=address.strip())
    message = f"{_shorten(item)} is neither a pair of name and address nor an address"
    raise ValueError(message)


def parse_address(text: str) -> Address:
    """Read `address` or `Name <address>`. Raises ValueError for anything else."""
    _refuse_control(text, "address")
    if (named := _NAMED.fullmatch(text.strip())) is None:
        return Address(name="", address=text.strip())
    return Address(name=named["name"].strip().strip('"').strip(), address=named["address"].strip())


def _refuse_control(text: str, what: str) -> None:
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        refuse(f"the {what} {_shorten(text)} has control characters")


def _shorten(value: object) -> str:
    return shown if len(shown := ascii(value)) <= 80 else shown[:79] + "..."


Sender = Annotated[str, sender]
Addresses = Annotated[tuple[Address, ...], addresses]


class MailSettings(Part):
    """The recipients of mail, and the way to send it."""

    #: The sender of mails: `address`, or `Name <address>`.
    mail_from: Sender | None = field(default=None, metadata={"aliases": ("AUTO_UPDTR__EMAIL_FROM",)})
    #: The mail server. Without one, mails go to `sendmail`.
    smtp_host: Line | None = field(default=None, metadata={"aliases": ("AUTO_UPDTR__EMAIL_HOST",)})
    #: The port of the mail server. 0 is the usual port: 587 if `smtp_security` is `starttls`, 465 for `tls`, else 25.
    smtp_port: Port = field(default=0, metadata={"aliases": ("AUTO_UPDTR__EMAIL_HOST_PORT",)})
    #: The user name for the mail server. Without one, releaser does not log in.
    smtp_user: Line | None = None
    #: The password for the mail server. It is never shown.
    smtp_password: Line | None = secret(default=None)
    #: A file that contains only the password for the mail server.
    smtp_password_file: FilePath | None = field(default=None, metadata={"in_force": lambda live, own, _: live or own})
    #: The encryption of the connection to the mail server. Except with `none`, the certificate is checked.
    smtp_security: Literal["none", "starttls", "tls"] | None = None
    #: The program that sends mails if `smtp_host` is not set: a path, a name on PATH, or `none` for no program.
    sendmail: FilePath | None = None
    #: The time limit for each answer of the mail server. A whole delivery may take four times as long.
    smtp_timeout: Limit = 30.0
    #: The recipients of mail about the project.
    admins: Addresses = field(default=(), metadata={"aliases": ("ADMINS_JSON",)})
    #: The recipients of mail about releaser itself, and about a project without `admins`.
    updater_admins: Addresses = field(default=(), metadata={"aliases": ("AUTO_UPDTR__SYS_ADMIN_RECIPIENTS_JSON",)})
    #: The longest time without a mail: after it, the next update sends one, even with nothing to report. 0 is off.
    heartbeat: Duration = 0.0
    #: How long a run may hold the lock of the project before a mail reports it. 0 is off.
    lock_alert: Duration = 7200.0

    @property
    def recipients(self) -> tuple[Address, ...]:
        """The recipients of mail about the project."""
        return self.admins or self.updater_admins

    @property
    def own_recipients(self) -> tuple[Address, ...]:
        """The recipients of mail about releaser itself."""
        return self.updater_admins or self.admins

    @property
    def sends(self) -> bool:
        """True if mails are sent, and not only kept in the outbox."""
        return bool(self.smtp_host) or self.sendmail != _NO_SENDMAIL

    def transport(self, root: "Path", runner: "Runner") -> "SmtpServer | Sendmail | None":
        """Return the configured mail server, else sendmail; None without either."""
        if not self.sends:
            return None
        from releaser.tools.mail_transport import Sendmail, SmtpServer, find_sendmail  # slow to import

        if self.smtp_host:
            return SmtpServer(
                host=self.smtp_host,
                port=self.smtp_port,
                user=self.smtp_user or "",
                password=self.smtp_password or "",
                security=self.smtp_security,
                timeout=self.smtp_timeout,
                deadline=4 * self.smtp_timeout,
            )
        program = find_sendmail(self.sendmail, path=own_path(runner.environ, root), project=root)
        return Sendmail(runner=runner, program=program, timeout=4 * self.smtp_timeout) if program else None
