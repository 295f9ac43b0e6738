"""Who asks for which versions of a package, and whom a version would not suit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from packaging.markers import UndefinedEnvironmentName, default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROJECT = "the project"


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One requirement, and who has it, in words."""

    asker: str
    requirement: Requirement

    def excludes(self, name: str, version: str) -> bool:
        """Whether this is about the package, and does not admit the version."""
        specifier = self.requirement.specifier
        return canonicalize_name(self.requirement.name) == name and not specifier.contains(version, prereleases=True)

    def __str__(self) -> str:
        return f"{self.asker} asks for {self.requirement.name}{self.requirement.specifier}"


def project_demands(pyproject: Mapping[str, Any], *, python: str) -> Iterator[Demand]:
    """Yield what a pyproject.toml asks for: dependencies, extras, groups, and what it tells uv to heed.

    `python` is the version that markers are for.
    """
    project = _table(pyproject.get("project"))
    yield from demands(PROJECT, _texts(project.get("dependencies")), python=python)
    for extra, texts in _table(project.get("optional-dependencies")).items():
        yield from demands(f"{PROJECT} (extra {extra})", _texts(texts), python=python)
    for group, texts in _table(pyproject.get("dependency-groups")).items():
        yield from demands(f"{PROJECT} (group {group})", _texts(texts), python=python)
    uv = _table(_table(pyproject.get("tool")).get("uv"))
    for group in ("constraint-dependencies", "override-dependencies", "dev-dependencies"):
        yield from demands(f"{PROJECT} ({group})", _texts(uv.get(group)), python=python)


def machine(python: str) -> dict[str, str]:
    """Return what markers are evaluated for: this machine, with a Python `python`."""
    found = {str(key): str(value) for key, value in default_environment().items()}
    return found | {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}


def demands(asker: str, texts: Iterable[str], *, python: str, extras: Iterable[str] = ()) -> Iterator[Demand]:
    """Yield the requirements that apply on this machine, for a Python `python` and if these extras are wanted.

    What cannot be read is passed over.
    """
    environment = machine(python)
    for text in texts:
        try:
            requirement = Requirement(text)
            if _applies(requirement, environment, extras):
                yield Demand(asker=asker, requirement=requirement)
        except (InvalidRequirement, UndefinedEnvironmentName):
            continue


def _applies(requirement: Requirement, environment: Mapping[str, str], extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
