"""What a sample site is made of: its options, and its files for each kind of uv project."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.support.wheels import BACKEND

Kind = Literal["plain", "packaged", "workspace", "path"]
IndexPlace = Literal["beside", "inside"]

PROJECT_NAME = "sample-site"
SHARED_LIBRARY = "common-lib"
INDEX_INSIDE = "wheels"
_SAMPLE = Path(__file__).with_name("sample")
_BACKEND_SECTION = ["", "[build-system]", f'requires = ["{BACKEND}"]', f'build-backend = "{BACKEND}"']
_MEMBER_SOURCES = ["", "[tool.uv.sources]", "one = { workspace = true }"]


def _default_groups() -> dict[str, list[str]]:
    return {"local": ["localtools"], "staging": ["stagingtools"], "prod": ["prodtools"]}


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """What decides the content of the checkout, of its lock and of the index.

    `packages` (name to version) are published and, unless `dependencies` says otherwise, are what the site
    depends on; `requires` gives them dependencies of their own. What the dependency groups name is published
    as 1.0.0.

    `kind`: `plain` has no build system; `packaged` installs itself, editable, from `src/`; `workspace` has
    the members `one` and `two`, of which two needs one; `path` depends on `../common-lib`, which `editable`
    says how to install. `index`: the directory of wheels lies `beside` the checkout or, ignored by git,
    `inside`; pyproject.toml names it by a relative path. `settings` goes into `[tool.releaser]`, `extra_toml`
    to the end of pyproject.toml, `files` (path to text) into the checkout, and all of the directory `wheels` into the
    index.
    """

    kind: Kind = "plain"
    packages: Mapping[str, str] = field(default_factory=lambda: {"alpha": "1.0.0", "beta": "1.0.0"})
    requires: Mapping[str, Sequence[str]] = field(default_factory=dict)
    dependencies: Sequence[str] | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=_default_groups)
    requires_python: str = ">=3.11"
    index: IndexPlace = "beside"
    editable: bool = True
    staticfiles: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    extra_toml: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    wheels: str = ""

    @property
    def index_in_outer(self) -> str:
        """Where the index lies, relative to the outer directory; `{project}` stands for the checkout."""
        return "index" if self.index == "beside" else f"{{project}}/{INDEX_INSIDE}"


def checkout_files(options: SiteOptions) -> dict[str, str]:
    """Return the tracked files of the checkout, except for uv.lock."""
    files = {path.name: path.read_text(encoding="utf-8") for path in sorted(_SAMPLE.glob("*.py"))}
    if not options.staticfiles:
        files["site_settings.py"] = files["site_settings.py"].replace('"django.contrib.staticfiles"', "")
    files["pyproject.toml"] = pyproject(options)
    files[".gitignore"] = f"__pycache__/\nstatic_out/\n/{INDEX_INSIDE}/\n"
    files["config/tmp/.gitignore"] = "*\n!.gitignore\n"
    return files | _code(options.kind) | dict(options.files)


def common_library(version: str = "1.0.0") -> dict[str, str]:
    """Return the files of the path dependency, relative to its directory."""
    return _package(SHARED_LIBRARY, version=version)


def pyproject(options: SiteOptions) -> str:
    """Return the text of the site's pyproject.toml."""
    lines = [
        "[project]",
        f'name = "{PROJECT_NAME}"',
        'version = "0.1.0"',
        f'requires-python = "{options.requires_python}"',
        f"dependencies = {_toml(_dependencies(options))}",
    ]
    if options.kind == "packaged":
        lines += ["", "[project.scripts]", f'{PROJECT_NAME} = "sample_site:main"', *_BACKEND_SECTION]
    lines += ["", "[dependency-groups]"]
    lines += [f"{name} = {_toml(list(members))}" for name, members in options.groups.items()]
    place = INDEX_INSIDE if options.index == "inside" else "../index"
    lines += ["", "[tool.uv]", "no-index = true", f'find-links = ["{place}"]', *_local_sources(options)]
    if options.settings:
        lines += ["", "[tool.releaser]"]
        lines += [f"{name} = {_toml(value)}" for name, value in options.settings.items()]
    return "\n".join(lines) + "\n" + options.extra_toml


def _dependencies(options: SiteOptions) -> list[str]:
    named = list(options.packages if options.dependencies is None else options.dependencies)
    local: dict[Kind, list[str]] = {"workspace": ["one", "two"], "path": [SHARED_LIBRARY]}
    return named + local.get(options.kind, [])


def _local_sources(options: SiteOptions) -> list[str]:
    if options.kind == "workspace":
        members = ["", "[tool.uv.workspace]", 'members = ["packages/*"]']
        return [*members, *_MEMBER_SOURCES, "two = { workspace = true }"]
    if options.kind == "path":
        source = f'{{ path = "../{SHARED_LIBRARY}", editable = {_toml(options.editable)} }}'
        return ["", "[tool.uv.sources]", f"{SHARED_LIBRARY} = {source}"]
    return []


def _code(kind: Kind) -> dict[str, str]:
    if kind == "packaged":
        return {"src/sample_site/__init__.py": _module_text("0.1.0")}
    if kind == "workspace":
        one, two = _package("one"), _package("two", dependencies=["one"], extra=_MEMBER_SOURCES)
        return _below("packages/one", one) | _below("packages/two", two)
    return {}


def _package(
    name: str, *, version: str = "1.0.0", dependencies: Sequence[str] = (), extra: Sequence[str] = ()
) -> dict[str, str]:
    lines = [
        "[project]",
        f'name = "{name}"',
        f'version = "{version}"',
        'requires-python = ">=3.11"',
        f"dependencies = {_toml(list(dependencies))}",
        *_BACKEND_SECTION,
        *extra,
    ]
    module = name.replace("-", "_")
    return {"pyproject.toml": "\n".join(lines) + "\n", f"src/{module}/__init__.py": _module_text(version)}


def _below(directory: str, files: Mapping[str, str]) -> dict[str, str]:
    return {f"{directory}/{path}": text for path, text in files.items()}


def _module_text(version: str) -> str:
    return f'__version__ = "{version}"\n\n\ndef main() -> None:\n    print(__version__)\n'


def _toml(value: object) -> str:
    """Render a string, number, boolean or list; for these JSON is TOML as well."""
    return json.dumps(value, ensure_ascii=False)
