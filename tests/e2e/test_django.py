"""The real Django: static files, migrations and `check --deploy`, through the installed command."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.refusals import fit, unfit, without_override
from tests.e2e.scenes import edit_pyproject, silent, step, steps
from tests.support.commands import Finished, console_script, run
from tests.support.real_django import BUCKET, MANIFEST_STORAGE, DjangoFactory, DjangoSite, Process, settings, style
from tests.support.sites import SampleSite

pytestmark = pytest.mark.network

NEW = "theme.0002_step"


# Static files


def test_pages_of_old_processes_keep_finding_their_files(make_django: DjangoFactory) -> None:
    django = make_django(settings(storage=MANIFEST_STORAGE))
    pages = {"1.0.0": django.page()}

    def see_all_files() -> None:
        for version, page in pages.items():
            assert django.file(page).read_text(encoding="utf-8") == style(version)

    with Process(django) as old:
        django.publish("1.1.0")
        assert django.site.json("update")["result"] == "updated"
        pages["1.1.0"] = django.page()
        assert old.page() == pages["1.0.0"] != pages["1.1.0"]
        see_all_files()
        with Process(django) as newest:
            assert collected(django, "rollback")  # as 1.1.0 has written the style sheet and the manifest over
            assert django.page() == pages["1.0.0"]  # the manifest is that of what is live
            assert newest.page() == pages["1.1.0"]
        assert old.page() == pages["1.0.0"]
    see_all_files()


def collected(django: DjangoSite, *words: str) -> bool:
    """Go to another release; return whether that has started collectstatic."""
    report = django.site.json(*words)
    assert report["result"] == ("rolled-back" if words[0] == "rollback" else "updated")
    return bool(step(report, "collectstatic")["detail"] != "all are in place")


def questions(django: DjangoSite) -> int:
    """Return how often the last run has asked Django something."""
    log = max((django.site.state_dir / "logs").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    return log.read_text(encoding="utf-8").count("bin/python manage.py shell -c")


def test_static_files_that_are_there_still_are_not_collected_again(make_django: DjangoFactory) -> None:
    django = make_django(settings(storage=MANIFEST_STORAGE))
    assert collected(django, "rebuild")  # of which another Django makes other files
    first, second = django.site.releases()[-2:]
    for release in (first, second):
        assert not collected(django, "rollback", release)
    assert questions(django) == 0
    page = django.file(django.page())
    page.write_text("by hand", encoding="utf-8")
    assert collected(django, "rollback", first)
    assert page.read_text(encoding="utf-8") == style("1.0.0")
    assert not collected(django, "rollback", second)
    page.unlink()
    assert collected(django, "rollback", first)
    (django.site.outer / ".env").touch()  # on which the settings may depend
    assert not collected(django, "rollback", second)
    assert questions(django) == 1
    elsewhere = settings(storage=MANIFEST_STORAGE, static_root='BASE_DIR / "elsewhere"')
    django.site.edit("shop/settings.py", elsewhere)
    assert collected(django, "rollback", first)
    assert (django.site.path / "elsewhere" / "theme" / "style.css").exists()


def test_a_storage_elsewhere_needs_no_static_root(make_django: DjangoFactory) -> None:
    django = make_django(settings(static_root="None", storage=BUCKET), dotenv={"RELEASER_COLLECTSTATIC": "on"})
    sheet = django.site.outer / "bucket" / "theme" / "style.css"
    assert sheet.read_text(encoding="utf-8") == style("1.0.0")
    django.publish("1.1.0")
    assert django.site.json("update")["result"] == "updated"
    assert sheet.read_text(encoding="utf-8") == style("1.1.0")
    django.site.write_dotenv({"RELEASER_COLLECTSTATIC": "auto"})
    assert step(django.site.json("rollback"), "collectstatic")["status"] == "skipped"


def test_what_keeps_static_files_from_being_written_is_found_first(make_django: DjangoFactory) -> None:
    django = make_django()
    site, sheet = django.site, django.static / "theme" / "style.css"
    shutil.rmtree(django.static)
    django.static.write_text("no directory", encoding="utf-8")
    unfit(site).says(f"STATIC_ROOT is {django.static}", "it is not a directory")
    django.static.unlink()
    django.static.symlink_to("nowhere")
    unfit(site).says(f"STATIC_ROOT is {django.static}", "a symlink that leads to no directory")
    django.static.unlink()
    fit(site)  # it can be made
    sheet.mkdir(parents=True)
    unfit(site).says(f"cannot write {sheet}")
    sheet.rmdir()
    for place, wrong in ((sheet.parent, f"cannot write {sheet.parent}"), (django.static, "cannot write there")):
        with read_only(place):
            refusal = weakly(site, "check")
        assert refusal.returncode == 3, refusal
        assert f"STATIC_ROOT is {django.static}, but collectstatic {wrong}" in refusal.stderr
    own = django.static / "uploads"  # of no concern to collectstatic
    own.mkdir()
    django.publish("1.1.0")
    with read_only(own):
        assert weakly(site, "update").returncode == 0
    assert site.live_version("theme") == "1.1.0"


def test_what_only_the_candidate_can_tell_is_found_before_the_flip(make_django: DjangoFactory) -> None:
    """The pulled settings need a package that the live release lacks, so that it cannot be asked."""
    django = make_django()
    site = django.site
    site.publish("extra", "1.0.0")
    text = settings(begin="import extra", static_root='BASE_DIR / "manage.py"')
    project = edit_pyproject(site, '"theme"]', '"theme", "extra"]')
    site.push_from_elsewhere({"shop/settings.py": text, "pyproject.toml": project}, lock=True)
    head, link = site.head(), os.readlink(site.link)
    report = site.json("update", check=3)
    again = [one for one in report["steps"] if one["step"] == "preflight"][1]
    assert again["status"] == "warning"
    assert "No module named 'extra'" in again["detail"]
    assert step(report, "test")["status"] == "ok"
    assert "flip" not in steps(report)
    assert "it is not a directory" in report["headline"]
    assert (site.head(), os.readlink(site.link)) == (head, link)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Take away the permission to write a directory, for a while."""
    mode = directory.stat().st_mode
    directory.chmod(0o555)
    try:
        yield
    finally:
        directory.chmod(mode)


def weakly(site: SampleSite, command: str) -> Finished:
    """Run releaser as somebody for whom permissions count."""
    line: list[str | Path] = [*without_override(), console_script(), command, "--project", site.path]
    return run(line, cwd=site.outer, env=site.env)


# Migrations


def test_each_database_that_lacks_migrations_or_cannot_be_asked_is_named(make_django: DjangoFactory) -> None:
    """`migrate` alone is for the default database; a router may keep an app out of another one."""
    place = '{{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR.parent / "{}"}}'
    names = {"second": "second.sqlite3", "routed": "routed.sqlite3", "gone": "gone.sqlite3", "broken": ""}
    end = "".join(f'DATABASES["{alias}"] = {place.format(name)}\n' for alias, name in names.items())
    router = f"""
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return (db, app_label) != ("routed", "theme")
DATABASE_ROUTERS = ["shop.settings.Router"]
{end}"""
    django = make_django(settings(end=router))
    for alias in ("second", "routed"):
        django.manage("migrate", "--database", alias)
    django.publish("1.1.0", migrations=2)
    before = django.database.read_bytes()
    report = django.site.json("update")
    assert (report["result"], report["migrations"]) == ("updated", [NEW, f"{NEW} (database second)"])
    assert django.database.read_bytes() == before
    assert django.manage("migrate", "--check", check=None).returncode == 1  # as Django has it
    detail = step(report, "migrations")["detail"]
    assert detail.startswith(f"new and not applied: {NEW}, {NEW} (database second); unknown, ")
    assert f"gone: there is no file {django.site.outer / 'gone.sqlite3'}" in detail
    assert "broken: unable to open database file" in detail
    assert not (django.site.outer / "gone.sqlite3").exists()
    (problem,) = report["problems"]
    assert "with `--database` for each database named" in problem
    with_releaser = {**django.site.env, "PATH": f"{console_script().parent}{os.pathsep}{django.site.env['PATH']}"}
    run(["sh", "-c", problem.split("`")[1]], cwd=django.site.path, env=with_releaser, check=0)
    assert django.manage("migrate", "--check", check=None).returncode == 0
    django.publish("1.2.0", migrations=2)
    detail = step(django.site.json("update"), "migrations")["detail"]
    assert detail.startswith(f"not applied before this update either: {NEW} (database second)")


# check --deploy

CHECKED = """
from django.core import checks
@checks.register(deploy=True)
def refuse(app_configs, **kwargs):
    return [checks.Error("the theme is not fit for deployment", id="theme.X001")]
"""


def test_an_update_that_fails_the_check_is_to_blame(make_django: DjangoFactory) -> None:
    django = make_django(dotenv={"RELEASER_DJANGO_CHECK": "deploy"})
    django.publish("1.1.0", init=CHECKED)
    before = django.site.snapshot()
    report = django.site.json("update", check=5)
    assert report["blame"] == "update"
    assert "`manage.py check --deploy` failed" in report["headline"]
    assert "this update is the cause" in report["headline"]
    assert "the theme is not fit for deployment" in report["output"]
    tried = ["django check", "django check live release", "django check again"]
    assert steps(report)[-7:] == ["build", *tried, "seal", "culprit search", "resolve"]
    assert django.site.snapshot() == before
    assert "refused, theme 1.1.0 breaks django check" in django.site.outbox_mails()[-1]["Subject"]
    silent(django.site.releaser("update"))
    assert [one["release"] for one in django.site.json("status")["failed_candidates"]] == [report["release"]]
