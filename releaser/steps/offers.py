"""Which of the versions that are to be locked an index does not have."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from releaser.errors import ResolutionError, ToolError, Unfit
from releaser.tools.uv import NO_SOLUTION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from releaser.project.site import Site
    from releaser.steps.asking import Asked
    from releaser.tools.distributions import Environment
    from releaser.tools.uv import Uv


def missing_from_index(site: Site, asked: Asked, environment: Environment) -> Iterator[Unfit]:
    """Yield what no index of the project has in the wanted version, or only with other hashes. Raises ResolutionError.

    That is for an index that cannot be reached. Without a uv there is nobody to ask, which preflight reports.
    """
    try:
        uv = site.uv()
    except Unfit:
        return
    pins = [f"{name}=={version}" for name, version in sorted(asked.versions.items())]
    try:
        with tempfile.TemporaryDirectory(prefix="releaser-") as place:
            inquiry = _Inquiry(
                uv=uv, tree=site.project.root, file=Path(place) / "pins.txt", environment=environment, asked=asked
            )
            missing = inquiry.missing(pins)
    except ToolError as error:
        message = f"whether the index has these versions could not be found out: {error.message}"
        advice = error.advice or "Check the network and the index, then run it again."
        raise ResolutionError(message, advice=advice, output=error.output) from error
    for pin in missing:
        name, _, version = pin.partition("==")
        yield Unfit(
            f"{name} {version} is not in the index, so no lock can hold it",
            advice=f"Name an index that has it in [[tool.uv.index]] of pyproject.toml (pip's own configuration does not"
            f" count); or --with '{name} @ PATH-or-URL', --with '{name}==VERSION', --without {name}.",
        )
    for name, hashes in sorted(asked.hashes.items()):
        found = inquiry.hashes.get(name)
        if found and not found & hashes:
            advice = "Find out which of them is right; a package must not come from somebody else."
            yield Unfit(f"{name}: the index has none of the files whose hashes the requirements name", advice=advice)


class _Inquiry:
    """Asks an index about many packages at once, each by itself; `hashes` collects what it tells of their files."""

    def __init__(self, *, uv: Uv, tree: Path, file: Path, environment: Environment, asked: Asked) -> None:
        self._uv = uv
        self._tree = tree
        self._file = file
        self._python = environment.python
        self._options = ["--python-version", environment.version, *_options(asked, tree)]
        self.hashes: dict[str, set[str]] = {}

    def missing(self, pins: Sequence[str]) -> list[str]:
        """Return those that cannot be had, found by halving, as uv names but one at a time. Raises ToolError."""
        if not pins:
            return []
        self._file.write_text("\n".join(pins) + "\n", encoding="utf-8")
        try:
            text = self._uv.described(self._tree, self._file, python=self._python, options=self._options)
        except ToolError as error:
            if error.timed_out or error.returncode != NO_SOLUTION:
                raise
            middle = len(pins) // 2
            return self.missing(pins[:middle]) + self.missing(pins[middle:]) if middle else list(pins)
        for package in tomllib.loads(text).get("packages", []):
            self.hashes.setdefault(package["name"], set()).update(_hashes(package))
        return []


def _hashes(package: Mapping[str, Any]) -> Iterator[str]:
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else [])]
    for file in files:
        for kind, value in file.get("hashes", {}).items():
            yield f"{kind}:{value}"


def _options(asked: Asked, tree: Path) -> list[str]:
    words = [
        word for one in asked.indexes for word in ("--default-index" if "default" in one else "--index", one["url"])
    ]
    words += [word for link in asked.links for word in ("--find-links", link if "://" in link else str(tree / link))]
    return [*words, *(["--no-index"] if asked.no_index else [])]
