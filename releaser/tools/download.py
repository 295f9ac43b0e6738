"""Downloads files of package indexes, with the credentials that uv would use for them."""

from __future__ import annotations

import base64
import hashlib
import netrc
import os
import re
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import SplitResult, unquote, urlsplit

from releaser.errors import ToolError, os_reason
from releaser.system.files import only_files
from releaser.tools.certificates import certificate_advice

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHUNK = 1 << 20
_SECONDS = 60.0  # without a byte
_TRIES = 3


def download(place: str, target: Path, *, sha256: str, environ: Mapping[str, str], indexes: Mapping[str, str]) -> None:
    """Copy the file at a URL or path to the new file `target`. Raises ToolError, also for another hash.

    `indexes` maps names of indexes to their URLs; an empty `sha256` is not compared.
    """
    try:
        with open(target, "xb") as stream:
            found = _copy(place, stream, environ, indexes) if "://" in place else _copy_file(place, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except (OSError, ValueError, HTTPException) as error:
        target.unlink(missing_ok=True)
        reason = os_reason(error) if isinstance(error, OSError) else error
        message = f"{_without_password(place)} cannot be downloaded: {reason}"
        advice = certificate_advice(str(error)) or "Check the network, and the credentials of the index."
        raise ToolError(message, advice) from None
    if sha256 and found != sha256:
        target.unlink()
        message = f"{_without_password(place)} does not have the hash in the lock"
        raise ToolError(message, "Ask the operators of the index who replaced the file.")


def _copy_file(place: str, stream: BinaryIO) -> str:
    with open(place, "rb", opener=only_files) as source:
        return _read(source, stream)


def _read(source: BinaryIO | HTTPResponse, stream: BinaryIO) -> str:
    """Copy a stream, and return the hash of the copied bytes."""
    digest = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        stream.write(chunk)
    return digest.hexdigest()


def _copy(place: str, stream: BinaryIO, environ: Mapping[str, str], indexes: Mapping[str, str]) -> str:
    for tries_left in reversed(range(_TRIES)):
        stream.seek(0)
        stream.truncate()
        try:
            return _fetch(place, stream, environ, indexes)
        except (OSError, HTTPException):
            if not tries_left:
                raise
    raise AssertionError


def _fetch(place: str, stream: BinaryIO, environ: Mapping[str, str], indexes: Mapping[str, str]) -> str:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return _copy_file(unquote(parts.path), stream)
    if parts.scheme not in ("http", "https"):
        message = f"{parts.scheme} is not a supported way to download"
        raise ValueError(message)
    with ask(place, login=credentials_for(place, environ, indexes)) as response:
        found, length = _read(response, stream), response.headers.get("Content-Length")
    if length is not None and stream.tell() != int(length):
        message = f"{stream.tell()} of {length} bytes arrived"
        raise OSError(message)
    return found


def ask(  # noqa: PLR0913 - the parts of a request
    place: str,
    *,
    login: tuple[str, str] | None,
    method: str = "GET",
    body: bytes | BinaryIO | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    only_tls: bool = False,
) -> HTTPResponse:
    """Return the answer of a web server, following redirects; with `only_tls`, only those to https or to this host.

    Raises OSError, and HTTPError for error statuses.
    """
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Redirects(HTTPRedirectHandler):
        """Sends the credentials for one host to no other host."""

        def redirect_request(self, *args: object) -> Request | None:
            request = super().redirect_request(*args)  # type: ignore[arg-type]
            to = urlsplit(request.full_url) if request is not None else None
            if request is not None and to is not None:
                if only_tls and to.scheme != "https" and not is_loopback(to.hostname or ""):
                    message = f"it redirects to {to.scheme}://{to.hostname}, which is not https"
                    raise OSError(message)
                if _host(request.full_url) != _host(place):
                    request.remove_header("Authorization")
            return request

    request = Request(  # noqa: S310 - callers check the scheme
        _without_password(place), data=body, method=method, headers={"User-Agent": "releaser", **headers}
    )
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(login).encode()).decode()}")
    found: HTTPResponse = build_opener(Redirects).open(request, timeout=_SECONDS)
    return found


def _host(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def is_loopback(host: str) -> bool:
    """True if a host name or address belongs to this host."""
    return host in ("localhost", "::1") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None


def credentials_for(place: str, environ: Mapping[str, str], indexes: Mapping[str, str]) -> tuple[str, str] | None:
    """Return user and password for a URL: from the URL, uv's variables for an index on that host, or ~/.netrc."""
    parts = urlsplit(place)
    if parts.username:
        return unquote(parts.username), unquote(parts.password or "")
    given = (environ.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL"))
    for url in (*indexes.values(), *(word.partition("=")[2] or word for text in given for word in text.split())):
        found = urlsplit(url)
        if found.username and _may_share_login(found, parts):
            return unquote(found.username), unquote(found.password or "")
    for name, url in indexes.items():
        variable = f"UV_INDEX_{re.sub(r'[^A-Z0-9]', '_', name.upper())}"
        if _may_share_login(urlsplit(url), parts) and f"{variable}_USERNAME" in environ:
            return environ[f"{variable}_USERNAME"], environ.get(f"{variable}_PASSWORD", "")
    try:
        file = environ.get("NETRC") or os.path.join(environ.get("HOME", "/nowhere"), ".netrc")
        login = netrc.netrc(file).authenticators(parts.hostname or "")
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    return (login[0], login[2]) if login and login[2] else None


def _may_share_login(index: SplitResult, place: SplitResult) -> bool:
    """True if the login of an index may go to a URL: on its host, and not in clear if the index is encrypted."""
    return index.hostname == place.hostname and (index.scheme != "https" or place.scheme == "https")


def _without_password(place: str) -> str:
    return re.sub(r"://[^/@]*@", "://", place)
