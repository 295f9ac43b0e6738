"""A requirements file: what uv makes of it, and what it says that `uv add` does not write into pyproject.toml.

That is its indexes, constraints and hashes. It is uv that checks the file, so the lines are read without much ado.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from releaser.errors import Finding, PreflightError, ToolError, error_line
from releaser.resolution.newest import describe_unanswered
from releaser.system.files import read_file, read_text
from releaser.system.frozen import Frozen
from releaser.system.temporary import temporary_directory
from releaser.tools.uv import NoSolution, Uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from releaser.site.site import Site

AGREE = "Make file and venv agree: `pip install -r` it, or correct the file. Or name another --from-venv."
_CORRECT = "Correct that; a repository is written as `NAME @ git+URL@COMMIT`, without -e. Then run it again."
NOT_KNOWN = "could not find out whether the index has these versions"
_POSITION = re.compile(r"`([^`]+)` at position (\d+)")
_UNREACHABLE = re.compile(r"Failed to fetch|client error|error sending request|timed out", re.IGNORECASE)
_LOGICAL_LINE = re.compile(r"(?:\\\r?\n|[^\n])+")  # with all that backslashes continue it with
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_OPTION = re.compile(r"(--?[a-z-]+)(?:\s*=\s*|\s+|$)(.*)")
_HASH = re.compile(r"\s--hash[= ]\s*(\S+)")
_INCLUDED = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}


class Line(Frozen):
    """One line of a requirements file, or of one that it includes."""

    #: Such as `/srv/shop/requirements.txt, line 3`.
    where: str
    text: str
    file: Path
    #: Whether it only bounds what something else asks for (`-c`).
    is_constraint: bool

    @property
    def requirement(self) -> Requirement | None:
        """What it asks for; None if it is an option or names a place."""
        try:
            return Requirement(_HASH.sub("", self.text))
        except InvalidRequirement:
            return None

    @property
    def hashes(self) -> frozenset[str]:
        """The hashes that the files of the package may have; none if the line does not say."""
        return frozenset(_HASH.findall(self.text))

    @property
    def option(self) -> tuple[str, str]:
        """The option and its value, both empty if it is something else."""
        found = _OPTION.fullmatch(self.text)
        return (found[1], found[2].strip("\"' ")) if found else ("", "")


def read_lines(
    file: Path, environ: Mapping[str, str], *, is_constraint: bool = False, within: tuple[str, ...] = ()
) -> Iterator[Line]:
    """Yield the lines of a requirements file and of the files that it includes. Raises OSError and UnicodeDecodeError.

    Variables such as `${TOKEN}` are those of `environ`. Files that lie elsewhere on the network are left to uv. Like
    uv, it passes over one that it is `within` already.
    """
    if (place := os.path.realpath(file)) in within:
        return
    content = read_text(file, encoding="utf-8-sig")
    for found in _LOGICAL_LINE.finditer(content):
        text = re.sub(r"\\\r?\n", " ", _COMMENT.sub("", found[0])).strip()
        text = _VARIABLE.sub(lambda name: environ.get(name[1], name[0]), text)
        number = content.count("\n", 0, found.start()) + 1
        line = Line(where=f"{file}, line {number}", text=text, file=file, is_constraint=is_constraint)
        name, value = line.option
        if name in _INCLUDED and "://" not in value:
            bounds_only, inner = is_constraint or _INCLUDED[name], (*within, place)
            yield from read_lines(file.parent / value, environ, is_constraint=bounds_only, within=inner)
        elif text:
            yield line


def index_options(lines: Iterable[Line]) -> list[str]:
    """Return the options that say where packages come from, each as uv takes it in any directory."""
    options = []
    for line in lines:
        name, value = line.option
        if name in ("-f", "--find-links"):
            place = value if "://" in value else os.path.abspath(line.file.parent / value)
            options.append(f"--find-links={place}")
        elif name in ("-i", "--index-url", "--extra-index-url"):
            options.append(f"{'--index-url' if name == '-i' else name}={value}")
        elif name == "--no-index":
            options.append(name)
    return options


def index_settings(options: Iterable[str], root: Path) -> dict[str, Any]:
    """Return what `[tool.uv]` says in the place of these options; `root` is the project."""
    settings: dict[str, Any] = {}
    for name, _, value in (option.partition("=") for option in options):
        if name == "--no-index":
            settings["no-index"] = True
        elif name == "--find-links":
            place = value if "://" in value else near_path(value, root)
            settings.setdefault("find-links", []).append(place)
        else:
            default = {"default": True} if name == "--index-url" else {}
            settings.setdefault("index", []).append({"url": value, **default})
    return settings


def near_path(place: str, root: Path) -> str:
    """Return an absolute path as pyproject.toml should have it: relative if it is in the project or beside it."""
    is_near = Path(place).is_relative_to(root.parent) and root.parent != Path("/")
    return os.path.relpath(place, root) if is_near else place


def bounds(lines: Iterable[Line]) -> list[str]:
    """Return the constraints that hold for later updates too: all but those that name one exact version."""
    found = (line.requirement for line in lines if line.is_constraint)
    return [str(one) for one in found if one is not None and not one.url and exact_version(one) is None]


def exact_version(requirement: Requirement) -> str | None:
    """Return the one version that a requirement admits; None if there may be others."""
    specifiers = list(requirement.specifier)
    is_exact = len(specifiers) == 1 and specifiers[0].operator in ("==", "===") and "*" not in specifiers[0].version
    return specifiers[0].version if is_exact else None


def compile_file(site: Site, uv: Uv, file: Path, python: Path, pins: Mapping[str, str]) -> list[str]:
    """Return what uv makes of a requirements file, together with these versions: a line for each package."""
    with temporary_directory() as place:
        constraints = place / "installed.txt"
        constraints.write_text("".join(f"{name}=={pins[name]}\n" for name in sorted(pins)), encoding="utf-8")
        words: list[str | Path] = ["--no-header", "--no-annotate", "--constraints", constraints, "--python", python]
        try:
            done = uv.compile(site.project.root, file, *words)
        except ToolError as error:
            if error.timed_out:
                raise describe_unanswered(error.message, what=NOT_KNOWN, advice=error.advice) from error
            done = NoSolution(output=error.output or error.message)
            pins = {}
    if not isinstance(done, NoSolution):
        return done.stdout.splitlines()
    output = _POSITION.sub(lambda said: _name_line(site.project.root / said[1], int(said[2])), done.output)
    if _UNREACHABLE.search(output):
        raise describe_unanswered(output, what=NOT_KNOWN)
    if pins and "unsatisfiable" in output:
        where = "; ".join(_contradictions(read_lines(file, site.runner.environ), pins))
        message = where or f"{file} contradicts what is installed: {error_line(output)}"
        raise PreflightError(Finding(message, advice=AGREE, output=output))
    raise PreflightError(Finding(f"uv cannot take {file}: {error_line(output)}", advice=_CORRECT, output=output))


def _name_line(file: Path, position: int) -> str:
    """Name the line at a position; uv counts bytes."""
    number = read_file(file)[:position].count(b"\n") + 1 if file.is_file() else "?"
    return f"{file}, line {number}"


def _contradictions(lines: Iterable[Line], installed: Mapping[str, str]) -> Iterator[str]:
    for line in lines:
        wanted = line.requirement
        version = installed.get(canonicalize_name(wanted.name)) if wanted is not None else None
        if wanted is not None and version and not wanted.specifier.contains(version, prereleases=True):
            yield f"{line.where}: {wanted.name}{wanted.specifier} is installed as {version}"
