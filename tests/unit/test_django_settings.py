"""manage.py, and the settings module that the service runs with, by the files of a project."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from releaser.live.uv_run import list_uv_runs, replace_uv_run
from releaser.site import django
from releaser.site.django import advise_on_variables, find_django, find_problems, list_hints
from releaser.site.settings import load_settings
from releaser.site.site import Site
from tests.unit.samples import make_site

LOCAL = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "conf.local")\n'
LIVE = "import django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'conf.live')\n"
OTHER = "import django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'conf.other')\n"
FIXED = "import django\nos.environ['DJANGO_SETTINGS_MODULE'] = 'conf.fixed'\n"
BRANCHES = f"if staging():\n    {FIXED[14:].replace('fixed', 'other')}else:\n    {FIXED[14:]}# django"
DEFAULTS = f"if staging():\n    {OTHER[14:]}else:\n    {LIVE[14:]}# django"
SILENT = FIXED.replace("os.", "# os.")
COMPUTED = "import django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', choose())\n"
UNIT = "[Service]\nWorkingDirectory=PROJECT\nEnvironment=DJANGO_SETTINGS_MODULE=conf.unit\n"
WORKS = "[Service]\nWorkingDirectory=PROJECT\n;Environment=DJANGO_SETTINGS_MODULE=conf.comment\n"
FILE = f"{WORKS}EnvironmentFile=-PROJECT/../units/a.env\n"
GIVEN = "DJANGO_SETTINGS_MODULE='conf.given'\n"


def site_of(base: Path, files: Mapping[str, str], **settings: Any) -> Site:
    """Return a site with these files; those below `units` are systemd's."""
    for name, text in files.items():
        path = base / ("" if name.startswith("units/") else "shop") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("PROJECT", str(base / "shop")), encoding="utf-8")
    site = make_site(load_settings({}, {}, settings)[0])
    return msgspec.structs.replace(site, paths=msgspec.structs.replace(site.paths, project=base / "shop"))


@pytest.mark.parametrize(
    ("files", "settings", "manage", "module", "said"),
    [
        ({"manage.py": LOCAL, "wsgi.py": LIVE}, {}, "manage.py", "conf.live", "`conf.local`, the service has `conf.l"),
        ({"manage.py": LIVE, "conf/wsgi.py": LIVE, "conf/asgi.py": LIVE}, {}, "manage.py", "conf.live", ""),
        ({"src/manage.py": LOCAL, "src/conf/asgi.py": LIVE}, {}, "src/manage.py", "conf.live", "src/manage.py has"),
        ({"manage.py": LOCAL, "src/manage.py": LIVE, "wsgi.py": LOCAL}, {}, "manage.py", "conf.local", ""),
        ({"manage.py": LOCAL, "wsgi.py": SILENT + LIVE}, {}, "manage.py", "conf.live", "by wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE + FIXED}, {}, "manage.py", "conf.fixed", "by wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": UNIT}, {}, "manage.py", "conf.unit", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": UNIT.replace("PROJECT", "PROJECT2")}, {},
         "manage.py", "conf.live", "by wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": FILE, "units/a.env": GIVEN}, {},
         "manage.py", "conf.given", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": FILE}, {}, "manage.py", "conf.live", "a.env of the"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": WORKS, "units/a.service.d/x.conf": UNIT}, {},
         "manage.py", "conf.unit", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": UNIT, "units/a.service.d/x.conf":
          UNIT.replace("unit", "other")}, {}, "manage.py", "conf.other", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": UNIT, "units/b.service": UNIT.replace("unit", "other")
          }, {}, "manage.py", "", "`conf.other` in"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": f"{UNIT}Environment=OLD_DJANGO_SETTINGS_MODULE=x\n"},
         {}, "manage.py", "conf.unit", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service":
          f"{UNIT}ExecStopPost=/usr/bin/env DJANGO_SETTINGS_MODULE=x sh\n"}, {}, "manage.py", "conf.unit", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "units/a.service": FILE, "units/a.env": GIVEN,
          "units/a.service.d/x.conf": "[Service]\nEnvironmentFile=\nEnvironment=DJANGO_SETTINGS_MODULE=conf.unit\n"},
         {}, "manage.py", "conf.unit", "a.service"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE.replace("live", "local"), "passenger_wsgi.py": LIVE}, {}, "manage.py",
         "conf.live", "by passenger_wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "gunicorn.conf.py": 'raw_env = ["DJANGO_SETTINGS_MODULE=conf.unit"]'},
         {}, "manage.py", "conf.unit", "by gunicorn.conf.py"),
        ({"manage.py": LOCAL, "wsgi.py": FIXED}, {"django_settings": "mine"}, "manage.py", "mine", "`django_settings`"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "asgi.py": OTHER}, {}, "manage.py", "", "`conf.other` in asgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": BRANCHES}, {}, "manage.py", "", "`conf.other` in wsgi.py"),
        ({"manage.py": FIXED, "wsgi.py": BRANCHES}, {}, "manage.py", "", "`conf.other` in wsgi.py"),
        ({"manage.py": LIVE, "wsgi.py": LIVE, "asgi.py": OTHER}, {}, "manage.py", "", "`conf.other` in asgi.py"),
        ({"manage.py": LIVE, "wsgi.py": DEFAULTS}, {}, "manage.py", "", "`conf.other` in wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE, "asgi.py": LIVE.replace("live", "local")}, {}, "manage.py", "conf.live",
         "by wsgi.py"),
        ({"manage.py": LOCAL, "wsgi.py": COMPUTED}, {}, "manage.py", "", "as wsgi.py computes them"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE.replace("live'", "' + name")}, {}, "manage.py", "", "computes them"),
        ({"manage.py": LOCAL, "wsgi.py": FIXED.replace("\n", " + name\n")}, {}, "manage.py", "", "computes them"),
        ({"manage.py": LOCAL, "wsgi.py": FIXED.replace("\n", " if a() else 'b'\n")}, {}, "manage.py", "", "computes"),
        ({"manage.py": LOCAL, "wsgi.py": LIVE.replace(")", ",  # live\n)")}, {}, "manage.py", "conf.live", "by wsgi"),
        ({"manage.py": LOCAL, "wsgi.py": FIXED.replace("\n", "  # fixed\n")}, {}, "manage.py", "conf.fixed", "by wsgi"),
        ({"manage.py": LOCAL, "wsgi.py": COMPUTED, "units/a.service": UNIT.replace("conf.unit", "conf.%i")}, {},
         "manage.py", "", "computes them"),
        ({"manage.py": LOCAL, ".venv/wsgi.py": LIVE, "env/pyvenv.cfg": "", "env/wsgi.py": LIVE}, {}, "manage.py", "",
         "No wsgi.py"),
        ({"wsgi.py": LIVE}, {}, "None", "conf.live", "No manage.py was found: migrations are not asked"),
        ({"a/manage.py": LOCAL, "b/manage.py": LOCAL, "wsgi.py": LIVE}, {}, "None", "conf.live", "a/manage.py, b/man"),
        ({"a/manage.py": LOCAL, "b/manage.py": LIVE, "wsgi.py": LIVE}, {"manage_py": "b/manage.py"}, "b/manage.py",
         "conf.live", ""),
        ({"wsgi.py": LIVE}, {"migrations": "ignore", "collectstatic": "off"}, "None", "conf.live", ""),
    ],
)  # fmt: skip
def test_law_41_the_settings_of_the_service_are_found_or_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    settings: dict[str, str],
    manage: str,
    module: str,
    said: str,
) -> None:
    monkeypatch.setattr(django, "_UNITS", (tmp_path / "units",))
    site = site_of(tmp_path, files, **settings)
    found, hints = find_django(site, site.paths.project), " ".join(list_hints(site))
    assert (str(found.manage), found.settings) == (manage, module)
    problems = [problem.message for problem in find_problems(site)]
    if said.startswith("`conf.other` in"):
        assert said in problems[0]
    else:
        assert (said in hints and bool(hints) == bool(said), problems) == (True, []), hints


def test_a_manage_py_that_is_set_has_to_exist(tmp_path: Path) -> None:
    site = site_of(tmp_path, {"manage.py": LOCAL}, manage_py="src/manage.py")
    assert [problem.name for problem in find_problems(site)] == ["no-manage-py"]


@pytest.mark.parametrize(
    ("files", "imported"),
    [
        (["conf/wsgi.py", "conf/asgi.py", "manage.py"], {"conf/wsgi.py": ".", "conf/asgi.py": "."}),
        (["src/manage.py", "src/conf/wsgi.py", "passenger_wsgi.py"], {"src/conf/wsgi.py": "src"}),
        (["src/manage.py", "deploy/wsgi.py", "wsgi.py"], {"wsgi.py": "."}),
        (["manage.py", "passenger_wsgi.py"], {}),
    ],
)
def test_the_applications_are_found(tmp_path: Path, files: list[str], imported: dict[str, str]) -> None:
    site = site_of(tmp_path, dict.fromkeys(files, LIVE))
    found = find_django(site, site.paths.project).imported
    assert {str(path): place for path, place in found.items()} == imported
    assert ("No wsgi.py" in " ".join(list_hints(site))) == (not imported)


FRAME = '  File "/srv/shop/conf/live.py", line 3, in <module>\n    KEY = keys["NEW_KEY"]\n'
GET = 'File "{}", line 679, in __getitem__\n'
CONFIGURED = "django.core.exceptions.ImproperlyConfigured: "


@pytest.mark.parametrize(
    ("output", "has_advice"),
    [
        (f"{FRAME}  {GET.format('<frozen os>')}KeyError: 'NEW_KEY'\n", True),
        (f"{FRAME}  {GET.format('/usr/lib/python3.9/os.py')}    raise KeyError(key) from None\nKeyError: 'key'", True),
        (f"{CONFIGURED}Set the NEW_KEY environment variable", True),
        (f"{CONFIGURED}The SECRET_KEY setting must not be empty.", True),
        ("decouple.UndefinedValueError: NEW_KEY not found. Declare it as envvar or define a default value.", True),
        (f"{FRAME}KeyError: 'NEW_KEY'", False),
        (f"  {GET.format('<frozen os>')}{FRAME}KeyError: 'NEW_KEY'", False),
        (f"{FRAME}  {GET.format('/srv/shop/macos.py')}KeyError: 'NEW_KEY'", False),
        (f"{CONFIGURED}Error loading psycopg2 or psycopg module", False),
        ("    raise envvar\nModuleNotFoundError: No module named 'price'", False),
        ("SystemExit: 0", False),
        ("ModuleNotFoundError: No module named 'envvars'", False),
        ("You must either define the environment variable DJANGO_SETTINGS_MODULE or call settings.configure()", False),
    ],
)
def test_an_error_that_a_variable_may_cure_names_the_file_for_it(output: str, has_advice: bool) -> None:
    assert ("`environment_file`" in advise_on_variables(output)) == has_advice


@pytest.mark.parametrize(
    "line",
    [
        "uv run | gunicorn shop.wsgi",
        "ExecStart=/usr/bin/uv run | --frozen gunicorn -b :80 s.wsgi",
        "ExecStart=-/usr/bin/uv run | \\",
        "sh -c 'cd /srv && exec uv run | --frozen python serve.py' > log 2>&1 &",
        'ExecStart=/bin/bash -c "~/.local/bin/uv run | serve"',
        "uv run | --env-file .env --with gevent --directory src sh start.sh",
        "uv --quiet run | --group prod --extra=web -p 3.12 -- uvicorn a:b",
        "uv --directory /srv/shop --project=. -q run | gunicorn shop",
        "env UV_NO_SYNC=0 uv run | gunicorn shop",
        "uv run --no-sync gunicorn shop",
        "env UV_NO_SYNC=true uv run gunicorn shop",
        "uv run --isolated x",
        "uv run --script x.py",
        "uv --quiet tool run x",
        "uvx gunicorn",
        "nuv run x",
        "my-uv run x",
        "uv sync",
        "uv run",
        ".venv/bin/gunicorn shop.wsgi",
    ],
)
def test_a_line_with_uv_run_gets_no_sync_where_it_syncs(line: str) -> None:
    """At the bar, if there is one."""
    assert replace_uv_run(line.replace(" |", "")) == (line.replace("|", "--no-sync") if "|" in line else "")


def test_units_that_sync_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = "[Service]\nWorkingDirectory=PROJECT\n{}ExecStart=/usr/bin/uv \\\n  run x\n"
    quiet = "Environment=UV_NO_SYNC=1\n"
    files = {"units/a.service": unit.format(""), "units/b.service": unit.format(quiet)}
    files |= {"units/c.service": unit.format(""), "units/c.service.d/x.conf": "[Service]\nExecStart=\nExecStart=x\n"}
    monkeypatch.setattr(django, "_UNITS", (tmp_path / "units",))
    [problem] = list_uv_runs(site_of(tmp_path, files))
    assert problem.message.startswith(f"{tmp_path}/units/a.service starts")
    assert problem.advice.endswith("run --no-sync x`.")


def test_a_line_with_a_secret_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = "[Service]\nWorkingDirectory=PROJECT\nExecStart=/usr/bin/uv run x --password=hidden-1 -v\n"
    monkeypatch.setattr(django, "_UNITS", (tmp_path / "units",))
    [problem] = list_uv_runs(site_of(tmp_path, {"units/a.service": unit}))
    assert problem.advice == "Write `uv run --no-sync` there."
