"""Django's part of going live: static files, migrations, the restart; and processes that stay on their release."""

import fcntl
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.e2e.scenes import mostly_slow, refused, says, silent, step_names
from tests.e2e.test_going_live import served
from tests.support.sites import SampleSite, SiteFactory

#: Plays Django. The package `django` says how its commands end; `../applied` has the migrations of the database.
MANAGE = """\
import os, pathlib, sys
import django

def collectstatic():
    with open(os.environ["SITE_RECORD"] + ".collected", "a") as file:
        file.write(f"{sys.prefix.split('/')[-2]} {os.readlink('.venv').split('/')[-2]}\\n")
    for name, source in {"django.css": django.__file__, "site.css": "static/site.css"}.items():
        source, target = pathlib.Path(source), pathlib.Path("../public", name)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())

def showmigrations():
    applied = pathlib.Path("../applied").read_text() if pathlib.Path("../applied").exists() else ""
    for name in getattr(django, "MIGRATIONS", ()):
        print("[X]" if name in applied else "[ ]", f" {name}")

globals()[sys.argv[1]]()
sys.exit(getattr(django, "ERRORS", {}).get(sys.argv[1]) or 0)
"""
FILES = {"manage.py": MANAGE, "static/site.css": "site 1"}
SITE: dict[str, Any] = {"packages": {"alpha": "1.0.0", "django": "5.0"}, "files": FILES}
MIGRATIONS = ["tea.0001_initial", "tea.0002_price"]


def publish_django(site: SampleSite, errors: Mapping[str, str], migrations: Sequence[str] = ()) -> None:
    """Offer Django 5.1, with the errors by which its commands end."""
    code = f"__version__ = '5.1'\nERRORS = {errors!r}\nMIGRATIONS = {migrations!r}\n"
    site.publish("django", "5.1", modules={"django/__init__.py": code})


def collected(site: SampleSite) -> list[str]:
    """Return a line for each run of `collectstatic`: the release that ran it, and the one to which the link led."""
    record = site.record.with_name(f"{site.record.name}.collected")
    return record.read_text("utf-8").splitlines() if record.exists() else []


def public(site: SampleSite) -> dict[str, str]:
    """Return the static files that the web server sees."""
    return {path.name: path.read_text("utf-8") for path in (site.outer / "public").rglob("*.css")}


DENIED = "PermissionError: [Errno 13] Permission denied: '/srv/public'"


@pytest.mark.slow
@pytest.mark.parametrize("way", mostly_slow(["restart", "collectstatic", "rollback"], "restart"))
def test_law_04_static_files_go_back_together_with_code_and_packages(make_site: SiteFactory, way: str) -> None:
    """Automatically, after a restart or `collectstatic` failed, or by a person."""
    site, error = make_site.live(**SITE), DENIED if way == "collectstatic" else ""
    earlier, first, runs = public(site), site.live(), len(collected(site))
    publish_django(site, {"collectstatic": error})
    site.push_from_elsewhere({"static/site.css": "site 2"})
    if way == "restart":
        site.write_dotenv(restart=f"sh -c 'readlink .venv | grep -q {first}'")
    says(site.releaser("update", check=0 if way == "rollback" else 6), error)
    if way == "rollback":
        assert ("5.1" in public(site)["django.css"], public(site)["site.css"]) == (True, "site 2")
        site.releaser("rollback", check=0)
    second = next(iter(site.states()))
    assert collected(site)[runs:] == [f"{second} {second}", f"{first} {first}"]  # each after its flip
    assert (site.live(), site.version("django"), public(site)) == (first, "5.0", earlier)


NO_APP = "Unknown command: 'collectstatic'\nType 'manage.py help' for usage."
NO_ROOT = "You're using the staticfiles app without having set the STATIC_ROOT setting to a filesystem path."
NO_DATABASE = "settings.DATABASES is improperly configured. Please supply the ENGINE value."
ANSWERS: dict[str, tuple[dict[str, str], str, str, int]] = {
    "no staticfiles": ({}, "collectstatic", NO_APP, 0),
    "no STATIC_ROOT": ({}, "collectstatic", NO_ROOT, 0),
    "collectstatic on": ({"RELEASER_COLLECTSTATIC": "on"}, "collectstatic", NO_APP, 6),
    "collectstatic off": ({"RELEASER_COLLECTSTATIC": "off"}, "collectstatic", DENIED, 0),
    "no database": ({}, "showmigrations", f"django.core.exceptions.ImproperlyConfigured: {NO_DATABASE}", 0),
    "no answer": ({}, "showmigrations", "OperationalError: connection refused", 4),
    "not asked": ({"RELEASER_MIGRATIONS": "ignore"}, "showmigrations", "OperationalError: connection refused", 0),
}


@pytest.mark.parametrize("name", mostly_slow(ANSWERS))
def test_a_failed_command_of_django_counts_only_if_the_site_needs_it(make_site: SiteFactory, name: str) -> None:
    settings, command, error, code = ANSWERS[name]
    site = make_site.live(**SITE)
    earlier, runs = site.live(), len(collected(site))
    site.write_dotenv(settings)
    publish_django(site, {command: error})
    finished = site.releaser("update", check=code)
    assert (site.live() == earlier, site.version("django")) == ((True, "5.0") if code else (False, "5.1"))
    assert code or (finished.stderr.count("\n"), site.status()) == (1, "")  # not a word about it
    says(finished, *([f"manage.py {command}" if code == 4 else f"`{command}` failed"] if code else []))
    assert name != "collectstatic off" or len(collected(site)) == runs


@pytest.mark.slow
def test_a_manage_py_that_is_not_django_s_is_not_asked(make_site: SiteFactory) -> None:
    site = make_site.live(files={"manage.py": "import sys\nsys.exit(f'usage: manage.py [run], not {sys.argv[1]}')\n"})
    site.update_to("1.1.0")
    assert site.version("alpha") == "1.1.0"


@pytest.mark.slow
def test_law_28_unapplied_migrations_are_named_and_wait_for_a_person(make_site: SiteFactory) -> None:
    site = make_site.live(**SITE)
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")
    publish_django(site, {}, MIGRATIONS)
    finished = refused(site, "update", code=5)
    says(finished, "not applied: tea.0002_price.", "release is unchanged", "`releaser run -- python manage.py migrate`")
    assert site.releaser("update", check=5).stderr == ""
    assert "tea.0002_price" in str(site.json("status", check=10)["attention"])
    (site.outer / "applied").write_text(" ".join(MIGRATIONS), encoding="utf-8")
    assert (site.json("update")["result"], site.version("django")) == ("updated", "5.1")


@pytest.mark.slow
@pytest.mark.parametrize("places", [["config/tmp", "tmp"], ["tmp"]])
def test_the_first_restart_file_is_touched_after_the_static_files(make_site: SiteFactory, places: list[str]) -> None:
    ignored = {f"{place}/.gitignore": "restart.txt\n" for place in places}
    site = make_site.live(**SITE | {"files": FILES | ignored, "restart_file": False})
    touched, *others = [site.path / place / "restart.txt" for place in places]
    touched.unlink()
    publish_django(site, {})
    assert step_names(site.json("update"))[-4:-2] == ["static files", "restart"]
    assert touched.stat().st_mtime_ns >= (site.outer / "public/django.css").stat().st_mtime_ns
    assert not any(path.exists() for path in others)


@pytest.mark.slow
@pytest.mark.parametrize("restart", mostly_slow(["true", "none"], "true"))
def test_law_02_21_a_process_that_nothing_restarts_stays_on_its_release(make_site: SiteFactory, restart: str) -> None:
    """The earlier process answers the health check; what it imports after the flip is of its own release."""
    site = make_site.live(due="1.1.0")
    with served(site) as service:
        site.write_dotenv(restart=restart, health_check=f"{service.url}/beta", health_timeout="1s")
        answer = site.json("update", check=7 if restart == "true" else 0)
        assert answer["result"] == ("updated-not-restarted" if restart == "true" else "updated")
        assert restart == "none" or f"`{site.link}/bin/python`" in answer["problems"][0]["advice"]
        assert (site.version("alpha"), service.ask("alpha")) == ("1.1.0", "1.0.0")
        silent(site.releaser("update"))
        status = site.json("status", check=10 if restart == "true" else 0)
        assert [problem["code"] for problem in status["attention"]] == ["not-restarted"] * (restart == "true")
        site.run("sh", "-c", service.restart)
        assert service.ask("alpha") == "1.1.0"
        site.releaser("status", check=0)
    silent(site.releaser("update"))
    assert "fails its health check" in site.releaser("status", check=10).stdout


@pytest.mark.slow
def test_law_21_a_lock_alone_shows_no_restart(make_site: SiteFactory) -> None:
    """Any user may lock the lease of a candidate."""
    site = make_site.live(due="1.1.0")
    with served(site) as service:
        site.write_dotenv(restart="true", health_check=f"{service.url}/beta", health_timeout="1s", keep="0")
        site.releaser("update", "--prepare", check=0)
        with (site.state / "releases" / next(iter(site.states())) / "lease").open() as lease:
            fcntl.flock(lease, fcntl.LOCK_SH)
            assert site.json("update", check=7)["result"] == "updated-not-restarted"


MANAGE_REAL = """\
import os
from django.core.management import execute_from_command_line
os.environ["DJANGO_SETTINGS_MODULE"] = "tea.settings"
execute_from_command_line()
"""
SETTINGS = """\
import pathlib
SECRET_KEY, OUTER = "a test", pathlib.Path(__file__).parents[2]
INSTALLED_APPS = ["django.contrib.staticfiles", "tea", "alpha"]
STATIC_URL, STATIC_ROOT = "/static/", OUTER / "public"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": OUTER / "db.sqlite3"}}
"""
MIGRATION = "from django.db import migrations\nclass Migration(migrations.Migration):\n    dependencies = {}\n"


@pytest.mark.network
@pytest.mark.slow
def test_law_04_28_real_django_with_static_files_and_migrations(make_site: SiteFactory) -> None:
    """A database with migrations, static files of a package and of the site; then a site with none of that."""
    files = {"manage.py": MANAGE_REAL, "tea/settings.py": SETTINGS, "tea/static/site.css": "site 1"}
    files |= {"tea/migrations/__init__.py": "", "tea/migrations/0001_initial.py": MIGRATION.format([])}
    toml = "environments = [\"sys_platform == 'linux'\"]\n"
    site = make_site(packages={"alpha": "1.0.0", "django": "0.1"}, files=files, toml=toml)
    for version, requirement in (("1.0.1", "django==5.2.8"), ("1.1.0", "django~=5.2.9")):
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(site.index), requirement]
        subprocess.run(words, check=True, timeout=300)
        site.publish("alpha", version, modules={"alpha/__init__.py": "", "alpha/static/alpha.css": version})
        if not site.link.exists():
            site.uv("lock", "--quiet", "--upgrade")
            site.push_commit("Use Django")
            site.make_venv()
    for command in ("migrate", "collectstatic"):
        site.run(site.link / "bin/python", "manage.py", command, "--noinput")
    site.releaser("init", check=0)
    assert public(site) == {"site.css": "site 1", "alpha.css": "1.0.1"}
    migration = {"tea/migrations/0002_price.py": MIGRATION.format([("tea", "0001_initial")])}
    site.push_from_elsewhere({"tea/static/site.css": "site 2", **migration})
    says(refused(site, "update", code=5), "tea.0002_price", "python manage.py migrate")
    site.releaser("update", check=0, env={"RELEASER_MIGRATIONS": "ignore"})  # as the refusal advises
    site.releaser("run", "--", "python", "manage.py", "migrate", cwd=site.path, check=0)
    assert public(site) == {"site.css": "site 2", "alpha.css": "1.1.0"}
    silent(site.releaser("update"))
    site.releaser("rollback", check=0)
    assert (site.version("django"), public(site)) == ("5.2.8", {"site.css": "site 1", "alpha.css": "1.0.1"})
    site.push_from_elsewhere({"tea/settings.py": "SECRET_KEY = 'no database, no static files'"})
    assert (site.json("update")["result"], site.json("status")["well"]) == ("updated", True)
