"""Which interpreter a site is built with: the one that it runs on, as long as nothing speaks for another."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from releaser.errors import ToolError, Unfit, gist
from releaser.project.base_python import find_base, minor, version_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from releaser.project.site import Site
    from releaser.tools.uv import Installed, Uv

LATEST = "latest"
OLDEST = Version("3.8")  # that the start-up module is for, and the questions that a site's interpreter is asked
_PINS = ".python-version"  # of uv, pyenv and others
_NUMBER = re.compile(r"(?:cpython[@-]?|python)?(\d+(?:\.\d+)*)")
_OF_ITS_NAME = re.compile(r"python(\d+\.\d+)")
_MOST_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class Pin:
    """What says which Python the site is to have: `request` as of uv's `--python`, `where` the file and the key."""

    request: str
    where: str

    @property
    def name(self) -> str:
        """What says it, without the place."""
        return _PINS if self.where == _PINS else "`python`"

    def admits(self, version: str) -> bool:
        """Whether it is for a version, as far as it is a version itself, or a range."""
        number = _NUMBER.fullmatch(self.request)
        if number is not None:
            return f"{version}.".startswith(f"{number.group(1)}.")
        try:
            return SpecifierSet(self.request).contains(version, prereleases=True)
        except InvalidSpecifier:
            return False


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An interpreter to build with, never that of a venv, and its version.

    `instead_of` is the version that the site ran on, if that is gone and another minor version stands in for it.
    `against` is a pin that speaks for another one, which is not there.
    """

    python: Path
    version: str
    instead_of: str = ""
    against: Pin | None = None


def choose(site: Site, uv: Uv, *, wanted: str | None = None) -> Choice:
    """Choose an interpreter, `wanted` if that is given, as uv's `--python` takes it. Nothing is downloaded.

    Without that it is the one that is live, or what a pin says. If the one that is live is gone, another one of the
    same minor version takes its place, or else what uv picks within requires-python. Raises Unfit where it is too old
    for releaser, and says which command brings a site back that has lost its interpreter.
    """
    root, venv = site.project.root, site.project.venv
    before = version_in(venv)
    here = venv if before and _leads_to(venv, minor(before)) else None
    if wanted is not None:
        return _asked_for(site, uv, wanted, here)
    pin = pinned(site)
    if here is None and before:
        return _replacement(site, uv, before, pin)
    request = pin.request if pin and pin.where != _PINS else None  # uv itself reads that file
    if here is not None and site.settings.python == LATEST:
        request = minor(before)  # lest that file take the site back from where it has been moved to
    try:
        return _choose_base(uv, uv.find_python(root, here, request=request), by=_name_reason(site, here, request))
    except ToolError as error:
        raise _none_found(error) from error


def pinned(site: Site) -> Pin | None:
    """Return what says which Python the site is to have; None if nothing but requires-python does, or `latest`."""
    setting = site.settings.python
    if setting == LATEST:
        return None
    if setting is not None:
        return Pin(request=setting, where=site.sources.get("python", "the setting `python`"))
    try:
        lines = (site.project.root / _PINS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    request = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    return Pin(request=request, where=_PINS) if request else None


def newest(site: Site, uv: Uv) -> Installed | None:
    """Return the newest interpreter that is there and within requires-python. Raises ToolError."""
    found = [one for one in uv.installed_pythons() if admits(site, one.version)]
    return max(found, key=lambda one: Version(one.version), default=None)


def admits(site: Site, version: str) -> bool:
    """Whether requires-python admits a version; one that cannot be read, which is a finding of its own, admits all."""
    try:
        return SpecifierSet(_required(site)).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def _required(site: Site) -> str:
    text = site.pyproject.table("project").get("requires-python", "")
    return text if isinstance(text, str) else ""


def _leads_to(venv: Path, short: str) -> bool:
    """Whether the interpreter of a venv is there, and, as far as its name tells, still of that minor version."""
    python = venv / "bin" / "python"
    if not os.path.exists(python) or find_base(python) is None:
        return False
    name = _OF_ITS_NAME.fullmatch(os.path.basename(os.path.realpath(python)))
    return name is None or name.group(1) == short


def _choose_base(uv: Uv, found: Path, *, by: str) -> Choice:
    """Choose an interpreter that uv has found, or the one that it was made from; `by` is what asks for it."""
    python = need_base(found)
    version = uv.python_version(python)
    refuse_too_old(version, python, by=by)
    return Choice(python=python, version=version)


def need_base(python: Path) -> Path:
    """Return the interpreter that one was made from, as of `find_base`; ToolError where that is gone."""
    base = find_base(python)
    if base is None:
        message = f"{python} is the interpreter of a venv, and the one that this was made from is gone"
        raise ToolError(message)
    return base


def refuse_too_old(version: str, python: Path, *, by: str) -> None:
    """See that a site may run on an interpreter; `by` is what asks for it. Raises Unfit."""
    if Version(version) < OLDEST:
        message = f"{by}: Python {version} ({python}) is too old for releaser, which needs {OLDEST} or newer in a site"
        raise Unfit(message, advice="Make a new venv for the site with a newer Python, or set `python` to one.")


def _name_reason(site: Site, here: Path | None, request: str | None) -> str:
    """Name what has uv find the interpreter that it finds."""
    pin = pinned(site)
    if pin is not None and request is not None:
        return f"{pin.where} is {pin.request!r}"
    return str(here or (pin and site.project.root / pin.where) or site.pyproject.path)


def _none_found(error: ToolError) -> Unfit:
    message = f"uv finds no Python for this project: {gist(error.output) or error.message}"
    return Unfit(message, advice=error.advice or "Install one that requires-python admits, or set `python`.")


# One that somebody asks for


def _asked_for(site: Site, uv: Uv, wanted: str, here: Path | None) -> Choice:
    try:
        choice = _choose_base(uv, uv.find_python(site.project.root, here, request=wanted), by=f"--python {wanted}")
    except ToolError as error:
        message = f"--python {wanted}: uv finds no such Python: {gist(error.output) or error.message}"
        raise Unfit(message, advice=f"Install it, or name another one. {_what_there_is(site, uv)}") from error
    version = choice.version
    if not admits(site, version):
        message = (
            f"{site.pyproject.path}: requires-python is {_required(site)!r}, which does not admit Python {version}"
        )
        advice = f"Widen it, run `uv lock`, and commit both; or name another one. {_what_there_is(site, uv)}"
        raise Unfit(message, advice=advice)
    pin = pinned(site)
    if pin is None or pin.admits(version):
        return choice
    named = _find_pinned(site, uv, pin)
    if named is None:
        return replace(choice, against=pin)
    if os.path.realpath(named) != os.path.realpath(choice.python):
        message = f"{pin.where} is {pin.request!r}: the next update would go back from Python {version} to that"
        raise Unfit(message, advice=f"Set it to {minor(version)!r}, or remove it, and commit that first.")
    return choice


def _find_pinned(site: Site, uv: Uv, pin: Pin) -> Path | None:
    """Return the interpreter that a pin leads to; None if there is no such."""
    try:
        return find_base(uv.find_python(site.project.root, None, request=pin.request))
    except ToolError:
        return None


# One in the place of what is gone


def _replacement(site: Site, uv: Uv, before: str, pin: Pin | None) -> Choice:
    try:
        found = _of_the_same_kind(site, uv, before) if pin is None else None
        if found is None and site.settings.python == LATEST and (latest := newest(site, uv)) is not None:
            found = Path(latest.path)
        if found is None:
            found = uv.find_python(site.project.root, None, request=pin.request if pin else None)
        choice = _choose_base(uv, found, by=f"Python {minor(before)} is gone, and another one would stand in for it")
    except ToolError as error:
        raise _gone(site, uv, before, pin) from error
    if not admits(site, choice.version):
        raise _gone(site, uv, before, pin)
    return replace(choice, instead_of="" if minor(choice.version) == minor(before) else before)


def _of_the_same_kind(site: Site, uv: Uv, before: str) -> Path | None:
    try:
        found = uv.find_python(site.project.root, None, request=minor(before))
        return found if admits(site, uv.python_version(found)) else None
    except ToolError:
        return None


def _gone(site: Site, uv: Uv, before: str, pin: Pin | None) -> Unfit:
    """Say that the site has lost its interpreter, and which command brings it back."""
    message = f"Python {minor(before)}, on which the live release ran, is gone"
    if pin is not None:
        message += f", and {pin.where} is {pin.request!r}, which cannot be used"
    nearest = _nearest(site, uv, before)
    if nearest is None:
        advice = (
            f"Install Python {minor(before)} again, or one that requires-python admits"
            f" ({site.pyproject.path}: {_required(site)!r}). {_what_there_is(site, uv)}"
        )
        return Unfit(message, advice=advice)
    then = f" Then set {pin.where} to {minor(nearest.version)!r}." if pin is not None else ""
    advice = (
        f"`releaser rebuild --python {minor(nearest.version)}` brings the site back on Python {nearest.version}, if"
        f" its tests pass there.{then} Or install Python {minor(before)} again."
    )
    return Unfit(message, advice=advice)


def _nearest(site: Site, uv: Uv, before: str) -> Installed | None:
    """Return the interpreter that is the least of a change: the next higher minor version, or else the next lower."""
    old = Version(before)
    found = [(Version(one.version), one) for one in _installed(uv) if admits(site, one.version)]
    higher = [pair for pair in found if pair[0] > old]
    if higher:
        least = min(version.release[:2] for version, _ in higher)
        higher = [pair for pair in higher if pair[0].release[:2] == least]
    return max(higher or found, key=lambda pair: pair[0], default=(old, None))[1]


def _installed(uv: Uv) -> Sequence[Installed]:
    try:
        return uv.installed_pythons()
    except ToolError:
        return ()


def _what_there_is(site: Site, uv: Uv) -> str:
    versions = sorted({one.version for one in _installed(uv) if admits(site, one.version)}, key=Version)
    if not versions:
        return "uv finds none here that requires-python admits."
    return f"There is Python {', '.join(versions[-_MOST_NAMED:])}."
