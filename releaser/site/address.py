"""Who gets mail: addresses out of the settings."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

_MAX_LENGTH = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")


@dataclass(frozen=True, kw_only=True)
class Address:
    """Somebody who sends or gets mail; ValueError if `address` cannot be mailed to.

    `name` may be anything: it is made harmless where it is put into a header.
    """

    name: str
    address: str

    def __post_init__(self) -> None:
        _check_address(self.address)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Read a JSON list of `[name, address]` pairs, as Django's ADMINS are written, or of plain addresses.

    ValueError says what is wrong, with the number of the item; the name of the setting can stand before it.
    """
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = f"must be a JSON list of [name, address] pairs; this is not JSON: {error}"
        raise ValueError(message) from error
    if not isinstance(items, list):
        message = f"must be a JSON list of [name, address] pairs, not {_shown(items)}"
        raise ValueError(message)
    return tuple(_numbered(number, item) for number, item in enumerate(items, start=1))


def parse_address(text: str) -> Address:
    """Read `address` or `Name <address>`; ValueError if it is neither."""
    _refuse_control(text, "address")
    named = _NAMED.fullmatch(text.strip())
    if named is None:
        return Address(name="", address=text.strip())
    return Address(name=named["name"].strip().strip('"').strip(), address=named["address"].strip())


def _numbered(number: int, item: object) -> Address:
    try:
        return _from_item(item)
    except ValueError as error:
        message = f"has a wrong item {number}: {error}"
        raise ValueError(message) from error


def _from_item(item: object) -> Address:
    match item:
        case str():
            return parse_address(item)
        case [str() as name, str() as address]:
            _refuse_control(name, "name")
            _refuse_control(address, "address")
            return Address(name=name.strip(), address=address.strip())
    message = f"{_shown(item)} is neither a pair of name and address nor an address"
    raise ValueError(message)


def _refuse_control(text: str, what: str) -> None:
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in text):
        message = f"the {what} {_shown(text)} has control characters"
        raise ValueError(message)


def _check_address(address: str) -> None:
    if "@" not in address:
        message = f"the address {_shown(address)} has no @"
    elif not address.isascii():
        message = f"the address {_shown(address)} is not ASCII (a domain can be written in its xn-- form)"
    elif len(address) > _MAX_LENGTH or _ADDRESS.fullmatch(address) is None:
        message = f"the address {_shown(address)} is not of the form name@domain"
    else:
        return
    raise ValueError(message)


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:79] + "..."
