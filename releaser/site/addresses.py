"""Who sends mail and who gets it: addresses as settings spell them."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import partial
from typing import Annotated, Any

from releaser.site.values import either, kind, non_empty, pattern, refuse
from releaser.system.frozen import Frozen

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")


class Address(Frozen):
    """Somebody who sends or gets mail; ValueError if `address` cannot be mailed to.

    `name` may be anything: it is made harmless where it is put into a header.
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


_PAIR = {"type": "array", "prefixItems": [{"type": "string"}, pattern("@")], "minItems": 2, "maxItems": 2}


@kind(
    "addresses",
    either({"type": "array", "items": either(pattern("@"), _PAIR)}, pattern(r"^\s*\[")),
    spell=lambda value: [[one.name, one.address] for one in value],
    in_line=partial(json.dumps, ensure_ascii=False),
)
def addresses(value: Any) -> tuple[Address, ...]:
    """Whom to mail: a list of `[name, address]` pairs, as Django's ADMINS are, or of addresses; in variables, JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            refuse(f"must be a JSON list of [name, address] pairs; this is not JSON: {error}")
    if not isinstance(value, list):
        refuse(f"must be a JSON list of [name, address] pairs, not {_shorten(value)}")
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
    """Read `address` or `Name <address>`; ValueError if it is neither."""
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
