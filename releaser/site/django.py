"""Django in a project: its manage.py, its applications, and the settings module that its service runs with."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from releaser.errors import Problem
from releaser.site.owners import read_small_file
from releaser.site.site import Site

VARIABLE = "DJANGO_SETTINGS_MODULE"
_GUNICORN = "gunicorn.conf.py"
_APPLICATIONS = ("wsgi.py", "asgi.py", "passenger_wsgi.py")
_LITERAL = r"""["']([\w.]*\w)["']\s*"""  # what is computed after it makes the pattern fail
_ASSIGNED = re.compile(rf"""{VARIABLE}["']\s*\]\s*=\s*{_LITERAL}(?:(?<=\n)|[;#]|\Z)""")
_DEFAULT = re.compile(rf"""{VARIABLE}["']\s*,\s*{_LITERAL},?\s*[)#]""")
_GIVEN = re.compile(rf"""(?<!\w){VARIABLE}=["']?([\w.]*\w)(?![\w.$%{{-])""")
_COMMENT = re.compile(r"^\s*[#;].*$", re.MULTILINE)
_FILE = re.compile(r"^EnvironmentFile=-?(/.*\S)", re.MULTILINE)
# The end of a traceback: a variable that the environment lacks. Another key, or Django's complaint, is a fault.
_UNSET = re.compile(
    r"(?:(?:[Ee]nvironment variable(?! DJANGO_SETTINGS_MODULE or call)|Declare it as envvar|"
    r"SECRET_KEY setting must not be empty).*|"
    r"(?:<frozen os>|/os\.py)\", line \d+, in __getitem__\n(?: {4}.*\n)*KeyError: '\w+')\s*\Z"
)
_UNITS = (Path("/etc/systemd/system"), Path("~/.config/systemd/user"))


class Django(msgspec.Struct, frozen=True):
    """Django in a project. Paths are relative to it; `manage` is None if there is no manage.py, or more than one.

    `modules` are the settings modules that the service may run with, each with the file that names it. If there is not
    exactly one, the setting `django_settings` is needed. `own` is the module of manage.py.
    """

    manage: Path | None
    manages: tuple[Path, ...]
    applications: tuple[Path, ...]
    modules: dict[str, str]
    own: str = ""

    @property
    def directory(self) -> str:
        """The directory in which manage.py is called, relative to the project."""
        return str(self.manage.parent) if self.manage else "."

    @property
    def imported(self) -> dict[Path, str]:
        """The applications that a Python may import, each with the directory for that."""
        paths = [path for path in self.applications if path.name != "passenger_wsgi.py"]  # may execute another Python
        places = {path: self.directory if path.is_relative_to(self.directory) else "." for path in paths}
        # An application in another directory may need any path.
        return {path: place for path, place in places.items() if place == self.directory or len(path.parts) == 1}

    @property
    def settings(self) -> str:
        """The settings module of the service; empty if it is not known, so that manage.py's own is used."""
        return next(iter(self.modules)) if len(self.modules) == 1 else ""

    @property
    def variables(self) -> dict[str, str]:
        """The variable by which a program uses the settings of the service."""
        return {VARIABLE: self.settings} if self.settings else {}

    def call(self, *words: str) -> list[str]:
        """Return the arguments of Python for a command of manage.py; an option wins where that sets the variable."""
        options = ["--settings", self.settings] if self.settings else []
        return [self.manage.name if self.manage else "manage.py", *words, *options]


def find_django(site: Site, project: Path) -> Django:
    """Return what is known of Django in a project, which is the site's or that of a shadow."""
    setting = site.settings.site.manage_py
    found = [Path(setting)] if setting else [Path("manage.py")]
    if not setting and not os.path.isfile(project / "manage.py"):
        found = [place.relative_to(project) / "manage.py" for place in list_places(project)[1:]]
    manages = tuple(path for path in found if os.path.isfile(project / path))
    manage = manages[0] if len(manages) == 1 else None
    roots = dict.fromkeys((project, (project / manage).parent if manage else project))
    places = dict.fromkeys(place for root in roots for place in list_places(root))
    files = [place / name for name in _APPLICATIONS for place in places if os.path.isfile(place / name)]
    texts = {path.relative_to(project): text for path in files if "django" in (text := _read(path)).lower()}
    script = {"manage.py": _read(project / manage)} if manage else {}
    own = next(iter(_search_all(script, _ASSIGNED) or _search_all(script, _DEFAULT)), "")
    return Django(manage, manages, tuple(texts), _find_modules(site, project, texts, own), own)


def _find_modules(site: Site, project: Path, texts: dict[Path, str], own: str) -> dict[str, str]:
    """Return the settings modules by the strongest source that names any, each with that source.

    An asgi.py with the default of manage.py alone counts last: it is of developers, as manage.py is theirs; so is a
    wsgi.py of this kind where Passenger has a file of its own.
    """
    if setting := site.settings.site.django_settings:
        return {setting: "the setting `django_settings`"}
    files = {str(path): text for path, text in texts.items()}
    if assigned := _search_all(files, _ASSIGNED):
        return assigned
    if VARIABLE in site.service:
        return {site.service[VARIABLE]: site.environment_file.name}
    units = [(str(path), _list_given(text)) for path, text in list_units(site)]
    given = {names[-1]: unit for unit, names in units if names}  # systemd takes the last
    given |= _search_all({_GUNICORN: _read(project / _GUNICORN)}, _GIVEN)
    each = {path: _search_all({str(path): text}, _DEFAULT) for path, text in texts.items()}
    has_passenger = any(path.name == "passenger_wsgi.py" and each[path] for path in texts)
    of_developers = ("asgi.py", "wsgi.py") if has_passenger else ("asgi.py",)
    served = {str(path): texts[path] for path in texts if path.name not in of_developers or {*each[path]} != {own}}
    return given or _search_all(served, _DEFAULT) or _search_all(files, _DEFAULT)


def _list_given(unit: str) -> list[str]:
    """Return the settings modules in the environment of a unit's service, the one that counts last."""
    lines = [line for line in unit.splitlines() if line.startswith(("Environment=", "ExecStart=", VARIABLE))]
    return _GIVEN.findall("\n".join(sorted(lines, key=lambda line: line.startswith("ExecStart="))))


def _search_all(texts: dict[str, str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Return all that a pattern finds in texts, each with the first name of a text that has it."""
    return {match[1]: name for name in reversed(texts) for match in pattern.finditer(texts[name])}


def _read(path: Path) -> str:
    return _COMMENT.sub("", read_small_file(path))


def list_places(directory: Path) -> list[Path]:
    """Return a directory and those in it; no hidden ones, no environments, none of node."""
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
    names = [name for name in names if name != "node_modules" and not os.path.exists(directory / name / "pyvenv.cfg")]
    return [directory, *(directory / name for name in names)]


def list_units(site: Site) -> Iterator[tuple[Path, str]]:
    """Yield the units of systemd that name the project, with their text, drop-ins and environment files."""
    named = re.compile(rf"{re.escape(str(site.paths.project))}(?![\w.-])")
    for directory in _UNITS:
        for path in sorted(Path(os.path.expanduser(directory)).glob("*.service")):
            drop_ins = sorted(path.with_name(f"{path.name}.d").glob("*.conf"))
            text = _drop_reset("\n".join(map(_read, [path, *drop_ins])))
            if named.search(text):
                yield path, "\n".join([text, *(_read(Path(file)) for file in _FILE.findall(text))])


def _drop_reset(unit: str) -> str:
    """Return the lines of a unit that count, each in one: an empty `NAME=` is for those of that name before it."""
    kept = list[str]()
    for line in unit.replace("\\\n", " ").splitlines():
        name, equals, value = line.partition("=")
        if equals and not value.strip():
            kept = [each for each in kept if not each.startswith(f"{name}=")]
        else:
            kept.append(line)
    return "\n".join(kept)


def advise_on_variables(output: str) -> str:
    """Return a sentence for the end of an error that a variable of the service may cure; empty for any other."""
    return ". Put the variables of the service into `environment_file`." if _UNSET.search(output) else ""


def find_problems(site: Site) -> list[Problem]:
    """Return a problem for a manage.py that does not exist, and for settings of the service that contradict."""
    setting, django = site.settings.site.manage_py, find_django(site, site.paths.project)
    if setting and not django.manage:
        message = f"The setting `manage_py` is `{setting}`, but that file does not exist."
        return [Problem("no-manage-py", message, "Correct or remove `manage_py`.")]
    if not django.manage or len(django.modules) < 2 or not _asks(site):
        return []
    names = ", ".join(f"`{module}` in {source}" for module, source in django.modules.items())
    message = f"The Django settings of the service are not known: {names}."
    return [Problem("django-settings", message, "Set `django_settings` to the one that it runs with.")]


def _asks(site: Site) -> bool:
    """Return True if Django is asked anything as a release goes live."""
    return site.settings.live.migrations != "ignore" or site.settings.live.collectstatic != "off"


def list_hints(site: Site) -> list[str]:
    """Return which gates do not apply, and with which settings Django is asked if those of manage.py are others."""
    django, hints = find_django(site, site.paths.project), list[str]()
    names, source = ", ".join(map(str, django.manages)), django.modules.get(django.settings)
    if not _asks(site):
        return []
    if django.manage is None:
        found = f"More than one manage.py was found ({names})" if names else "No manage.py was found"
        hints.append(f"{found}: migrations are not asked, nothing is collected. Set `manage_py`, if the site has one.")
    elif django.settings and django.own not in ("", django.settings):
        hints.append(
            f"{names} has the settings `{django.own}`, the service has `{django.settings}`, by {source}: migrations "
            "and static files are those of the service. Set `django_settings` if that is wrong."
        )
    elif django.applications and not django.modules:
        files = ", ".join(map(str, django.applications))
        hints.append(
            f"The Django settings of the service are not known, as {files} computes them: migrations and "
            f"static files are asked with those of {names}. Set `django_settings`."
        )
    unread = [file for _, text in list_units(site) for file in _FILE.findall(text) if not os.access(file, os.R_OK)]
    if unread and not site.settings.site.django_settings:
        hints.append(f"{', '.join(unread)} of the service cannot be read. Set `django_settings` if it has that module.")
    if not django.imported and site.settings.live.smoke != "off":
        hints.append("No wsgi.py and no asgi.py of Django was found: no candidate is imported before the flip.")
    return hints
