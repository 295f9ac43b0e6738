"""Questions to a Django site. The site's own interpreter runs this text, by `manage.py shell -c`.

So this code cannot import releaser, works with Django from 2.2 on, and changes no file except in `outdate`. The answer
is one line of JSON after a mark, because start-up code of a site may print text, too.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # this text avoids imports
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

MARK = "releaser-answer:"
MOST_NAMED = 3
PLAIN = "django.contrib.staticfiles.storage.StaticFilesStorage"  # makes no files


def static(*, outdates: bool = False, compares: bool = False) -> dict[str, Any]:
    """Return where collectstatic would put files, and the places below that it could not write.

    `compares` adds the answer of `comparison`. `outdates` calls `outdate` for each file.
    """
    from django.apps import apps
    from django.conf import settings

    if not apps.is_installed("django.contrib.staticfiles"):
        return {"installed": False}
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.exceptions import ImproperlyConfigured

    setting = str(settings.STATIC_ROOT or "")
    answer: dict[str, Any] = {"installed": True, "setting": setting, "local": True, "reason": "", "blocked": []}
    try:
        place = os.path.abspath(staticfiles_storage.path(""))
    except NotImplementedError:  # storages raise it that do not keep files on this host
        return {**answer, "local": False}
    except ImproperlyConfigured as error:  # for example without STATIC_ROOT
        return {**answer, "reason": " ".join(str(error).split())}
    targets = list(collected(place))
    storage = f"{staticfiles_storage.__class__.__module__}.{staticfiles_storage.__class__.__qualname__}"
    answer |= {"place": place, "manifest": manifest_of(staticfiles_storage), "plain": storage == PLAIN}
    if compares:
        answer |= comparison(targets, place, storage)
    if outdates:
        for source, target in targets:
            outdate(source, target)
    blocked = sorted({found for _, target in targets if (found := obstacle(target, place))})
    return {**answer, "blocked": blocked[:MOST_NAMED]}


def comparison(targets: list[tuple[str, str]], place: str, storage: str) -> dict[str, Any]:
    """Return whether each file exists and equals its source, and a digest of the sources and their destinations.

    Also return the files that determine this: the destinations, and the sources and settings in the checkout. With the
    site's own collectstatic command nothing is known, as it may collect other files.
    """
    if not targets:
        return {"current": False}
    import hashlib

    from django.core.management import get_commands

    if get_commands()["collectstatic"] != "django.contrib.staticfiles":
        return {"current": False}
    names = {os.path.relpath(target, place): source for source, target in targets}
    digest = hashlib.sha256(json.dumps([storage, os.path.realpath(place), sorted(names)]).encode())
    try:
        for name in sorted(names):
            with open(names[name], "rb", opener=_open_at_once) as file:
                digest.update(hashlib.sha256(file.read() or b"").digest())
    except OSError:
        return {"current": False}
    modules = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    here, venv = os.path.abspath("."), os.path.join(sys.prefix, "")
    own = [path for path in (*modules, *names.values()) if path.startswith(here + "/") and not path.startswith(venv)]
    files = sorted({*own, *(os.path.join(os.path.realpath(place), name) for name in names)})
    return {"current": all(is_current(*target) for target in targets), "files": files, "sources": digest.hexdigest()}


def _open_at_once(path: str, flags: int) -> int:
    """Open a file without waiting, even if it is a pipe to which no process writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def manifest_of(storage: Any) -> str | None:
    """Return the file in which a storage records the files that it makes; empty if it makes none, None if unknown."""
    if not hasattr(storage, "post_process"):
        return ""
    try:
        return str(os.path.abspath(getattr(storage, "manifest_storage", storage).path(storage.manifest_name)))
    except Exception:  # noqa: BLE001 - a site may have any storage
        return None


def is_current(source: str, target: str) -> bool:
    """True if a file exists and equals its source."""
    import filecmp

    try:
        return not os.path.islink(target) and filecmp.cmp(source, target, shallow=False)
    except OSError:
        return False


def collected(place: str) -> Iterator[tuple[str, str]]:
    """Yield source and target of each file that collectstatic would collect, found in the same way."""
    from django.apps import apps
    from django.contrib.staticfiles.finders import get_finders

    ignored = list(apps.get_app_config("staticfiles").ignore_patterns)
    seen = set()
    for finder in get_finders():
        for path, source in finder.list(ignored):
            name = os.path.join(getattr(source, "prefix", None) or "", path)
            if name not in seen:
                seen.add(name)
                yield source.path(path), os.path.join(place, name)


def outdate(source: str, target: str) -> None:
    """Make collectstatic replace a file that differs from its source, by setting its time back, or by deleting it.

    collectstatic skips files that are newer than their source. After a rollback those are all files of the withdrawn
    release.
    """
    import filecmp

    try:
        newer = int(os.stat(target).st_mtime) >= int(os.stat(source).st_mtime)
        if os.path.islink(target) or not newer or filecmp.cmp(source, target, shallow=False):
            return
    except OSError:  # usually the file does not exist yet
        return
    try:
        os.utime(target, (0, 0))
    except PermissionError:  # a file of another user, in a directory of this one
        os.unlink(target)


def obstacle(target: str, place: str) -> str:
    """Return the path that keeps a file from being written or replaced; empty if there is none."""
    if os.path.isdir(target) and not os.path.islink(target):
        return target
    parent = os.path.dirname(target)
    while parent != place and len(parent) > len(place) and not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if parent == place:  # the caller checks the top itself
        return ""
    return "" if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK) else parent


def migrations() -> dict[str, Any]:
    """Return the migrations that are not applied, as `migrate --check` finds them, but of every database.

    That command also writes: it creates a missing SQLite database, and up to Django 4.1 it goes on to migrate if no
    migration is due. This only reads.
    """
    count, names, failed = of_databases(unapplied)
    return {"databases": count, "unapplied": names, "failed": failed}


def of_databases(look: Callable[[Any, str], list[Any]]) -> tuple[int, list[Any], list[str]]:
    """Call `look` for each database; return the number of databases, all results, and each failure with its reason."""
    from django.db import connections

    found: list[Any] = []
    failed: list[str] = []
    count = 0
    for alias in connections:
        try:
            connection = connections[alias]
            if str(connection.settings_dict.get("ENGINE", "")).endswith(".dummy"):  # DATABASES is not set
                continue
            count += 1
            refuse_absent(connection)
            found += look(connection, alias)
            connection.close()
        except Exception as error:  # noqa: BLE001 - every driver raises other errors
            failed.append(f"{alias}: {' '.join(str(error).split()) or type(error).__name__}")
    return count, found, failed


def refuse_absent(connection: Any) -> None:
    """Raise FileNotFoundError for a missing SQLite database, which a connection would create."""
    name = str(connection.settings_dict.get("NAME", ""))
    if connection.vendor == "sqlite" and ":" not in name and not os.path.exists(name):  # `:memory:`, `file:...`
        message = f"there is no file {name}"
        raise FileNotFoundError(message)


def unapplied(connection: Any, alias: str) -> list[str]:
    """Return the unapplied migrations of one database; none if it is not the default and never had any migrations."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if alias != "default" and not executor.recorder.has_table():
        return []
    plan = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
    return [named(step.app_label, step.name, alias) for step in plan if is_for(alias, step.app_label)]


def is_for(alias: str, app: str) -> bool:
    """True if an app has tables in a database; for a database other than the default, a router decides."""
    from django.db import router

    return alias == "default" or bool(router.allow_migrate(alias, app))


def named(app: str, name: str, alias: str) -> str:
    """Return the name of a migration, with its database if that is not the default."""
    return f"{app}.{name}" + ("" if alias == "default" else f" (database {alias})")


def on_disk() -> tuple[set[tuple[str, str]], set[str]]:
    """Return the migrations in the code, including replaced ones, and the apps that have migrations."""
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None, load=False)  # loading would build a graph, which fails if a migration is missing
    loader.load_disk()
    replaced = {tuple(old) for migration in loader.disk_migrations.values() for old in migration.replaces}
    return {*loader.disk_migrations, *replaced}, {*loader.migrated_apps}


def not_on_disk() -> dict[str, Any]:
    """Return the applied migrations that are not in the code, each with its id in other code.

    Of apps that this code lacks, there may be many old ones.
    """
    from django.db.migrations.recorder import MigrationRecorder

    known, apps = on_disk()

    def look(connection: Any, alias: str) -> list[dict[str, Any]]:
        applied = {*MigrationRecorder(connection).applied_migrations()}
        return [
            {"id": f"{app}.{name}", "name": named(app, name, alias), "has_app": app in apps}
            for app, name in sorted(applied - known)
            if is_for(alias, app)
        ]

    _, found, failed = of_databases(look)
    return {"found": found, "failed": failed}


def main(*questions: str) -> None:
    """Print the answers to questions, a line each."""
    answers = {
        "static": static,
        "compare": lambda: {"current": False, **static(compares=True)},
        "outdate": lambda: {"current": False, **static(compares=True, outdates=True)},
        "migrations": migrations,
        "on disk": lambda: {"ids": sorted(f"{app}.{name}" for app, name in on_disk()[0])},
        "not on disk": not_on_disk,
    }
    for question in questions:
        sys.stdout.write(f"\n{MARK}{json.dumps(answers[question]())}\n")
        sys.stdout.flush()
