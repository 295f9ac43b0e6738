"""Keeps secrets out of everything that is shown, mailed, logged or stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK = "***"
_USERINFO = re.compile(r"(?<=://)[^/?#\s\"'<>]+@")  # up to the last @ before the path: some passwords have one
_CREDENTIALS = re.compile(r"(\w[\w+.-]*)://([^/?#\s\"'<>:@]*)(?::([^/?#\s\"'<>]*))?@")
_NO_PASSWORDS = {"", "x-oauth-basic"}  # what stands in the place of a password when the user is the token
_SECRET_VARIABLE = re.compile(r"^UV_(INDEX_\w+_PASSWORD|.*_TOKEN)$|^UV_PUBLISH_PASSWORD$")
_SHORTEST = 4  # masking shorter strings would tear ordinary text apart


class Redactor:
    """Replaces credentials in URLs, and the secrets it was told of, by `***`."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        longest_first = sorted({secret for secret in secrets if len(secret) >= _SHORTEST}, key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def clean(self, text: str) -> str:
        """Return `text` without any secret."""
        text = _USERINFO.sub(f"{MASK}@", text)
        return self._secrets.sub(MASK, text) if self._secrets else text


def secrets_in_urls(text: str) -> set[str]:
    """Find the passwords and tokens in all URLs of a text, as written and percent-decoded.

    A user without a password is a token in http, but only a name elsewhere, as in ssh://git@example.org.
    """
    found = set()
    for scheme, user, password in _CREDENTIALS.findall(text):
        if password not in _NO_PASSWORDS:
            found.add(password)
        elif "http" in scheme.lower():
            found.add(user)
    return found | {unquote(secret) for secret in found}


def secrets_in_environment(environ: Mapping[str, str]) -> set[str]:
    """Find the values of the variables in which uv takes passwords and tokens, and those in URLs of UV_* ones."""
    found = {value for name, value in environ.items() if _SECRET_VARIABLE.match(name)}
    for name, value in environ.items():
        if name.startswith("UV_"):
            found |= secrets_in_urls(value)
    return found
