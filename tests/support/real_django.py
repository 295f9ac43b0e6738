"""A sample site with the real Django: a shop, and a theme that is a package of its own."""

import os
import re
import select
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from filelock import FileLock

from tests.support.commands import Finished, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.wheels import build_wheel

DJANGO = "django==5.2.8"
MANIFEST_STORAGE = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
PLAIN_STORAGE = "django.contrib.staticfiles.storage.StaticFilesStorage"
BUCKET = "shop.storage.Bucket"
# Most of the wheel's files, none of which the sites need: each release is copied, compiled and hashed file by file.
_NEEDLESS = re.compile(
    r"django/(contrib/(?!staticfiles/).+/|conf/locale/(?!en/).+/|db/backends/(mysql|oracle|postgresql)/|conf/\w+_template/"
    r"|forms/(jinja2|templates)/)"
)

_MANAGE = """\
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
_SETTINGS = """\
from pathlib import Path
{begin}
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "the many words of this key, 0123456789, are for the check of it, which wants fifty"
ALLOWED_HOSTS = ["shop.example.org"]
INSTALLED_APPS = ["django.contrib.staticfiles", "theme", "shop"]
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": {database}}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
STATIC_URL = "/static/"
STATIC_ROOT = {static_root}
STORAGES = {{"staticfiles": {{"BACKEND": "{storage}"}}}}
"""
_TESTS = """\
from django.test import TestCase

class Shop(TestCase):
    def test_it_is_open(self):
        self.assertTrue(True)
"""
# A storage that is not on this computer has no paths.
_STORAGE = """\
from pathlib import Path
from django.core.files.storage import Storage

BUCKET = Path(__file__).resolve().parent.parent.parent / "bucket"

class Bucket(Storage):
    def exists(self, name):
        return (BUCKET / name).exists()
    def delete(self, name):
        (BUCKET / name).unlink()
    def get_modified_time(self, name):
        raise NotImplementedError
    def _save(self, name, content):
        (BUCKET / name).parent.mkdir(parents=True, exist_ok=True)
        (BUCKET / name).write_bytes(content.read())
        return name
"""
_MIGRATION = """\
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = {dependencies!r}
    operations = [migrations.RunPython(migrations.RunPython.noop, migrations.RunPython.noop)]
"""
# Says at each line of its input where the style sheet is, as a page of this process would.
_PROCESS = """\
import sys
from django.templatetags.static import static
for line in sys.stdin:
    print("page:" + static("theme/style.css"), flush=True)
"""


def settings(
    *,
    static_root: str = 'BASE_DIR / "static_out"',
    storage: str = PLAIN_STORAGE,
    database: str = 'BASE_DIR.parent / "db.sqlite3"',
    begin: str = "",
    end: str = "",
) -> str:
    """Return the text of the site's settings; the paths are expressions."""
    text = _SETTINGS.format(static_root=static_root, storage=storage, database=database, begin=begin)
    return text + end


def migration(*dependencies: tuple[str, str]) -> str:
    """Return a migration that changes nothing."""
    return _MIGRATION.format(dependencies=list(dependencies))


def theme(version: str, *, migrations: int = 1, init: str = "") -> dict[str, str]:
    """Return the modules of a version of the theme, which has its number in its style sheet."""
    names = [f"{number:04}_step" for number in range(1, migrations + 1)]
    steps = {
        f"theme/migrations/{name}.py": migration(*([("theme", names[number - 1])] if number else []))
        for number, name in enumerate(names)
    }
    return {
        "theme/__init__.py": f'__version__ = "{version}"\n{init}',
        "theme/migrations/__init__.py": "",
        "theme/static/theme/style.css": style(version),
        **steps,
    }


def style(version: str) -> str:
    """Return the style sheet of a version; all are of one length."""
    return f"body {{ content: '{version}' }}\n"


class DjangoSite:
    """A sample site with the real Django, its first release live."""

    def __init__(self, site: SampleSite) -> None:
        self.site = site
        self.static = site.path / "static_out"
        self.database = site.outer / "db.sqlite3"

    def publish(self, version: str, **options: Any) -> None:
        """Offer a version of the theme; the options are those of `theme`."""
        self.site.publish("theme", version, modules=theme(version, **options))

    def manage(self, *words: str, python: str | Path = "", check: int | None = 0) -> Finished:
        """Run manage.py with the live interpreter, or another."""
        program = python or self.site.link / "bin" / "python"
        return run([program, "manage.py", *words], cwd=self.site.path, env=self.site.env, check=check)

    def page(self) -> str:
        """Return where a page of a process that starts now has the style sheet."""
        with Process(self) as process:
            return process.page()

    def file(self, url: str) -> Path:
        """Return the file that the web server sends for a static URL."""
        return self.static / url.removeprefix("/static/")


class Process:
    """A process of the site that stays, with what it had loaded when it was started."""

    def __init__(self, django: DjangoSite) -> None:
        self._process = subprocess.Popen(
            [django.site.link / "bin" / "python", "manage.py", "shell", "-c", _PROCESS],
            cwd=django.site.path,
            env=django.site.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # else lines could wait in a buffer that select knows nothing of
        )
        self.page()  # its manifest is loaded now

    def page(self) -> str:
        """Ask for the page."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        while True:
            assert select.select([self._process.stdout], [], [], 60)[0], "the process does not answer"
            line = self._process.stdout.readline().decode()
            assert line, "the process has ended"
            if line.startswith("page:"):
                return line.removeprefix("page:").strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="session")
def django_wheels(uv_cache: Path) -> Path:
    """Return a directory with the wheels of Django, all that it needs, and the theme; all workers share it."""
    directory = uv_cache.with_name("django-wheels")
    with FileLock(f"{directory}.lock"):
        if not directory.exists():
            _download(directory)
    return directory


def _download(directory: Path) -> None:
    words = f"-m pip download --quiet --only-binary :all: --dest {directory} {DJANGO}".split()
    finished = run([sys.executable, *words], cwd=directory.parent, env=os.environ, timeout=300)
    require(finished.returncode == 0, f"the package index must be within reach\n{finished}")
    (wheel,) = directory.glob("django-*.whl")
    _leave_out_what_is_needless(wheel)
    build_wheel(directory, "tzdata", "2025.2")  # Windows would need it, and a lock is for every system
    build_wheel(directory, "theme", "1.0.0", requires=["django"], modules=theme("1.0.0"))


def _leave_out_what_is_needless(wheel: Path) -> None:
    smaller = wheel.with_suffix(".smaller")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(smaller, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("/RECORD"):
                content = b"".join(line for line in content.splitlines(True) if not _NEEDLESS.match(line.decode()))
            if not _NEEDLESS.match(name):
                new.writestr(name, content)
    smaller.replace(wheel)


class DjangoFactory:
    """Makes such sites, each with its first release."""

    def __init__(self, make_site: SiteFactory, wheels: Path) -> None:
        self._make_site = make_site
        self._wheels = wheels

    def __call__(
        self,
        settings_text: str = "",
        *,
        dotenv: Mapping[str, str | None] | None = None,
        migrated: bool = True,
        **options: Any,
    ) -> DjangoSite:
        """Make a site with these settings; its database is `migrated`, unless there shall be none.

        `dotenv` is there for the first release only if there are settings: one with the usual ones is copied.
        """
        first = dotenv or {} if settings_text else {}

        text = settings_text or settings()
        key = ("django", text, repr(first), migrated, repr(options))
        site = self._make_site.copied(key, lambda factory: self._make(factory, text, first, migrated, options))
        if dotenv and not settings_text:
            site.write_dotenv(dotenv)
        return DjangoSite(site)

    def _make(
        self,
        factory: SiteFactory,
        settings_text: str,
        dotenv: Mapping[str, str | None],
        migrated: bool,
        options: Mapping[str, Any],
    ) -> SampleSite:
        files = {
            "manage.py": _MANAGE,
            "shop/__init__.py": "",
            "shop/settings.py": settings_text,
            "shop/storage.py": _STORAGE,
            "shop/tests.py": _TESTS,
        }
        site = factory(
            packages={}, dependencies=["django", "theme"], groups={}, wheels=str(self._wheels), files=files,
            dotenv={"RELEASER_ENVIRONMENT": "local", **dotenv}, **options,
        )  # fmt: skip
        site.releaser("init", check=0)
        if migrated:
            DjangoSite(site).manage("migrate")
        return site


@pytest.fixture
def make_django(make_site: SiteFactory, django_wheels: Path) -> DjangoFactory:
    """Give the means to make sites with the real Django."""
    return DjangoFactory(make_site, django_wheels)
