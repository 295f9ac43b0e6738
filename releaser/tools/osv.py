"""Asks a vulnerability service which vulnerabilities it knows, to verify the answer that `uv audit` got.

The API: https://google.github.io/osv.dev/post-v1-querybatch/. Each query has one result, in the same order.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin, urlsplit

from releaser.errors import ToolError
from releaser.system.frozen import Frozen, replace
from releaser.system.words import one_line, plural
from releaser.tools.certificates import certificate_advice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from urllib.request import OpenerDirector

DEFAULT = "https://api.osv.dev/"  # the default service of `uv audit` (uv 0.13.8)
_MOST = 1000  # queries in one request, a limit of the service
_LARGEST = 32 * 1024 * 1024  # bytes of an answer
_PROXIES = ("http-proxy", "https-proxy", "no-proxy")


class Service(Frozen):
    """A vulnerability service and its connection settings."""

    #: The base URL, possibly with credentials; None for the default service.
    url: str | None
    environ: Mapping[str, str]
    #: The settings of uv, such as proxies and `allow-insecure-host`.
    settings: Mapping[str, Any]
    #: Seconds for all requests together.
    timeout: float

    def find_unreported(
        self, packages: Sequence[tuple[str, str]], reported: Collection[str], *, ignored: Collection[str] = ()
    ) -> list[Unreported]:
        """Return the vulnerabilities of packages (name and version) that are not in `reported`, the names uv reported.

        Withdrawn vulnerabilities are skipped, and those with an id or alias in `ignored`. `uv audit` (0.13.8, measured)
        counts packages without a result as safe. Raises ToolError, also if the service does not return one result for
        each package.
        """
        from releaser.system.signals import call_within

        base = self.url or DEFAULT
        opener = _opener(base, self.environ, self.settings)

        def look(name: str, version: str, one: str) -> Unreported:
            try:
                text = _fetch(opener, urljoin(base, f"v1/vulns/{quote(one)}"), self.timeout)
            except ToolError as error:
                if error.returncode not in (404, 410):
                    raise
                text = b""  # only the id is known
            return _read_record(text, name, version, one)

        def ask(_: object) -> list[Unreported]:
            known = _ask(opener, urljoin(base, "v1/querybatch"), packages, self.timeout)
            missed = [
                (*package, vulnerability_id)
                for package, ids in known.items()
                if package[0] not in reported
                for vulnerability_id in ids
            ]
            found = [look(*index) for index in missed]
            return _merge(entry for entry in found if not entry.withdrawn and entry.ids.isdisjoint(ignored))

        try:
            return call_within(self.timeout, ask)
        except TimeoutError:
            message = f"no answer within {self.timeout:g} s"
            raise ToolError(message, timed_out=True) from None


class Unreported(Frozen):
    """A vulnerability that the service returned for a package."""

    name: str
    version: str
    id: str
    aliases: tuple[str, ...] = ()
    summary: str = ""
    withdrawn: bool = False

    @property
    def ids(self) -> frozenset[str]:
        """The id and the aliases."""
        return frozenset((self.id, *self.aliases))


def _merge(found: Iterable[Unreported]) -> list[Unreported]:
    """Keep one of several records of a package that share an id or an alias."""
    kept = list[Unreported]()
    for entry in found:
        if not any(entry.name == other.name and entry.ids & other.ids for other in kept):
            kept.append(entry)
    return kept


def _read_record(text: bytes, name: str, version: str, one: str) -> Unreported:
    """Parse the record of a vulnerability; if its format is unknown, use only the id."""
    known = Unreported(name=name, version=version, id=one)
    try:
        found = json.loads(text)
        aliases, summary = tuple(map(str, found.get("aliases") or ())), str(found.get("summary") or "")
        return replace(known, aliases=aliases, summary=summary, withdrawn=bool(found.get("withdrawn")))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return known


def _ask(
    opener: OpenerDirector, url: str, packages: Sequence[tuple[str, str]], timeout: float
) -> dict[tuple[str, str], list[str]]:
    """Return the ids of the vulnerabilities of each package that has any."""
    known = dict[tuple[str, str], list[str]]()
    for start in range(0, len(packages), _MOST):
        asked = packages[start : start + _MOST]
        queries = [{"package": {"name": name, "ecosystem": "PyPI"}, "version": version} for name, version in asked]
        results = _results(_fetch(opener, url, timeout, json.dumps({"queries": queries}).encode()))
        if len(results) != len(asked):
            message = f"the service returned {plural(len(results), 'result')} for {plural(len(asked), 'package')}"
            raise ToolError(message, "Ask the operator of the service. Until then, vulnerabilities are unknown.")
        known |= {package: ids for package, ids in zip(asked, results, strict=True) if ids}
    return known


def _results(answer: bytes) -> list[list[str]]:
    """Return the ids in each result of an answer. Raises ToolError if its format is unknown."""
    try:
        return [[str(record["id"]) for record in result.get("vulns") or ()] for result in json.loads(answer)["results"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        message = "the answer of the service is not a list of results"
        raise ToolError(message) from None


def _opener(url: str, environ: Mapping[str, str], settings: Mapping[str, Any]) -> OpenerDirector:
    """Return an opener that uses the proxy of the environment or the settings, and follows no redirect."""
    import ssl
    from urllib import request

    given = {name.replace("-", "_"): settings[name] for name in _PROXIES if settings.get(name)}
    given = {name: ",".join(value) if isinstance(value, list) else str(value) for name, value in given.items()}
    given |= {name.lower(): value for name, value in environ.items() if value and name.lower().endswith("_proxy")}
    given.setdefault("https_proxy", given.get("all_proxy", ""))
    given.setdefault("http_proxy", given.get("all_proxy", ""))
    proxies = {name.removesuffix("_proxy"): value for name, value in given.items() if value}
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    directly = request.proxy_bypass(host, proxies)
    proxy = "" if directly else proxies.get(parts.scheme, "")
    if proxy.startswith("socks"):
        message = "releaser cannot ask the service through a SOCKS proxy"
        raise ToolError(message, "Set HTTPS_PROXY to an HTTP proxy, or NO_PROXY for the host of the service.")
    context = ssl.create_default_context()
    trusted = settings.get("allow-insecure-host")
    if isinstance(trusted, list) and ({host, parts.hostname} & {*map(str, trusted)}):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = request.OpenerDirector()  # without handlers for files and redirects
    opener.add_handler(request.ProxyHandler({} if directly else proxies))
    opener.add_handler(request.HTTPSHandler(context=context))
    for kind in (request.HTTPHandler, request.HTTPDefaultErrorHandler, request.HTTPErrorProcessor):
        opener.add_handler(kind())
    return opener


def _fetch(opener: OpenerDirector, url: str, timeout: float, body: bytes | None = None) -> bytes:
    import base64
    from http.client import HTTPException
    from urllib import request
    from urllib.error import HTTPError

    parts = urlsplit(url)
    userinfo, _, place = parts.netloc.rpartition("@")
    headers = {"User-Agent": "releaser", "Content-Type": "application/json"}
    if userinfo:
        user, _, password = userinfo.partition(":")
        login = f"{unquote(user)}:{unquote(password)}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(login).decode('ascii')}"
    asked = request.Request(parts._replace(netloc=place).geturl(), data=body, headers=headers)  # noqa: S310
    try:
        with opener.open(asked, timeout=timeout) as answer:
            text: bytes = answer.read(_LARGEST + 1)
    except HTTPError as error:
        message = f"the service answered {error.code} {one_line(str(error.reason), limit=100)}".rstrip()
        error.close()
        raise ToolError(message, returncode=error.code) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = one_line(str(getattr(error, "reason", error)), limit=200) or type(error).__name__
        message = f"the service cannot be reached: {reason}"
        raise ToolError(message, certificate_advice(reason)) from None
    if len(text) > _LARGEST:
        message = f"the service answered with more than {_LARGEST} bytes"
        raise ToolError(message)
    return text
