"""The file of a program that keeps itself up to date: the starter, with the program's own lines at its head."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from releaser.errors import refuse
from releaser.system.text import word

STARTER = Path(__file__).with_name("starter.py")
_PLACE = "~/.local/share/releaser/{name}"


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program: the values of the starter's own lines, by their names in small letters; without a value, empty."""

    packages: list[str]
    name: str = ""
    place: str = ""
    sources: dict[str, str] = {}
    main: list[str] = []
    verify: list[str] = []
    refresh: str = "daily"
    wait: str = "5s"
    releaser: list[str] = []


def read_source(text: str) -> tuple[str, str]:
    """Return the package and the place of `PACKAGE=PLACE`; a directory by its whole path. Raises PreflightError."""
    name, _, place = text.partition("=")
    if re.search("://[^/]*@", place):
        message = f"The address for `{name}` has a user or a password, and whoever gets the file could read it."
        raise refuse("secret", message, "Leave it out: uv reads `~/.netrc` of whoever starts the program.")
    if not re.fullmatch(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?", name) or not place:
        raise refuse(
            "wrong-source", f"`{text}` is no source.", "Give `PACKAGE=URL`, a directory, or s3://BUCKET/PREFIX."
        )
    return name, place if "://" in place else str(Path(place).expanduser().absolute())


def write_starter(program: Program) -> str:
    """Return the file. Raises PreflightError for what is no package."""
    try:
        first = next(Requirement(package).name for package in program.packages)
    except InvalidRequirement as error:
        raise refuse("wrong-package", f"A package cannot be read: {error}", "Give names such as `hello>=2`.") from error
    name = program.name or first
    if not re.fullmatch(r"[\w.-]+", name):
        raise refuse("wrong-name", f"`{name}` is no name for a program.", "Use letters, digits, `.`, `_` and `-`.")
    place = program.place or _PLACE.format(name=name)
    if not place.startswith("~"):
        place = str(Path(place).absolute())
    if "\\" in place or '"""' in place:
        raise refuse("wrong-place", f"`{place}` is no place for a program.", 'Use a directory without `\\` and `"`.')
    values = {**msgspec.structs.asdict(program), "name": name, "place": place, "main": program.main or [name]}
    shell = f'"$HOME"/{word(place[2:])}' if place.startswith("~/") else word(place)
    lines = STARTER.read_text(encoding="utf-8").replace('"$HOME"/.local/share/releaser/app', shell, 1).splitlines()
    for field, value in values.items():
        number = next(number for number, line in enumerate(lines) if re.match(rf"{field.upper()}\b", line))
        start, comment = re.fullmatch(r"(.*? = ).*?(  # .*)?", lines[number]).groups("")  # type: ignore[union-attr]
        lines[number] = f"{start}{json.dumps(value, ensure_ascii=False)}{comment}"
    return "\n".join(lines) + "\n"
