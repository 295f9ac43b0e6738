"""The project: found from any directory below it, with what pyproject.toml says."""

from __future__ import annotations

import contextlib
import os
import socket
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from releaser.errors import Problem, explain_error, refuse
from releaser.system.files import LARGEST_STATE, walk
from releaser.system.text import normalize_name, redact, word

_GROUPS = {"local": ("local",), "staging": ("staging",), "production": ("prod", "production")}
_SAMPLE = 2000  # files that are asked for their group


def find_project(start: Path, *, makes_project: bool = False) -> tuple[Path, Path]:
    """Return the directory with pyproject.toml at or above `start`, and the top of its repository.

    A command that `makes_project` takes `start` for it where there is none.

    Raises PreflightError outside of a project, or without git.
    """
    try:
        path = start.resolve(strict=True)
        project = next((place for place in (path, *path.parents) if (place / "pyproject.toml").is_file()), None)
        if project is None and makes_project and path.is_dir():
            project = path
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "its links lead in a circle"
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be opened: {reason}"
        raise refuse("no-project", f"`{start}` {what}.", "Name the project: `--project PATH`.") from error
    if project is None:
        message = f"`{path}` is not in a project: no pyproject.toml here or above."
        advice = "Run it in the project, or name the project: `--project PATH`. `releaser init --from-venv` and"
        raise refuse("no-project", message, f"{advice} `releaser init --from-requirements FILE` make the file.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in str(project)):
        message = f"`{redact(str(project))}` has bytes that are no UTF-8, or a control character, in its name."
        raise refuse("odd-path", message, "Rename the directory.")
    top = next((place for place in (project, *project.parents) if os.path.lexists(place / ".git")), None)
    if top is None:
        message = f"`{project}` is not in a git repository."
        raise refuse("no-git", message, f"Run `git -C {word(project)} init`, and commit the project with its uv.lock.")
    _require_own_lock(project, top)
    return project, top


def _require_own_lock(project: Path, top: Path) -> None:
    """Raise PreflightError for a member of a workspace, whose lock and venv are those of the root."""
    if os.path.lexists(project / "uv.lock") or project == top:
        return
    for root in project.parents[: len(project.relative_to(top).parts)]:
        workspace = get_table(read_pyproject(read_text(root / "pyproject.toml")[0], "")[0], "tool", "uv", "workspace")
        patterns = workspace.get("members") if isinstance(workspace, dict) else None
        if isinstance(patterns, list) and any(fnmatch(str(project.relative_to(root)), str(each)) for each in patterns):
            message = f"`{project}` is a member of the workspace `{root}`, and has no uv.lock of its own."
            table = read_pyproject(read_text(project / "pyproject.toml")[0], "")[0].get("project", {})
            name = table.get("name", project.name) if isinstance(table, dict) else project.name
            advice = f'Run releaser in `{root}`; set `members = ["{name}"]` in `[tool.releaser]` of its pyproject.toml.'
            raise refuse("workspace-member", message, advice)


def read_pyproject(text: str, source: str) -> tuple[dict[str, Any], list[Problem]]:
    """Return the content of a pyproject.toml, and what is wrong with it."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, [Problem("wrong-pyproject", f"{source}: {error}.", f"Correct {source}.")]
    problems = []
    project = content.get("project")
    if not isinstance(project, dict):
        problems.append(Problem("wrong-pyproject", f"{source} has no `[project]`.", "Add it, as `uv init` does."))
    elif "requires-python" not in project:
        message = f"{source} has no `requires-python` in `[project]`."
        problems.append(Problem("wrong-pyproject", message, 'Add a line such as `requires-python = ">=3.11"`.'))
    if not isinstance(get_table(content, "tool", "releaser"), dict):
        problems.append(Problem("wrong-pyproject", f"{source}: `tool.releaser` is no table.", f"Correct {source}."))
    return content, problems


def get_table(content: Mapping[str, Any], *keys: str) -> Any:
    """Return a table in a parsed TOML file; empty if it does not exist."""
    table: Any = content
    for key in keys:
        if not isinstance(table, dict):
            return {}
        table = table.get(key, {})
    return table


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """Return the text of a file of the project; empty, with a problem, if it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            message, advice = f"`{path}` is no file.", f"Run `mv {word(path)} {word(path)}.broken`."
        elif path.exists() and path.stat().st_size > LARGEST_STATE:
            message, advice = f"`{path}` is larger than 16 MiB.", f"Look at `ls -l {word(path)}`."
        else:
            return path.read_text(encoding="utf-8"), []
    except OSError as error:
        message, advice = explain_error(error), f"Check `ls -l {word(path)}`."
    except UnicodeDecodeError as error:
        message, advice = f"`{path}` is not UTF-8: {error}.", "Save it as UTF-8."
    return "", [Problem("unreadable-file", message, advice)]


def guess_environment(host: str | None = None) -> str:
    """Return the kind of this host by its name: d or q is staging, p is production, all else is local."""
    first = (host or socket.gethostname())[:1].lower()
    return {"d": "staging", "q": "staging", "p": "production"}.get(first, "local")


def choose_group(content: Mapping[str, Any], environment: str, group: str) -> tuple[str, list[Problem]]:
    """Return the dependency group to install, empty for none, and a problem if the chosen one does not exist."""
    groups = get_table(content, "dependency-groups")
    names = {*map(normalize_name, groups)} if isinstance(groups, dict) else set()
    if group:
        if normalize_name(group) in names:
            return group, []
        message = f"The setting `group` is `{group}`, but pyproject.toml has no such dependency group."
        advice = f"It has: {', '.join(sorted(names))}." if names else "Add it to `[dependency-groups]`."
        return "", [Problem("no-group", message, advice)]
    return next((name for name in _GROUPS[environment or guess_environment()] if name in names), ""), []


def find_unknown_extras(content: Mapping[str, Any], extras: Sequence[str]) -> list[Problem]:
    """Return a problem that names the extras that pyproject.toml does not have."""
    known = {*map(normalize_name, get_table(content, "project", "optional-dependencies"))}
    unknown = [name for name in extras if name != "all" and normalize_name(name) not in known]
    message = f"The setting `extras` names what pyproject.toml does not have: {', '.join(unknown)}."
    return [Problem("no-extra", message, f"It has: {', '.join(sorted(known)) or 'none'}.")] if unknown else []


def guess_unix_group(project: Path) -> int:
    """Return the id of the commonest group of the project's files."""
    counts = Counter[int]()
    for path, _ in zip(_walk(project), range(_SAMPLE), strict=False):
        with contextlib.suppress(OSError):  # a live site deletes files, too
            counts[os.lstat(path).st_gid] += 1
    return counts.most_common(1)[0][0] if counts else os.getgid()


def _walk(project: Path) -> Iterator[str]:
    for place, directories, files in walk(project):
        directories[:] = [name for name in directories if name not in (".git", ".venv", "node_modules")]
        yield from (os.path.join(place, name) for name in files)
