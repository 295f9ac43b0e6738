"""Django's part of going live: static files, migrations, the restart; and processes that stay on their release."""

import contextlib
import fcntl
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.e2e.scenes import changes, mostly_slow, no_change, refused, says, silent, step_names
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
    command = f"`releaser run --release {next(iter(site.states()))} -- python manage.py migrate`"
    says(finished, "not applied: tea.0002_price.", "release is unchanged", command)
    assert site.releaser("update", check=5).stderr == ""
    assert command in str(site.json("status", check=10)["attention"]), "the command of the mail is that of the site"
    assert [*site.states().values()].count("failed") == 1
    (site.outer / "applied").write_text(" ".join(MIGRATIONS), encoding="utf-8")
    assert (site.json("update")["result"], site.version("django")) == ("updated", "5.1")
    site.releaser("rollback", check=0)
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")  # a person reverses one
    site.releaser("unhold", "--all", check=0)
    site.releaser("update", check=5)
    assert site.version("django") == "5.0", "not the good release again, whose table is gone"


@pytest.mark.slow
def test_law_04_23_migrations_that_conflict_are_found_before_the_flip(make_site: SiteFactory) -> None:
    """Two branches have brought one each: `migrate` applies none, and tests that use no database see nothing."""
    manage = MANAGE.replace("globals()[", "def migrate():\n    pass\n\nglobals()[")
    dotenv = {"RELEASER_MIGRATIONS": "run", "RELEASER_CULPRITS": "16"}
    site = make_site.live(**SITE | {"files": FILES | {"manage.py": manage}}, dotenv=dotenv)
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")
    publish_django(site, {}, [MIGRATIONS[0], *(f"tea.0002_{fork} ... ({MIGRATIONS[0]})" for fork in "ab")])
    site.publish("alpha", "1.1.0")
    answer = site.json("update")
    assert changes(answer) == {"alpha": ("1.0.0", "1.1.0")}
    assert ["tea.0002_a, tea.0002_b conflict" in hold["reason"] for hold in answer["on_hold"]] == [True]


@pytest.mark.slow
def test_law_28_migrations_that_nobody_applied_are_not_named(make_site: SiteFactory) -> None:
    """A candidate waited for them, and its version has vanished."""
    site = make_site.live(**SITE)
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")
    publish_django(site, {}, MIGRATIONS)
    site.releaser("update", check=5)
    next(site.index.glob("django-5.1*")).unlink()
    site.push_from_elsewhere({"static/site.css": "site 2"})
    for command in ("update", "rollback"):
        assert "does not undo" not in site.releaser(command, check=0).stderr


@pytest.mark.slow
@pytest.mark.parametrize("way", ["run", "by hand", "automatic"])
def test_law_04_a_rollback_names_the_migrations_of_packages_that_it_leaves(make_site: SiteFactory, way: str) -> None:
    manage = MANAGE.replace("globals()[", "def migrate():\n    open('../applied', 'w').write(NAMES)\n\nglobals()[")
    files = FILES | {"manage.py": manage.replace("NAMES", repr(" ".join(MIGRATIONS)))}
    site = make_site.live(**SITE | {"files": files})
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")
    publish_django(site, {}, MIGRATIONS)
    words = "A rollback does not undo these migrations, if they were applied: tea.0002_price."
    if way == "by hand":
        site.releaser("update", check=5)
        site.push_from_elsewhere({"static/site.css": "site 2"})  # another candidate
        (site.outer / "applied").write_text(" ".join(MIGRATIONS), encoding="utf-8")
    else:
        site.write_dotenv(migrations="run", restart=NOT_5_1 if way == "automatic" else "none")
    says(site.releaser("update", check=6 if way == "automatic" else 0), words)
    says(site.releaser("rollback", check=0), words) if way != "automatic" else None
    assert site.version("django") == "5.0"


#: A restart that fails with the new Django.
NOT_5_1 = "sh -c 'test ! -e .venv/lib/python3*/site-packages/django-5.1.dist-info'"


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
    assert "fails its health check: " in site.releaser("status", check=10).stdout


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


def download(site: SampleSite, requirement: str) -> None:
    """Put a version of Django, with what it needs, into the index of a site."""
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(site.index), requirement]
    subprocess.run(words, check=True, timeout=300)


def make_django(make_site: SiteFactory, files: Mapping[str, str]) -> SampleSite:
    """Return a site with a real Django 5.2.8 and a package with a static file, in a venv of a person."""
    toml = "environments = [\"sys_platform == 'linux'\"]\n"
    site = make_site(packages={"alpha": "1.0.0", "django": "0.1"}, files=files, toml=toml)
    download(site, "django==5.2.8")
    site.publish("alpha", "1.0.1", modules={"alpha/__init__.py": "", "alpha/static/alpha.css": "1.0.1"})
    site.uv("lock", "--quiet", "--upgrade")
    site.push_commit("Use Django")
    site.make_venv()
    return site


@pytest.mark.network
@pytest.mark.slow
def test_law_04_28_real_django_with_static_files_and_migrations(make_site: SiteFactory) -> None:
    """A database with migrations, static files of a package and of the site; then a site with none of that."""
    files = {"manage.py": MANAGE_REAL, "tea/settings.py": SETTINGS, "tea/static/site.css": "site 1"}
    files |= {"tea/migrations/__init__.py": "", "tea/migrations/0001_initial.py": MIGRATION.format([])}
    site = make_django(make_site, files)
    download(site, "django~=5.2.9")
    site.publish("alpha", "1.1.0", modules={"alpha/__init__.py": "", "alpha/static/alpha.css": "1.1.0"})
    for command in ("migrate", "collectstatic"):
        site.run(site.link / "bin/python", "manage.py", command, "--noinput")
    site.releaser("init", check=0)
    assert public(site) == {"site.css": "site 1", "alpha.css": "1.0.1"}
    (site.outer / "public/alpha.css").unlink()
    (site.outer / "public/alpha.css").symlink_to("/nowhere/alpha.css")
    migration = {"tea/migrations/0002_price.py": MIGRATION.format([("tea", "0001_initial")])}
    site.push_from_elsewhere({"tea/static/site.css": "site 2", **migration})
    says(refused(site, "update", code=5), "tea.0002_price", "python manage.py migrate")
    assert site.json("update", env={"RELEASER_MIGRATIONS": "run"})["result"] == "updated"
    assert "[ ]" not in site.releaser("run", "--", "python", "manage.py", "showmigrations", cwd=site.path).stdout
    assert public(site) == {"site.css": "site 2", "alpha.css": "1.1.0"}
    silent(site.releaser("update"))
    site.releaser("rollback", check=0)
    assert (site.version("django"), public(site)) == ("5.2.8", {"site.css": "site 1", "alpha.css": "1.0.1"})
    in_the_way = site.outer / "public/site.css"
    in_the_way.unlink()
    in_the_way.mkdir()
    (in_the_way / "of a person").touch()
    os.utime(in_the_way, (time.time() + 3600,) * 2)
    site.push_from_elsewhere({"tea/static/site.css": "site 3"})
    says(site.releaser("update", check=6), "site.css")
    shutil.rmtree(in_the_way)
    site.push_from_elsewhere({"tea/settings.py": "SECRET_KEY = 'no database, no static files'"})
    assert (site.json("update")["result"], site.json("status")["well"]) == ("updated", True)


MET_SETTINGS = ["manage.py has other settings than the service", "sodar-server #2251", "openprescribing #1091"]
MET_SETTINGS += ["cookiecutter-django #1786", "nixpkgs #38926"]
MET_BELOW = ["manage.py lies in a directory below", "django-template-lsp #29", "Django-manage.py-anywhere #2"]
MET_BELOW += ["heroku-buildpack-python #211"]
#: manage.py of developers, one directory down; the settings of the service, with its database and static files.
BELOW = {
    "src/manage.py": MANAGE_REAL.replace("tea.settings", "tea.local").replace(  # assigned: no variable changes that
        "execute_from_command_line()", "raise SystemExit(execute_from_command_line())"
    ),
    "src/tea/local.py": SETTINGS.replace("db.sqlite3", "dev.sqlite3").replace('"public"', '"dev"'),
    "src/tea/live.py": SETTINGS.replace("parents[2]", "parents[3]") + "import atexit\natexit.register(print, 'bye')\n",
    "src/tea/wsgi.py": """\
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tea.live")
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
""",
    **dict.fromkeys(("src/tea/__init__.py", "src/tea/migrations/__init__.py"), ""),
    "src/tea/migrations/0001_initial.py": MIGRATION.format([]),
    "src/tea/static/site.css": "site 1",
}
#: A storage of files elsewhere, which cannot be read.
BUCKET = """\
from django.core.files.storage import FileSystemStorage
from tea.live import OUTER
class Bucket(FileSystemStorage):
    def __init__(self):
        super().__init__(OUTER / "bucket", "/static/")
    def _open(self, name, mode="rb"):
        raise NotImplementedError("a bucket that may only be written")
"""


def add_migration(number: int) -> dict[str, str]:
    """Return the file of a further migration."""
    return {
        f"src/tea/migrations/000{number}_x.py": MIGRATION.format(
            [("tea", f"000{number - 1}_{'initial' if number == 2 else 'x'}")]
        )
    }


def applied(site: SampleSite) -> list[str]:
    """Return the migrations that the database of the service has."""
    with contextlib.closing(sqlite3.connect(site.outer / "db.sqlite3")) as database:
        return [
            name for (name,) in database.execute("select name from django_migrations where app = 'tea' order by id")
        ]


@pytest.mark.met(*MET_SETTINGS)
@pytest.mark.met(*MET_BELOW)
@pytest.mark.network
@pytest.mark.slow
def test_law_41_real_django_is_asked_with_the_settings_of_the_service(make_site: SiteFactory) -> None:
    """Its manage.py lies one directory down, and has the settings of developers."""
    site = make_django(make_site, BELOW)
    for command in ("migrate", "collectstatic"):
        site.run(site.link / "bin/python", "src/manage.py", command, "--noinput", "--settings", "tea.live")
    says(site.releaser("check", check=0), "`tea.local`, the service has `tea.live`, by src/tea/wsgi.py")
    site.releaser("init", check=0)
    live = site.releaser("check", "--live", check=0)
    says(live, "`tea.live`, by src/tea/wsgi.py", "sqlite3, ", f"{site.outer}/db.sqlite3", f"{site.outer}/public")
    tests = "from django.test import TestCase\nclass Tea(TestCase):\n    def test(self):\n        print('brewed')\n"
    news = {"src/tea/static/new.css": "new", "src/tea/tests.py": tests, **add_migration(2)}
    site.push_from_elsewhere(news, remove="run_tests.py")  # then those of Django run
    finished = refused(site, "update", code=5)
    found = re.search("`releaser (run --release [^`]+)`", finished.stderr)
    assert found is not None, str(finished)
    assert applied(site) == ["0001_initial"]
    site.releaser(
        found[1], cwd=site.path, project=None, check=0
    )  # from its own tree, as the commit is not in the checkout
    assert applied(site) == ["0001_initial", "0002_x"]
    assert (site.json("update")["result"], public(site)["new.css"]) == ("updated", "new")
    assert "brewed" in (site.release() / "tests.log").read_text("utf-8")
    assert not (site.outer / "dev.sqlite3").exists()
    assert not (site.outer / "dev").exists()

    site.push_from_elsewhere({"src/tea/wsgi.py": f"{BELOW['src/tea/wsgi.py']}from tea import latte\n"})
    with no_change(site):
        says(site.releaser("update", check=5), "cannot be imported: ImportError: cannot import name 'latte'")
    site.push_from_elsewhere({"src/tea/wsgi.py": BELOW["src/tea/wsgi.py"], **add_migration(3)})
    site.write_dotenv(migrations="run", restart="sh -c 'test ! -e src/tea/migrations/0003_x.py'")
    says(site.releaser("update", check=6), "does not undo these migrations, if they were applied: tea.0003_x")
    assert applied(site)[-1:] == ["0003_x"]
    assert not (site.path / "src/tea/migrations/0003_x.py").exists()


@pytest.mark.met("static files in a bucket", "cookiecutter-django #1786")
@pytest.mark.network
@pytest.mark.slow
def test_law_41_a_storage_elsewhere_is_left_to_django(make_site: SiteFactory) -> None:
    storage = "STORAGES = {'staticfiles': {'BACKEND': 'bucket.Bucket'}}\n"
    site = make_django(
        make_site, BELOW | {"src/bucket.py": BUCKET, "src/tea/live.py": BELOW["src/tea/live.py"] + storage}
    )
    site.run(site.link / "bin/python", "src/manage.py", "migrate", "--settings", "tea.live")
    site.releaser("init", check=0)
    for version in ("1.1.0", "1.2.0"):
        site.publish("alpha", version, modules={"alpha/__init__.py": "", "alpha/static/alpha.css": version})
        assert site.json("update")["result"] == "updated"
        assert (site.outer / "bucket/alpha.css").read_text("utf-8") == version


WSGI = "import django\napplication = django\n"
NO_MODULE = f"{WSGI}import no_such_module\n"
NO_DRIVER = "class ImproperlyConfigured(Exception): pass\nraise ImproperlyConfigured('Error loading psycopg2 module')"
#: Fails with other words each time: a number, an address, a path outside the project.
IN_PLACE = f"import os, pathlib\n{WSGI}place = pathlib.Path(__file__).parents[2]\n"
IN_PLACE += "raise RuntimeError(f'{os.getpid()} of {object()} in {place}')\n"
IMPORTS = {  # wsgi.py of the live release and that of the candidate, the exit code of the update, what it says
    "the candidate": (WSGI, NO_MODULE, 5, "conf/wsgi.py cannot be imported: ModuleNotFoundError: No module named 'no_"),
    "both": (NO_MODULE, NO_MODULE, 0, ""),  # said as the first one went live
    "each for itself": (
        NO_MODULE,
        f"{WSGI}import another\n",
        5,
        "conf/wsgi.py cannot be imported: ModuleNotFoundError",
    ),
    "an exit": (WSGI, f"{WSGI}raise SystemExit(0)\n", 5, "conf/wsgi.py cannot be imported: SystemExit: 0"),
    "no application": (WSGI, "import django\n", 5, "has no attribute 'application'"),
    "in a place": (IN_PLACE, IN_PLACE, 0, "conf/wsgi.py cannot be imported here"),
    "a variable": (WSGI, f"import os\n{WSGI}os.environ['NEW_KEY']\n", 0, "'NEW_KEY'. Put the variables of the service"),
    "a key": (WSGI, f"{WSGI}{{}}['NAME']\n", 5, "conf/wsgi.py cannot be imported: KeyError: 'NAME'"),
    "a driver": (WSGI, f"{WSGI}{NO_DRIVER}\n", 5, "Error loading psycopg2"),
    "another file that it uses": (
        "from conf.app import application\n",
        NO_MODULE,
        5,
        "conf/wsgi.py cannot be imported: M",
    ),
    "a new file": ("", NO_MODULE, 0, "conf/wsgi.py cannot be imported here"),
    "off": (WSGI, NO_MODULE, 0, ""),
}


@pytest.mark.parametrize("case", mostly_slow(IMPORTS, "the candidate"))
def test_law_03_41_the_application_of_a_candidate_is_imported(make_site: SiteFactory, case: str) -> None:
    """Not for a candidate whose application fails as the live one does: it may need what only its server has."""
    old, new, status, said = IMPORTS[case]
    site = make_site.live(**SITE | {"files": FILES | {"conf/wsgi.py": old, "conf/app.py": WSGI}})
    site.write_dotenv(smoke="off" if case == "off" else "auto", shadow="off" if case == "in a place" else "auto")
    site.push_from_elsewhere({"conf/wsgi.py": new, "static/site.css": "site 2"})
    finished = site.releaser("update", check=status)
    says(finished, said)
    assert ("cannot be imported" in finished.stderr) == bool(said) or case == "no application"
    assert public(site)["site.css"] == ("site 1" if status else "site 2")
    log = (site.release() / "tests.log").read_text("utf-8")
    assert ("cannot be imported here, so updates go on without that test" in log) == (
        case in ("both", "each for itself", "in a place", "a variable", "a new file")
    )
    if case in ("in a place", "a variable"):
        site.push_from_elsewhere({"static/site.css": "site 3"})
        assert "cannot be imported" not in site.releaser("update", check=0).stderr  # said once


@pytest.mark.slow
def test_law_03_an_application_that_moves_is_imported_at_its_new_place(make_site: SiteFactory) -> None:
    site = make_site.live(**SITE | {"files": FILES | {"conf/wsgi.py": WSGI}})
    site.push_from_elsewhere({"web/wsgi.py": NO_MODULE}, remove="conf/wsgi.py")
    says(refused(site, "update", code=5), "web/wsgi.py cannot be imported: ModuleNotFoundError")


@pytest.mark.slow
@pytest.mark.parametrize("wsgi", ["conf/wsgi.py", "wsgi.py"])
def test_law_20_an_application_that_nothing_serves_excuses_no_other(make_site: SiteFactory, wsgi: str) -> None:
    """Also where wsgi.py lies outside the directory of manage.py."""
    files = {"conf/asgi.py": NO_MODULE, wsgi: WSGI}
    files |= {f"src/{name}": text for name, text in files.items() if wsgi == "wsgi.py" and name != wsgi}
    site = make_site.live(**SITE | {"files": FILES | files | ({"src/manage.py": ""} if wsgi == "wsgi.py" else {})})
    site.push_from_elsewhere({wsgi: f"{WSGI}import another\n"})
    says(refused(site, "update", code=5), f" {wsgi} cannot be imported: ModuleNotFoundError: No module named 'another'")


@pytest.mark.slow
def test_law_26_a_different_failure_of_the_same_candidate_is_news(make_site: SiteFactory) -> None:
    site = make_site.live(**SITE)
    publish_django(site, {}, MIGRATIONS)
    says(site.releaser("update", check=5), "not applied: tea.0001_initial, tea.0002_price.")
    assert site.releaser("update", check=5).stderr == ""
    (site.outer / "applied").write_text(MIGRATIONS[0], encoding="utf-8")
    says(site.releaser("update", check=5), "not applied: tea.0002_price.")
    failed = next(iter(site.states()))
    make = "import shop, sqlite3; sqlite3.connect('new.db').execute('create table x (y)'); open('new.txt', 'w')"
    site.releaser("run", "--release", failed, "--", "python", "-c", make, cwd=site.path, check=0)
    assert [(site.path / name).is_file() for name in ("new.db", "new.txt")] == [True, False], "the site's new database"
    site.publish("alpha", "1.1.0", broken=True)
    site.releaser("update", check=5)
    finished = site.releaser("run", "--release", next(iter(site.states())), "--", "python", "manage.py", "migrate")
    assert finished.returncode == 3
    says(finished, "is no candidate that passed its tests")


@pytest.mark.slow
def test_law_28_a_database_in_a_large_directory_names_the_setting_for_it(make_site: SiteFactory) -> None:
    """SQLite in WAL mode writes to read."""
    ask = "import sqlite3\ndef showmigrations():\n    if os.path.exists('../var'):\n"
    ask += "        sqlite3.connect('../var/x.db').execute('select * from x')\n"
    site = make_site.live(**SITE | {"files": FILES | {"manage.py": MANAGE.replace("globals()[", f"{ask}\nglobals()[")}})
    (site.outer / "var").mkdir()
    site.run("python3", "-c", WAL, cwd=site.outer / "var")
    publish_django(site, {})
    says(refused(site, "update", code=4), "too large to copy", ": var.", "`shadow_copy`")
    site.write_dotenv(shadow_copy="var")
    site.releaser("update", check=0)


WAL = """
import pathlib, sqlite3
[pathlib.Path(f"upload{number}").touch() for number in range(2001)]
database = sqlite3.connect("x.db")
database.execute("pragma journal_mode=wal")
database.execute("create table x (y)")
database.close()
"""
