"""Stands in for Django's manage.py: the same commands, imports of everything installed, none of Django.

`test`, `check` and `collectstatic` fail when an installed package does not import, or has set `BROKEN` to the
name of the command. Every run is noted in the file that the variable SAMPLE_SITE_RUNS names, and every run of the tests
in which all passed in another beside it, `.passed`. It is started thousands of times, and so imports little.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from types import ModuleType, SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROJECT = os.path.dirname(os.path.realpath(__file__))
STATICFILES = "django.contrib.staticfiles"


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit status."""
    note_run(argv)
    sys.path.insert(0, PROJECT)
    commands = offered_commands()
    name = argv[0] if argv else "help"
    if name not in commands:
        sys.stderr.write(f"Unknown command: {name!r}\nType 'manage.py help' for usage.\n")
        return 1
    if "--help" in argv or "-h" in argv:
        say(f"usage: manage.py {name}")
        return 0
    return commands[name](argv[1:])


def offered_commands() -> dict[str, Callable[[Sequence[str]], int]]:
    """Return the commands of this site; collectstatic takes staticfiles, and migrate a database."""
    commands = {"check": check, "help": show_help, "shell": shell, "test": test}
    if STATICFILES in settings().INSTALLED_APPS:
        commands["collectstatic"] = collectstatic
    if databases():
        commands["migrate"] = migrate
    return commands


def check(_: Sequence[str]) -> int:
    """Import everything."""
    refuse_broken("check")
    say("System check identified no issues (0 silenced).")
    return 0


def show_help(argv: Sequence[str]) -> int:
    """List the commands, or say that one exists."""
    names = sorted(offered_commands())
    wanted = [word for word in argv if not word.startswith("-")]
    if wanted and wanted[0] not in names:
        sys.stderr.write(f"Unknown command: {wanted[0]!r}\n")
        return 1
    say("\n".join(names))
    return 0


def shell(argv: Sequence[str]) -> int:
    """Execute the code behind -c (or --command) with what little of Django such code asks for."""
    is_installed, app_config = settings().INSTALLED_APPS.__contains__, SimpleNamespace(ignore_patterns=[])
    option = next(position for position, word in enumerate(argv) if word in ("-c", "--command"))
    fakes: dict[str, dict[str, object]] = {
        "django": {},
        "django.apps": {"apps": SimpleNamespace(is_installed=is_installed, get_app_config=lambda _: app_config)},
        "django.conf": {"settings": settings()},
        "django.core.exceptions": {"ImproperlyConfigured": LookupError},
        "django.contrib.staticfiles.storage": {"staticfiles_storage": SimpleNamespace(path=static_path)},
        "django.contrib.staticfiles.finders": {"get_finders": list},
        "django.db": {"connections": {name: Database() for name in databases()}, "router": None},
        "django.db.migrations.loader": {"MigrationLoader": Loader},
        "django.db.migrations.recorder": {"MigrationRecorder": Recorder},
        "django.db.migrations.executor": {"MigrationExecutor": Migrations},
    }
    for name, content in fakes.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(content)
    exec(argv[option + 1], {"__name__": "__main__"})  # noqa: S102 - this is what `shell -c` is for
    return 0


def static_path(name: str) -> str:
    """Return where a static file lies, as the storage of static files does."""
    if not settings().STATIC_ROOT:
        message = "STATIC_ROOT is not set"
        raise LookupError(message)
    return os.path.join(PROJECT, settings().STATIC_ROOT, name)


def databases() -> list[str]:
    """Return the one database, if there is one; its file lists the migrations that are applied, one a line."""
    return ["default"] if getattr(settings(), "DATABASE", "") else []


class Database:
    """A connection; without its file the server is down."""

    vendor = "file"
    settings_dict: Mapping[str, str] = {"ENGINE": "file", "NAME": ""}

    def applied(self) -> list[str]:
        """Return the names of the migrations that are applied."""
        with open(os.path.join(PROJECT, settings().DATABASE), encoding="utf-8") as file:
            return file.read().split()

    def close(self) -> None:
        """Do as connections do."""


class Migrations:
    """What is to be applied: each installed package may name MIGRATIONS, and so may the settings of the site."""

    def __init__(self, connection: Database) -> None:
        self.applied = connection.applied()
        self.loader = SimpleNamespace(graph=SimpleNamespace(leaf_nodes=list))
        self.recorder = SimpleNamespace(has_table=lambda: True)

    def migration_plan(self, _: object) -> list[tuple[SimpleNamespace, bool]]:
        """Return the migrations that are not applied."""
        return [
            (SimpleNamespace(app_label=app, name=name), False)
            for app, names in named_migrations().items()
            for name in names
            if f"{app}.{name}" not in self.applied
        ]


def named_migrations() -> dict[str, Sequence[str]]:
    """Return the migrations that the code has, by app; of packages, only of those that have some."""
    found = {name: getattr(module, "MIGRATIONS", ()) for name, module in (installed() | {"site": settings()}).items()}
    return {app: names for app, names in found.items() if names or app == "site"}


def migrate(_: Sequence[str]) -> int:
    """Apply all that is not applied."""
    plan = Migrations(Database()).migration_plan(None)
    with open(os.path.join(PROJECT, settings().DATABASE), "a", encoding="utf-8") as file:
        file.write("".join(f"{one.app_label}.{one.name}\n" for one, _ in plan))
    say(f"Applied {len(plan)} migration(s).")
    return 0


class Loader:
    """The migrations in the code of the site itself, and of its packages."""

    migrated_apps: set[str]
    disk_migrations: dict[tuple[str, str], SimpleNamespace]

    def __init__(self, _: object, *, load: bool) -> None:
        assert not load

    def load_disk(self) -> None:
        """Read the migrations that the code has."""
        found = named_migrations()
        self.migrated_apps = {*found}
        self.disk_migrations = {
            (app, name): SimpleNamespace(replaces=[]) for app, names in found.items() for name in names
        }


class Recorder:
    """The migrations that are applied."""

    def __init__(self, connection: Database) -> None:
        self._connection = connection

    def applied_migrations(self) -> dict[tuple[str, str], None]:
        """Return what is applied."""
        return {(app, name): None for app, _, name in (one.partition(".") for one in self._connection.applied())}


def test(_: Sequence[str]) -> int:
    """Run the functions `test_*` of site_tests.py; each gets the installed packages by name."""
    packages = installed()
    module = importlib.import_module("site_tests")
    tests = {name: function for name, function in vars(module).items() if name.startswith("test_")}
    say(f"Found {len(tests)} test(s).")
    failures = sum(not passes(name, function, packages) for name, function in tests.items())
    say(f"{'-' * 70}\nRan {len(tests)} test{'' if len(tests) == 1 else 's'} in 0.001s\n")
    if failures:
        say(f"FAILED (failures={failures})")
        return 1
    note_passed()
    say("OK")
    return 0


def passes(name: str, run: Callable[[dict[str, ModuleType]], None], packages: dict[str, ModuleType]) -> bool:
    """Run one test and tell how it went."""
    try:
        run(packages)
    except Exception:  # noqa: BLE001 - whatever a test raises is a failure of the site
        import traceback

        say(f"FAIL: {name}\n{traceback.format_exc()}")
        return False
    say(f"{name} ... ok")
    return True


def collectstatic(argv: Sequence[str]) -> int:
    """Write the versions of all packages where the web server would look for static files."""
    refuse_broken("collectstatic")
    if "--dry-run" not in argv and "-n" not in argv:
        target = os.path.join(PROJECT, settings().STATIC_ROOT)
        os.makedirs(target, exist_ok=True)  # noqa: PTH103
        with open(os.path.join(target, "versions.json"), "w", encoding="utf-8") as file:
            file.write(repr(versions()).replace("'", '"'))
    say("1 static file copied.")
    return 0


def settings() -> ModuleType:
    """Return the site's settings."""
    return importlib.import_module("site_settings")


def refuse_broken(command: str) -> None:
    """Fail as a Django command does when an app of the site is unfit."""
    for name, module in installed().items():
        if getattr(module, "BROKEN", None) == command:
            sys.exit(f"{name} is broken: {command} cannot work")


def installed() -> dict[str, ModuleType]:
    """Import the module of every installed package."""
    words = (name.lower().replace("-", "_").replace(".", "_").split("_") for name in versions())
    names = sorted("_".join(filter(None, some)) for some in words)
    return {name: importlib.import_module(name) for name in names if is_there(name)}


def is_there(module: str) -> bool:
    """Tell whether a module can be found."""
    return any(finder.find_spec(module, None) for finder in sys.meta_path)


def versions() -> dict[str, str]:
    """Return the version of every installed package.

    `importlib.metadata` would take longer to be imported than all else that is done here.
    """
    infos = [entry for place in sys.path if os.path.isdir(place) for entry in os.scandir(place)]
    return dict(sorted(name_and_version(info.path) for info in infos if info.name.endswith(".dist-info")))


def name_and_version(info: str) -> tuple[str, str]:
    """Read what the metadata in a directory say; without any, what the name of the directory says."""
    facts = {}
    try:
        with open(f"{info}/METADATA", encoding="utf-8") as file:
            facts = dict(line.rstrip("\n").partition(": ")[::2] for line in itertools.takewhile(str.strip, file))
    except FileNotFoundError:
        pass
    name, _, version = os.path.basename(info).removesuffix(".dist-info").partition("-")
    return facts.get("Name", name), facts.get("Version", version)


def note_run(argv: Sequence[str]) -> None:
    """Append to the record from which a test learns what was run, when, and with which packages."""
    record = os.environ.get("SAMPLE_SITE_RUNS")
    if record is None:
        return
    here, env = os.getcwd(), dict(os.environ)  # noqa: PTH109
    run = {"argv": tuple(argv), "prefix": sys.prefix, "cwd": here, "env": env, "versions": versions()}
    with open(record, "a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(f"{run!r}\n")


def note_passed() -> None:
    """Append to the record of what the tests have passed with: a venv, by the directory that it lies in."""
    record = os.environ.get("SAMPLE_SITE_RUNS")
    if record is None:
        return
    release = os.path.basename(os.path.dirname(os.path.realpath(sys.prefix)))
    with open(f"{record}.passed", "a", encoding="utf-8") as file:
        file.write(f"{ {'release': release, 'versions': versions()}!r}\n")


def say(text: str) -> None:
    """Write to standard output, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
