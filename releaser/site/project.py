"""The project: a checkout or plain directory with pyproject.toml and uv.lock, and the paths derived from it."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from releaser.errors import explain_unreadable, refuse
from releaser.site.location import DEFAULT_VENV, PYPROJECT, default_state_dir
from releaser.system.digests import hex_digest
from releaser.system.files import read_text
from releaser.system.frozen import Frozen

Table = Mapping[str, Any]


class Pyproject(Frozen):
    """A parsed pyproject.toml; parts of a wrong type read as empty, which preflight reports."""

    path: Path
    content: Table

    def table(self, *keys: str) -> Table:
        """Return the nested table, or an empty one."""
        found: Any = self.content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    @property
    def groups(self) -> Table:
        """The dependency groups by name."""
        return self.table("dependency-groups")

    def dependencies_key(self) -> str:
        """Return a digest of everything in this file that determines the installed packages.

        The next plain uv command would resolve a lock for other dependencies again.
        """
        project = self.table("project")
        uv = self.table("tool", "uv")
        kept = {
            "project": {key: project.get(key) for key in ("dependencies", "optional-dependencies", "requires-python")},
            "groups": self.groups,
            "uv": {key: uv.get(key) for key in _RESOLUTION_KEYS},
        }
        import json  # slow to import

        return hex_digest(json.dumps(kept, sort_keys=True, default=str).encode())


#: In the state directory.
SHADOW, LOGS = "shadow.git", "logs"
_DEPENDENCIES = (
    ("project", "dependencies"),
    ("project", "optional-dependencies"),
    ("dependency-groups",),
    ("tool", "uv", "dev-dependencies"),
    ("tool", "poetry", "dependencies"),
    ("tool", "pdm", "dev-dependencies"),
)
_RESOLUTION_KEYS = (
    "sources", "index", "no-index", "find-links", "index-url", "extra-index-url", "constraint-dependencies",
    "override-dependencies", "exclude-dependencies", "environments", "required-environments", "workspace", "package",
    "default-groups", "prerelease", "resolution", "fork-strategy", "conflicts",
)  # fmt: skip


def read_pyproject(path: Path) -> Pyproject:
    """Parse pyproject.toml. Raises PreflightError."""
    import tomli

    try:
        content = tomli.loads(read_text(path))
    except FileNotFoundError:
        refuse(
            "pyproject-missing",
            f"{path} does not exist",
            f"Name the directory of a uv project with --project. {first_lock(path.parent)}",
        )
    except (OSError, UnicodeDecodeError) as error:
        refuse("pyproject-unreadable", *explain_unreadable(path, error))
    except (ValueError, RecursionError) as error:  # not only invalid TOML: also too long numbers, too deep nesting
        refuse(
            "pyproject-invalid",
            f"{path} is not valid TOML: {error}",
            "Correct the file, then run `uv lock --check`.",
        )
    return Pyproject(path=path, content=content)


class Project(Frozen):
    """The paths of one project; `root` is absolute and resolved, `venv` is the symlink itself."""

    root: Path
    venv: Path
    state_dir: Path
    #: The checkout that visitors see, if `root` is a staging tree of it; None if `root` is that checkout.
    staged_from: Path | None = None
    #: True if a `.git` counts, as the setting `git` says.
    uses_git: bool = True

    @classmethod
    def at(cls, root: Path, *, state_dir: str | None, venv: str, uses_git: bool = True) -> Project:
        """Return the paths of the project at `root`; relative settings are relative to it.

        A directory on the way to the symlink may be a link itself: relative parts of the symlink start at its target.
        """
        state = state_dir or default_state_dir(str(root))
        link = Path(os.path.normpath(root / venv))
        parent = Path(os.path.realpath(link.parent))  # Path.resolve() raises RuntimeError for a loop of links
        place = Path(os.path.normpath(root / Path(state).expanduser()))
        return cls(root=root, venv=parent / link.name, state_dir=place, uses_git=uses_git)

    @functools.cached_property
    def name(self) -> str:
        """The name of the project's directory."""
        return self.checkout.name

    @functools.cached_property
    def checkout(self) -> Path:
        """The checkout that visitors see, also if `root` is a staging tree of it."""
        return self.staged_from or self.root

    @functools.cached_property
    def has_git(self) -> bool:
        """True if the project is under git: a `.git` exists in it or above, working or not, and `git` is not off."""
        return self.uses_git and any(
            os.path.lexists(place / ".git") for place in (self.checkout, *self.checkout.parents)
        )

    def of_checkout(self, path: Path) -> Path:
        """Return the path in the checkout that corresponds to a path in the staging tree."""
        return Path(os.path.normpath(self.checkout / os.path.relpath(path, self.root)))

    @functools.cached_property
    def outer(self) -> Path:
        """The directory around the checkout, with `.env` in it."""
        return self.checkout.parent

    @functools.cached_property
    def pyproject(self) -> Path:
        """The path of pyproject.toml."""
        return self.root / PYPROJECT

    @functools.cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self.root)

    @property
    def lock(self) -> Path:
        """The path of uv.lock, with symlinks followed, so that writing keeps the symlink."""
        lock = os.path.join(self._real_root, "uv.lock")
        return Path(os.path.realpath(lock) if os.path.islink(lock) else lock)

    @functools.cached_property
    def releases(self) -> Path:
        """The directory that holds the releases."""
        return self.state_dir / "releases"

    @functools.cached_property
    def shadow(self) -> Path:
        """The repository in which releaser keeps the code of a project that is not under git."""
        return self.state_dir / SHADOW

    @functools.cached_property
    def logs(self) -> Path:
        """The directory of the log files, one per run."""
        return self.state_dir / LOGS

    @functools.cached_property
    def outbox(self) -> Path:
        """The Maildir of mails that were not sent."""
        return self.state_dir / "outbox"


def declared_dependencies(content: Table) -> Iterator[str]:
    """Yield the names of the tables in pyproject.toml that declare dependencies."""
    for keys in _DEPENDENCIES:
        found: Any = content
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        if keys == ("dependency-groups",) and isinstance(found, Mapping):
            found = [entry for entries in found.values() for entry in (entries or ())]
        if found:
            yield f"[{'.'.join(keys[:-1])}] {keys[-1]}" if len(keys) > 1 else f"[{keys[0]}]"
    project = content.get("project")
    if isinstance(project, Mapping) and "dependencies" in (project.get("dynamic") or ()):
        yield '[project] dynamic = ["dependencies"]'


def first_lock(root: Path, venv: str = DEFAULT_VENV) -> str:
    """Name which command creates the first uv.lock of a project."""
    if (root / venv / "pyvenv.cfg").is_file():
        return f"For a site that pip installed, run `releaser init --from-venv {venv}`."
    if (root / "requirements.txt").is_file():
        return "For a site that pip installs, run `releaser init --from-requirements requirements.txt`."
    return "For a site that pip installed, run `releaser init --from-venv PATH` with the path of its venv."


def local_sources(pyproject: Pyproject) -> tuple[str, ...]:
    """Return the local paths from which uv takes packages: find-links, indexes, sources.

    They may be untracked, and do not count as uncommitted work.
    """
    uv = pyproject.table("tool", "uv")
    found = [entry for entry in _as_list(uv.get("find-links")) if isinstance(entry, str)]
    found += [str(index.get("url", "")) for index in _as_list(uv.get("index")) if isinstance(index, Mapping)]
    for source in pyproject.table("tool", "uv", "sources").values():
        found += [str(entry["path"]) for entry in _as_list(source) if isinstance(entry, Mapping) and "path" in entry]
    return tuple(os.path.normpath(entry) for entry in found if entry and "://" not in entry)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
