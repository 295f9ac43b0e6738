"""Chooses the interpreter for a site: its present one, unless a setting, a file or a person requests another.

The choice is never the interpreter of a venv, but the one that the venv was made from. Given the interpreter of a
venv, uv links the new venv to its `sys._base_executable`, which before Python 3.11 is in the venv itself (seen with
uv 0.13): a release would lead to `.venv`, and so, after the flip, to itself.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from releaser.errors import Finding, PreflightError, ToolError, error_line, how_to_set, refuse
from releaser.locks.versions import is_newer, is_older
from releaser.system.earlier_answers import PYTHON, UV_VERSION, ask_unless_known, look_at_files, look_at_program
from releaser.system.environment import files_of_uv
from releaser.system.expression import expression
from releaser.system.files import read_file, read_text
from releaser.system.frozen import Frozen, replace
from releaser.system.words import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from releaser.site.site import Site
    from releaser.tools.uv import Installed, Uv

OLDEST = "3.8"  # that the start-up module and the scripts for a site's interpreter support
# Versions, not paths, in a `.python-version`: `3.13`, `>=3.11,<3.14`, `cpython@3.13`, `pypy3.10`, `3.13t`.
_UV_VERSION = expression(r"[a-z]*[@-]?[<>=~!]*\d[\w.,<>=~!*+@ -]*", re.ASCII)
_VERSION_FILE = ".python-version"  # of uv, pyenv and others
_NUMBER = expression(r"(?:cpython[@-]?|python)?(\d+(?:\.\d+)*)")
_PLAIN_VERSION = expression(r"\d+(?:\.\d+)+[\w.+-]*", re.ASCII)
_MOST_NAMED = 6
_MOST_LINKS = 40  # links, or venvs made from venvs; Linux follows no more links either


class PythonRequest(Frozen):
    """The Python that the project requests."""

    #: As for uv's `--python`.
    version: str
    #: The file and the key.
    source: str

    def __str__(self) -> str:
        return f"{self.source} is {self.version!r}"

    @property
    def name(self) -> str:
        """The name of the source, without its file."""
        return _VERSION_FILE if self.source == _VERSION_FILE else "`python`"

    def admits(self, version: str) -> bool:
        """True if the request admits a version; False if the request is a path."""
        number = _NUMBER.fullmatch(self.version)
        if number is not None:
            return f"{version}.".startswith(f"{number.group(1)}.")
        from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import
        from packaging.version import InvalidVersion

        try:
            return SpecifierSet(self.version).contains(version, prereleases=True)
        except (InvalidSpecifier, InvalidVersion):
            return False


class Choice(Frozen):
    """An interpreter to build with."""

    python: Path
    version: str
    #: The version that the site ran on, if it is gone and another minor version replaces it.
    instead_of: str = ""
    #: The request for another interpreter, which is not installed.
    against: PythonRequest | None = None
    #: The request of the project for another interpreter, to which the next update would go back.
    goes_back: PythonRequest | None = None
    #: The interpreter that a person named, as for uv's `--python`; empty if none did.
    wanted: str = ""


def choose(site: Site, uv: Uv, *, wanted: str | None = None, stays: bool = True) -> Choice:
    """Choose an interpreter; nothing is downloaded. Raises PreflightError, whose advice brings the site back.

    `wanted`, as for uv's `--python`, is the request of a person. If the site `stays` on it, the next update may not go
    back from it; a release that is only tested may be on any. Without `wanted`, the site stays on its Python, unless
    the project requests another. If its Python is gone, another patch version replaces it, or else the choice of uv
    within requires-python.
    """
    root, venv = site.project.root, site.project.venv
    before = version_in(venv)
    live = venv if before and not site.runner.distrust(str(venv)) and _has_its_python(venv, before) else None
    request = find_request(site)
    if wanted is not None:
        choice = replace(_choose_wanted(site, uv, wanted, live, request), wanted=wanted)
        if stays and choice.goes_back:
            message = f"{choice.goes_back}, so the next update would go back from Python {choice.version}"
            advice = f"First set it to {minor(choice.version)!r} or remove it, and commit the change."
            refuse("python-goes-back", message, advice)
        return choice
    if live is None and before:
        return _choose_replacement(site, uv, before, request)
    by = str(live or (request and root / request.source) or site.pyproject.path)
    asked = None
    if request is not None and request.source != _VERSION_FILE:  # uv itself reads that file
        by, asked = str(request), request.version
    try:
        return _choose_base(uv, _find_usual(site, uv, live, asked), by=by)
    except ToolError as error:
        if _reason(error).startswith("Failed to parse"):
            refuse("uv-settings", f"uv cannot read its settings for {root}: {_reason(error)}", "Correct that file.")
        advice = error.advice or f"Install a Python that requires-python allows, or {how_to_set('python', '3.13')}."
        refuse("no-python", f"uv finds no Python for this project: {_reason(error)}", advice)


def version_of(site: Site, uv: Uv) -> str:
    """Return the version of uv, without starting it if an earlier run did. Raises ToolError."""
    seen = look_at_program(uv.executable)
    if seen is None:
        return uv.version()
    file, looks = site.state_dir / UV_VERSION, (str(uv.executable), seen)
    return ask_unless_known(file, looks, uv.version, fits=_PLAIN_VERSION.fullmatch, keeps=bool(site.runner.marks))


def _find_usual(site: Site, uv: Uv, live: Path | None, request: str | None) -> Path:
    """Return the interpreter that uv picks, without asking uv if it picked that of the `live` venv in an earlier run.

    That counts while everything looks the same by which uv picks one. Raises ToolError.
    """
    root = site.project.root

    def ask() -> str:
        return str(uv.find_python(root, live, request=request))

    looks = _look_at_reasons(site, uv, live, request) if live is not None else None
    if looks is None:
        return Path(ask())
    file, own = site.state_dir / PYTHON, {f"{live}/bin/{name}" for name in ("python", "python3")}
    return Path(ask_unless_known(file, looks, ask, fits=own.__contains__, keeps=bool(site.runner.marks)))


def _look_at_reasons(site: Site, uv: Uv, live: Path, request: str | None) -> object | None:
    """Return what uv looks at to decide whether the interpreter of the `live` venv fits; None if that may be more."""
    root, program, environ = site.project.root, look_at_program(uv.executable), site.runner.environ
    files = files_of_uv(root, environ)
    above = any(file.name == "pyproject.toml" and os.path.lexists(file) for file in files if file.parent != root)
    if program is None or above or "workspace" in site.pyproject.table("tool").get("uv", {}):
        return None  # other members of a workspace may say which versions fit
    places = dict.fromkeys(file.parent for file in files)
    requests = (place / f"{_VERSION_FILE}{plural}" for place in places for plural in ("", "s"))
    python = live / "bin" / "python"
    named = filter(None, [environ.get("UV_CONFIG_FILE")])
    seen = look_at_files([*files, *requests, *(root / file for file in named), live / "pyvenv.cfg", python])
    variables = {name: value for name, value in environ.items() if name.startswith(("UV_", "XDG_", "CONDA_"))}
    known = sorted({**variables, **uv.variables, "HOME": environ.get("HOME", "")}.items())
    return str(uv.executable), program, str(root), request, os.path.realpath(python), seen, known


def _reason(error: ToolError) -> str:
    reason = error.output.partition("error: ")[2].partition("\n\n")[0]  # uv wraps its sentences
    return " ".join(reason.split()).replace(" cause: ", ": ") or error_line(error.output) or error.message


def find_request(site: Site) -> PythonRequest | None:
    """Return the Python that the project requests; None if only requires-python decides."""
    setting = site.settings.python
    if setting is not None:
        return PythonRequest(version=setting, source=site.sources.get("python", "the setting `python`"))
    try:
        lines = read_text(site.project.root / _VERSION_FILE).splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    version = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    return PythonRequest(version=version, source=_VERSION_FILE) if version else None


def refuse_named_program(root: Path, top: Path, checkout: Path) -> None:
    """Refuse a commit whose `.python-version` names a program that the checkout does not name: uv would start it.

    uv looks in the project at `root` and in the directories above; those from `top` down belong to the commit. Raises
    PreflightError.
    """
    for place in (directory for directory in (root, *root.parents) if directory.is_relative_to(top)):
        for name in (_VERSION_FILE, f"{_VERSION_FILE}s"):
            live = _read_versions(checkout / os.path.relpath(place, root) / name)
            for version in _read_versions(place / name) - live:
                is_version = _UV_VERSION.fullmatch(version) is not None
                if not is_version or any(os.path.lexists(directory / version) for directory in (root, place)):
                    message = f"{name} of the new commit names a program, {one_line(version)}"
                    advice = "Write a version such as 3.13 into it, or set RELEASER_PYTHON to the program in `.env`."
                    refuse("python-names-program", message, advice)


def _read_versions(file: Path) -> set[str]:
    try:
        lines = read_file(file).decode().split("\n")  # as uv does: other line separators are part of a name
    except (OSError, UnicodeDecodeError):
        return set()
    return {line.strip(" \t\r") for line in lines if line.strip(" \t\r") and not line.startswith("#")}


def find_newer_python(site: Site, uv: Uv, version: str) -> str | None:
    """Return the newest installed version that the project admits; None if that is not newer than `version`."""
    request = find_request(site)
    found = [
        python.version for python in _list_installed(site, uv) if request is None or request.admits(python.version)
    ]
    from packaging.version import InvalidVersion, Version  # slow to import

    try:
        newest = max(found, key=Version, default=version)
        return newest if Version(newest) > Version(version) else None
    except InvalidVersion:  # of an adopted venv without a known version
        return None


def admits(site: Site, version: str) -> bool:
    """True if requires-python admits a version. An invalid one, which another check reports, admits all."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import

    try:
        return SpecifierSet(_read_required(site)).contains(version, prereleases=True)
    except InvalidSpecifier:
        return True


def _read_required(site: Site) -> str:
    text = site.pyproject.table("project").get("requires-python", "")
    return text if isinstance(text, str) else ""


def _choose_base(uv: Uv, found: Path, *, by: str) -> Choice:
    """Choose the interpreter that uv has found, or its base; `by` names the source of the request."""
    python = need_base(found)
    version = uv.python_version(python)
    refuse_too_old(version, python, by=by)
    return Choice(python=python, version=version)


def refuse_too_old(version: str, python: Path, *, by: str) -> None:
    """Refuse an interpreter that is too old for a site; `by` names the source of the request. Raises PreflightError."""
    if is_older(version, OLDEST):
        message = f"{by}: Python {version} ({python}) is too old for releaser, which needs {OLDEST} or newer in a site"
        refuse(
            "python-too-old",
            message,
            f"Create a new venv for the site with a newer Python, or {how_to_set('python', '3.13')}.",
        )


# The request of a person


def _choose_wanted(site: Site, uv: Uv, wanted: str, live: Path | None, request: PythonRequest | None) -> Choice:
    root = site.project.root
    try:
        choice = _choose_base(uv, uv.find_python(root, live, request=wanted), by=f"--python {wanted}")
    except ToolError as error:
        message = f"--python {wanted}: uv finds no such Python: {_reason(error)}"
        refuse("no-python", message, f"Install it, or choose another version. {_name_installed(site, uv)}")
    version = choice.version
    if not admits(site, version):
        required = f"{site.pyproject.path}: requires-python is {_read_required(site)!r}"
        advice = (
            f"Widen it, run `uv lock` and commit both files; or choose another version. {_name_installed(site, uv)}"
        )
        refuse("python-not-admitted", f"{required}, which does not allow Python {version}", advice)
    if request is None or request.admits(version):
        return choice
    try:
        requested = find_base(uv.find_python(root, None, request=request.version))
    except ToolError:
        requested = None
    if requested is None:
        return replace(choice, against=request)
    if os.path.realpath(requested) != os.path.realpath(choice.python):
        return replace(choice, goes_back=request)
    return choice


# The replacement of a lost interpreter


def _choose_replacement(site: Site, uv: Uv, before: str, request: PythonRequest | None) -> Choice:
    """Choose another patch version of the lost Python; without one, or with a request, the choice of uv."""
    root, found = site.project.root, None
    if request is None:
        with contextlib.suppress(ToolError):
            like = uv.find_python(root, None, request=minor(before))
            found = like if admits(site, uv.python_version(like)) else None
    try:
        found = found or uv.find_python(root, None, request=request.version if request else None)
        choice = _choose_base(uv, found, by=f"Python {minor(before)} is gone, and another version would replace it")
    except ToolError as error:
        raise PreflightError(_describe_loss(site, uv, before, request)) from error
    if not admits(site, choice.version):
        raise PreflightError(_describe_loss(site, uv, before, request))
    return replace(choice, instead_of="" if minor(choice.version) == minor(before) else before)


def _describe_loss(site: Site, uv: Uv, before: str, request: PythonRequest | None) -> Finding:
    """Return the finding for a lost interpreter, with the command that brings the site back."""
    message = f"Python {minor(before)}, on which the live release ran, is gone"
    then = ""
    nearest = _find_nearest(site, uv, before)
    if request is not None:
        message += f", and {request}, which cannot be used"
        then = f" Then set {request.source} to {minor(nearest)!r}." if nearest else ""
    if nearest is None:
        advice = (
            f"Install Python {minor(before)} again, or a version that requires-python allows"
            f" ({site.pyproject.path}: {_read_required(site)!r}). {_name_installed(site, uv)}"
        )
        with contextlib.suppress(ToolError):
            newer = [python.version for python in uv.installed_pythons() if is_newer(python.version, before)]
            if (instead := _nearest(newer, before)) is not None:
                advice += f" Or {_how_to_raise(instead, request)}"
    else:
        advice = (
            f"Run `releaser rebuild --python {minor(nearest)}` to move the site to Python {nearest} if its tests pass."
            f"{then} Or install Python {minor(before)} again."
        )
    return Finding("python-gone", message, advice)


def _find_nearest(site: Site, uv: Uv, before: str) -> str | None:
    """Return the nearest installed version that requires-python admits; None without any."""
    return _nearest([python.version for python in _list_installed(site, uv)], before)


def _how_to_raise(version: str, request: PythonRequest | None) -> str:
    """Describe how to move a site to a Python that requires-python does not admit."""
    also = f", and {request.source} to {minor(version)!r}" if request is not None else ""
    return (
        f'move the site to Python {version}: set requires-python to "{range_of(version)}"{also}, run `uv lock`, commit'
        f" and push that (`git pull` on this host), then run `releaser rebuild --python {minor(version)}`, which keeps"
        " the packages that have a build for it, and goes live if its tests pass."
    )


def _nearest(versions: Iterable[str], before: str) -> str | None:
    """Return the newest patch of the next higher minor version, else the newest version; None without any."""
    from packaging.version import Version  # slow to import

    found = sorted(versions, key=Version)
    higher = [version for version in found if is_newer(version, before)]
    nearest = [version for version in higher if minor(version) == minor(higher[0])] or found
    return nearest[-1] if nearest else None


def _list_installed(site: Site, uv: Uv) -> Sequence[Installed]:
    """Return the installed interpreters that requires-python admits; empty if uv cannot list them."""
    with contextlib.suppress(ToolError):
        return _ask_installed(site, uv)
    return ()


def _ask_installed(site: Site, uv: Uv) -> Sequence[Installed]:
    return [python for python in uv.installed_pythons() if admits(site, python.version)]


def _name_installed(site: Site, uv: Uv) -> str:
    from packaging.version import Version  # slow to import

    try:
        versions = sorted({python.version for python in _ask_installed(site, uv)}, key=Version)
    except ToolError as error:
        return f"uv could not list the installed versions: {error.reason}. {error.advice}".strip()
    if not versions:
        return "requires-python allows no installed version."
    return f"Installed: Python {', '.join(versions[-_MOST_NAMED:])}."


# The interpreter that a venv was made from


def need_base(python: Path) -> Path:
    """Return the interpreter that `python` was made from, see `find_base`. Raises ToolError if it is gone."""
    base = find_base(python)
    if base is None:
        message = f"{python} is the interpreter of a venv, but the Python below that venv is gone"
        raise ToolError(message, "Install that Python again, or run `releaser rebuild`, which builds on another one.")
    return base


def find_base(python: Path) -> Path | None:
    """Return the interpreter that `python` was made from, by a path that leads through no venv; None if it is gone.

    An interpreter outside any venv is its own base.
    """
    found: Path | None = python
    for _ in range(_MOST_LINKS):
        venv = _find_venv(found) if found is not None else None
        if found is None or venv is None:
            return found
        found = _find_maker(venv, found)
    return None


def version_in(venv: Path) -> str:
    """Return the version in pyvenv.cfg; empty without one."""
    config = _read_config(venv)
    version = config.get("version_info") or config.get("version") or ""
    return ".".join(version.split(".")[:3])


def minor(version: str) -> str:
    """Return a version without its patch, such as `3.11`."""
    return ".".join(version.split(".")[:2])


def range_of(version: str, *, since: str = "") -> str:
    """Return the requires-python of a site that runs on one minor version, such as `>=3.11,<3.12`.

    A lock for a wider range could have other versions of packages for newer Pythons, on which the site never ran.
    """
    major, second = minor(version).split(".")
    return f">={since or minor(version)},<{major}.{int(second) + 1}"


def _read_config(venv: Path) -> dict[str, str]:
    try:
        lines = read_text(venv / "pyvenv.cfg", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def _has_its_python(venv: Path, version: str) -> bool:
    """True if the interpreter of a venv exists and, if its name has a minor version, has the same as `version`."""
    python = venv / "bin" / "python"
    if not os.path.exists(python) or find_base(python) is None:
        return False
    name = re.fullmatch(r"python(\d+\.\d+)", os.path.basename(os.path.realpath(python)))
    return name is None or name.group(1) == minor(version)


def _find_venv(python: Path) -> Path | None:
    """Return the first venv that contains the path or a link that it leads to; None without any."""
    for _ in range(_MOST_LINKS):
        place = Path(os.path.realpath(python.parent))
        if (place.parent / "pyvenv.cfg").is_file():
            return place.parent
        if not os.path.islink(python):
            return None
        python = place / os.readlink(python)
    return None


def _find_maker(venv: Path, python: Path) -> Path | None:
    """Return the interpreter in the `home` of a venv, or the target of its link if that differs; None if it is gone."""
    home, version, real = _read_config(venv).get("home", ""), version_in(venv), Path(os.path.realpath(python))
    versioned = Path(home, f"python{minor(version)}")
    if real.is_relative_to(venv):  # a copy, as by `python -m venv --copies`, or a link to itself
        return versioned if home and version and os.path.exists(versioned) else None
    candidates = (versioned, *(Path(home, name) for name in (real.name, "python3", "python")))
    return next((candidate for candidate in candidates if home and os.path.realpath(candidate) == str(real)), real)
