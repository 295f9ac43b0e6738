"""The real Django: static files, migrations and `check --deploy`, through the installed command."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.refusals import found_first
from tests.e2e.scenes import silent, step, steps
from tests.support.commands import Finished, console_script, run
from tests.support.guards import require
from tests.support.real_django import BUCKET, MANIFEST_STORAGE, DjangoFactory, DjangoSite, Process, settings, style
from tests.support.sites import SampleSite

pytestmark = pytest.mark.network

NEW = "theme.0002_step"


# Static files


def test_pages_of_old_processes_keep_finding_their_files(make_django: DjangoFactory) -> None:
    django = make_django(settings(storage=MANIFEST_STORAGE))
    pages = {"1.0.0": django.page()}
    with Process(django) as old:
        for version in ("1.1.0", "1.2.0"):
            django.publish(version)
            assert django.site.json("update")["result"] == "updated"
            pages[version] = django.page()
            assert old.page() == pages["1.0.0"]
            for known, page in pages.items():
                assert django.file(page).read_text(encoding="utf-8") == style(known)
        assert len(set(pages.values())) == 3
        with Process(django) as newest:
            assert collected(django, "rollback")  # as 1.2.0 has written the style sheet and the manifest over
            assert django.page() == pages["1.1.0"]  # the manifest is that of what is live
            assert newest.page() == pages["1.2.0"]
        assert old.page() == pages["1.0.0"]
    for known, page in pages.items():
        assert django.file(page).read_text(encoding="utf-8") == style(known)


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
    django.publish("1.2.0")
    assert step(django.site.json("update"), "collectstatic")["status"] == "skipped"


def test_what_stands_in_the_way_of_static_files_or_cannot_be_written_is_found_before_the_flip(
    make_django: DjangoFactory,
) -> None:
    django = make_django()
    django.publish("1.1.0")
    shutil.rmtree(django.static)
    django.static.write_text("no directory", encoding="utf-8")
    found_first(django.site, f"STATIC_ROOT is {django.static}", "it is not a directory")
    django.static.unlink()
    django.static.symlink_to("nowhere")
    found_first(django.site, f"STATIC_ROOT is {django.static}", "a symlink that leads to no directory")
    django.static.unlink()
    assert django.site.json("check")["fit"] is True  # it can be made
    (django.static / "theme" / "style.css").mkdir(parents=True)
    found_first(django.site, f"cannot write {django.static / 'theme' / 'style.css'}")
    (django.static / "theme" / "style.css").rmdir()
    with read_only(django.static / "theme"):
        refusal = weakly(django.site, "update")
        assert refusal.returncode == 3, refusal
        assert f"cannot write {django.static / 'theme'}" in refusal.stderr
    with read_only(django.static):
        refusal = weakly(django.site, "check")
        assert refusal.returncode == 3, refusal
        assert f"STATIC_ROOT is {django.static}, but collectstatic cannot write there" in refusal.stderr
        refusal = weakly(django.site, "rollback", django.site.live_id())
        assert refusal.returncode == 0, refusal  # it is already live, and nothing is to be done
    own = django.static / "uploads"  # of no concern to collectstatic
    own.mkdir()
    with read_only(own):
        assert weakly(django.site, "update").returncode == 0
    assert django.site.live_version("theme") == "1.1.0"


def test_what_only_the_candidate_can_tell_is_found_before_the_flip(make_django: DjangoFactory) -> None:
    """The pulled settings need a package that the live release lacks, so that it cannot be asked."""
    django = make_django()
    site = django.site
    site.publish("extra", "1.0.0")
    text = settings(begin="import extra", static_root='BASE_DIR / "manage.py"')
    site.push_from_elsewhere({"shop/settings.py": text, "pyproject.toml": with_extra(site)}, lock=True)
    head, link = site.head(), os.readlink(site.link)
    report = site.json("update", check=3)
    again = [one for one in report["steps"] if one["step"] == "preflight"][1]
    assert again["status"] == "warning"
    assert "No module named 'extra'" in again["detail"]
    assert step(report, "test")["status"] == "ok"
    assert "flip" not in steps(report)
    assert "it is not a directory" in report["headline"]
    assert (site.head(), os.readlink(site.link)) == (head, link)
    site.push_from_elsewhere({"shop/settings.py": settings(begin="import extra")})
    assert site.json("update")["result"] == "updated"


def with_extra(site: SampleSite) -> str:
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    assert '"theme"]' in text
    return text.replace('"theme"]', '"theme", "extra"]')


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Take away the permission to write a directory, for a while."""
    mode = directory.stat().st_mode
    directory.chmod(0o555)
    try:
        yield
    finally:
        directory.chmod(mode)


def weakly(site: SampleSite, command: str, *words: str) -> Finished:
    """Run releaser as somebody for whom permissions count: root without the privilege to pass over them, or anybody."""
    drop: list[str] = []
    if os.geteuid() == 0:
        require(shutil.which("setpriv"), "setpriv must be there, for root to be like anybody else")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    line: list[str | Path] = [*drop, console_script(), command, "--project", site.path, *words]
    return run(line, cwd=site.outer, env=site.env)


# Migrations


def test_migrations_that_are_not_applied_are_reported_and_left_alone(make_django: DjangoFactory) -> None:
    django = make_django()
    django.publish("1.1.0", migrations=2)
    before = django.database.read_bytes()
    report = django.site.json("update")
    assert report["result"] == "updated"
    assert report["migrations"] == [NEW]
    assert step(report, "migrations")["detail"] == f"new and not applied: {NEW}"
    (problem,) = report["problems"]
    assert NEW in problem
    assert django.database.read_bytes() == before
    assert django.manage("migrate", "--check", check=None).returncode == 1  # as Django has it
    django.publish("1.2.0", migrations=2)
    report = django.site.json("update")
    assert (report["migrations"], report["problems"]) == ([], [])
    assert step(report, "migrations")["detail"] == f"not applied before this update either: {NEW}"
    run(["sh", "-c", problem.split("`")[1]], cwd=django.site.path, env=with_releaser(django.site), check=0)
    assert django.manage("migrate", "--check", check=None).returncode == 0
    django.publish("1.3.0", migrations=2)
    assert step(django.site.json("update"), "migrations")["detail"] == "all are applied"


def with_releaser(site: SampleSite) -> dict[str, str]:
    return {**site.env, "PATH": f"{console_script().parent}{os.pathsep}{site.env['PATH']}"}


def test_a_database_that_cannot_be_asked_stops_no_update(make_django: DjangoFactory) -> None:
    absent = settings(database='BASE_DIR.parent / "absent.sqlite3"')
    django = make_django(absent, dotenv={"RELEASER_MIGRATIONS": "refuse"}, migrated=False)
    see_that_it_is_no_hindrance(django, "1.1.0", "there is no file")
    assert not (django.site.outer / "absent.sqlite3").exists()
    django.site.push_from_elsewhere({"shop/settings.py": settings(database="BASE_DIR")})
    see_that_it_is_no_hindrance(django, "1.2.0", "unable to open database file")


def see_that_it_is_no_hindrance(django: DjangoSite, version: str, words: str) -> None:
    django.publish(version, migrations=2)
    report = django.site.json("update")
    assert report["result"] == "updated"
    assert step(report, "migrations")["status"] == "warning"
    assert words in step(report, "migrations")["detail"]


def test_each_database_that_lacks_migrations_is_named_and_so_is_the_one_that_cannot_be_asked(
    make_django: DjangoFactory,
) -> None:
    """`migrate` alone is for the default database; a router may keep an app out of another one."""
    place = '{{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR.parent / "{}.sqlite3"}}'
    end = "".join(f'DATABASES["{alias}"] = {place.format(alias)}\n' for alias in ("second", "routed", "gone"))
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
    report = django.site.json("update")
    assert report["migrations"] == [NEW, f"{NEW} (database second)"]
    detail = step(report, "migrations")["detail"]
    assert detail.startswith(f"new and not applied: {NEW}, {NEW} (database second); unknown, ")
    assert f"gone: there is no file {django.site.outer / 'gone.sqlite3'}" in detail
    (problem,) = report["problems"]
    assert "with `--database` for each that is named" in problem
    django.manage("migrate")
    django.publish("1.2.0", migrations=2)
    detail = step(django.site.json("update"), "migrations")["detail"]
    assert detail.startswith(f"not applied before this update either: {NEW} (database second)")


# check --deploy

CHECKED = """
from django.core import checks
@checks.register(deploy=True)
def refuse(app_configs, **kwargs):
    return [checks.{level}("the theme is not fit for deployment", id="theme.X001")]
"""


def test_an_update_that_fails_the_check_is_to_blame(make_django: DjangoFactory) -> None:
    django = make_django(dotenv={"RELEASER_DJANGO_CHECK": "deploy"})
    django.publish("1.1.0", init=CHECKED.format(level="Warning"))
    assert django.site.json("update")["result"] == "updated"  # a warning is no error
    django.publish("1.2.0", init=CHECKED.format(level="Error"))
    before = django.site.snapshot()
    report = django.site.json("update", check=5)
    assert report["blame"] == "update"
    assert "`manage.py check --deploy` failed" in report["headline"]
    assert "this update is the cause" in report["headline"]
    assert "the theme is not fit for deployment" in report["output"]
    tried = ["django check", "django check live release", "django check again"]
    assert steps(report)[-7:] == ["build", *tried, "seal", "culprit search", "resolve"]
    assert django.site.snapshot() == before
    assert "refused, theme 1.2.0 breaks django check" in django.site.outbox_mails()[-1]["Subject"]
    silent(django.site.releaser("update"))
    assert [one["release"] for one in django.site.json("status")["failed_candidates"]] == [report["release"]]
