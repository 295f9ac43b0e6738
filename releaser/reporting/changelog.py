"""Finds the changes of packages upstream: a part of their changelog, or a link to it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from releaser.errors import ToolError
from releaser.locks.versions import is_newer
from releaser.releases.release import lock_of
from releaser.releases.store import store_of
from releaser.releases.venv import ABOUT_CHANGES, read_about
from releaser.reporting.changelog_settings import ChangelogSettings
from releaser.reporting.changelog_text import choose_files, find_in_files
from releaser.reporting.changes import Item, in_order
from releaser.site.supply import MADE_HERE, SupplyFacts
from releaser.system.environment import nearest_settings_of_uv
from releaser.system.expression import expression
from releaser.system.files import read_file
from releaser.system.frozen import Frozen
from releaser.system.words import one_line, web_link

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from releaser.locks.changes import Change
    from releaser.releases.release import Release
    from releaser.report import RunReport
    from releaser.site.site import Site

_LINES = 20  # of one package
_LARGEST = 32 << 20  # bytes of a source release
_SECONDS = 10.0  # for one download
_MAIL_SECONDS = 20.0  # for all downloads of a mail
_MOST_IN_MAIL = 10  # packages
_SOURCES = ("source", "repository", "sourcecode", "github", "gitlab", "code", "homepage")  # labels of URLs
_REPOSITORY = expression(
    r"(https://(?:github\.com|codeberg\.org)/[\w.-]+/[\w.-]+?)(?:\.git)?(?:[/#].*)?"
    r"|(https://gitlab\.[\w.-]+/[\w./-]+?)(?:\.git)?(?:/-/.*|/|#.*)?"
)

logger = logging.getLogger(__name__)


class UpstreamChange(Frozen):
    """The changes of one package between two versions, as its authors describe them."""

    name: str
    old: str
    new: str
    #: The part of its changelog, at most 20 lines; empty if none was found.
    text: str = ""
    #: The file that has the text, in the source release or the metadata of the package.
    source: str = ""
    #: How many further lines that part has.
    more_lines: int = 0
    #: The changelog on the web, or else the comparison or the releases of the two versions; null if unknown.
    link: str | None = None

    @property
    def title(self) -> str:
        """The package and its versions, with the source."""
        return one_line(f"{self.name} {self.old} → {self.new}" + (f" ({self.source})" if self.source else ""))

    @property
    def shown(self) -> str:
        """The text with the number of further lines."""
        return f"{self.text}\n[... {self.more_lines} more lines ...]" if self.more_lines else self.text


def list_upstream(
    site: Site, release: Release, changes: Sequence[Change], *, seconds: float
) -> Iterator[UpstreamChange]:
    """Yield the upgrades of packages that the project requires. All downloads together end after some `seconds`."""
    ends = time.monotonic() + seconds
    for one in in_order(changes):
        if one.direct and one.old and one.new and is_newer(one.new, one.old):
            yield _describe(site, release, one.name, one.old, one.new, ends=ends)


def _describe(site: Site, release: Release, name: str, old: str, new: str, *, ends: float) -> UpstreamChange:  # noqa: PLR0913 - of what, and until when
    about = read_about(release.venv, name)
    found = find_in_files({"its metadata": about.description}, name, old, new) if about.description else None
    if found is None or not (found.has_new and found.is_whole):
        seconds = min(_SECONDS, ends - time.monotonic())
        try:
            if texts := _read_sdist(site, release, name, new, choose_files(old, new), seconds=seconds):
                found = find_in_files(texts, name, old, new) or found
        except (ToolError, OSError) as error:
            logger.info("the changelog of %s %s is not known: %s", name, new, error)
    link = find_link(about.urls, old, new)
    if found is None:
        return UpstreamChange(name=name, old=old, new=new, link=link)
    text, more_lines = site.redactor.clean("\n".join(found.lines[:_LINES])), max(0, len(found.lines) - _LINES)
    return UpstreamChange(name=name, old=old, new=new, text=text, source=found.source, more_lines=more_lines, link=link)


def _read_sdist(  # noqa: PLR0913 - of what, and until when
    site: Site, release: Release, name: str, version: str, is_wanted: Callable[[str], bool], *, seconds: float
) -> Mapping[str, str]:
    """Return the changelogs in the source release of a locked package; empty without one that can be compared.

    Raises ToolError and OSError.
    """
    from releaser.tools.download import credentials_for  # slow to import, for a rollback that sends a mail
    from releaser.tools.source_archive import read_texts
    from releaser.tools.web import get

    package = next(
        (one for one in lock_of(release).packages if (one["name"], one.get("version")) == (name, version)), None
    )
    sdist = package.get("sdist") if package is not None else None
    if package is None or not sdist or int(sdist.get("size") or 0) > _LARGEST:
        return {}
    place, registry = str(sdist.get("url") or sdist.get("path") or ""), str(package["source"].get("registry", ""))
    if "://" in place and not place.startswith("file://"):
        if seconds <= 0 or not _may_ask(site, release) or not sdist.get("hash"):
            return {}
        login = credentials_for(place, site.runner.environ, _indexes_of(site))
        data = get(place, login=login, environ=site.runner.environ, timeout=seconds, most=_LARGEST)
    else:
        path = unquote(urlsplit(place).path) if "://" in place else place
        base = os.path.join(site.project.root, registry.removeprefix("file://"))
        data = read_file(os.path.join(base, path), _LARGEST)
    digest = str(sdist.get("hash", "")).removeprefix("sha256:")
    if digest and digest != hashlib.sha256(data).hexdigest():
        message = "the source release does not have the hash in the lock"
        raise ToolError(message)
    return read_texts(data, is_wanted)


def _may_ask(site: Site, release: Release) -> bool:
    """True if the indexes of the lock may be asked: not offline, and not for the release of another host."""
    given = site.runner.environ.get("UV_OFFLINE") or nearest_settings_of_uv(site.project.root)[1].get("offline")
    is_offline = str(given).lower() in ("1", "true", "yes", "on")
    return site.supply.asks_others and not is_offline and SupplyFacts.of(release.manifest).provenance is MADE_HERE


def _indexes_of(site: Site) -> dict[str, str]:
    """Return the URLs of the named indexes of the project."""
    entries: Any = site.pyproject.table("tool", "uv").get("index", ())
    return {str(one.get("name", "")): str(one.get("url", "")) for one in entries if isinstance(one, dict)}


def find_link(urls: Mapping[str, str], old: str, new: str) -> str | None:
    """Return the changelog among the URLs of a package, or else the comparison of both versions in its repository.

    A link names the tag of the new version, if any: only then is the spelling of tags known. Otherwise the list of
    releases is returned.
    """
    changelog = next(filter(None, (web_link(urls[label]) for label in ABOUT_CHANGES if urls.get(label))), None)
    if changelog:
        return changelog
    for url in filter(None, map(web_link, filter(None, urls.values()))):
        tag = re.fullmatch(
            rf"(https://.+?)(/-)?/(?:tree|blob|releases/tag|tags)/([\w./-]*?){re.escape(new)}(?:/.*)?", url
        )
        if tag:
            return web_link(f"{tag[1]}{tag[2] or ''}/compare/{tag[3]}{old}...{tag[3]}{new}")
    for url in filter(None, (web_link(urls[label]) for label in _SOURCES if urls.get(label))):
        if found := _REPOSITORY.fullmatch(url):
            return web_link(f"{found[1]}/releases" if found[1] else f"{found[2]}/-/releases")
    return None


def list_in_mail(site: Site, report: RunReport) -> Iterator[tuple[str, Sequence[Item]]]:
    """Yield the list for the mail about a run, if it upgrades packages that the project requires."""
    release = store_of(site).get(report.release)
    is_upgrade = report.is_update or report.result == "proposed"
    if release is None or not (is_upgrade and ChangelogSettings.of(site).in_mails):
        return
    found = list_upstream(site, release, report.changes, seconds=_MAIL_SECONDS)
    shown = [one for one in found if one.text or one.link][:_MOST_IN_MAIL]
    if shown:
        yield "What changed upstream", [Item(text=one.title, note=one.link or "", passage=one.shown) for one in shown]


def list_in_proposal(site: Site, release: Release) -> Iterator[str]:
    """Yield the lines for the message of a proposal, if it upgrades packages that the project requires."""
    found = list_upstream(site, release, release.manifest.changes, seconds=_MAIL_SECONDS)
    shown = [one for one in found if one.text or one.link][:_MOST_IN_MAIL]
    if shown:
        yield from ("What changed upstream:", "", *lines_of(shown))


def lines_of(found: Sequence[UpstreamChange]) -> Iterator[str]:
    """Yield the text of `changelog` for people."""
    for one in found:
        yield one.title
        yield from (f"    {line}".rstrip() for line in one.shown.splitlines())
        if one.link:
            yield f"    {one.link}"
        elif not one.text:
            yield "    its changelog is not known"
