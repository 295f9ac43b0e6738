"""The environment file: what the site's service gets reaches whatever asks about the site."""

import json
import sqlite3
from typing import Any

import pytest

from tests.e2e.scenes import during_tests, mostly_slow, refused, says
from tests.support.servers import WAITING_TESTS
from tests.support.sites import SampleSite, SiteFactory

PASSWORD = "pa${ss} # 'word"
#: Another name for a variable, quotes, references; and what no program gets from the file.
FILE = """\
export SERVICE="tea house"
DB_PASSWORD="pa${ss} # 'word"
DATABASES_JSON='{"default": {"TOKEN": "a-token-in-json"}}'
BASE=/srv
LOGS=${BASE}/logs${NOTHING:-}
SITE_DEBUG=off
PATH=/nowhere
VIRTUAL_ENV=/nowhere
UV_CACHE_DIR=/nowhere
RELEASER_KEEP=3
AUTO_UPDTR__UV_PATH=/nowhere
"""
GOT = {"SERVICE": "tea house", "DB_PASSWORD": PASSWORD, "BASE": "/srv", "LOGS": "/srv/logs", "SITE_DEBUG": "off"}
#: Plays Django, hooks and commands: notes where it runs and what it gets. The password is in what a failure prints.
PROGRAM = """\
import json, os, sys
with open(os.environ["SITE_RECORD"] + ".asked", "a") as file:
    file.write(json.dumps({"by": sys.argv[1], "cwd": os.getcwd(), "env": dict(os.environ)}) + "\\n")
if sys.argv[1] == "fail":
    sys.exit(f"no answer for {os.environ['DB_PASSWORD']} {os.environ['DATABASES_JSON']}")
"""
COMMANDS = ("before_build", "before_live", "health_check", "restart", "after_live")
ASKED = {*COMMANDS, "showmigrations", "collectstatic", "run"}
SITE: dict[str, Any] = {"packages": {"alpha": "1.0.0", "django": "5.0"}, "files": {"manage.py": PROGRAM}}


def settle(site: SampleSite, **settings: str) -> None:
    """Write the environment file, and name it."""
    (site.outer / "service.env").write_text(FILE, encoding="utf-8")
    site.write_dotenv(None, environment_file="../service.env", **settings)
    site.env["SITE_DEBUG"] = "on"


def asked(site: SampleSite) -> list[dict[str, Any]]:
    """Return who asked, where, and with which variables."""
    path = site.record.with_name(f"{site.record.name}.asked")
    return list(map(json.loads, path.read_text("utf-8").splitlines())) if path.exists() else []


def of_service(env: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name in GOT}


@pytest.mark.slow
@pytest.mark.parametrize("gets", mostly_slow(["off", "on"], "on"))
def test_law_41_the_environment_of_the_service_reaches_what_asks_about_the_site(
    make_site: SiteFactory, gets: str
) -> None:
    site = make_site.live(**SITE, due="1.1.0")
    settle(site, tests_get_environment_file=gets, **{name: f"python manage.py {name}" for name in COMMANDS})
    site.releaser("update", check=0)
    site.releaser("run", "--", "python", "manage.py", "run", check=0)  # from a directory that is no project
    seen = asked(site)
    assert {entry["by"] for entry in seen} == ASKED
    for entry in seen:
        env = entry["env"]
        assert (entry["cwd"], of_service(env)) == (str(site.path), GOT), entry
        assert not {"RELEASER_KEEP", "AUTO_UPDTR__UV_PATH"} & env.keys()
        assert "/nowhere" not in (env["VIRTUAL_ENV"], env["UV_CACHE_DIR"], *env["PATH"].split(":"))
    assert of_service(site.test_runs()[-1]["env"]) == (GOT if gets == "on" else {"SITE_DEBUG": "on"})


@pytest.mark.slow
def test_law_29_secrets_of_the_environment_file_are_not_shown(make_site: SiteFactory) -> None:
    site = make_site.live(**SITE, due="1.1.0")
    settle(site, after_live="python manage.py fail")
    finished = site.releaser("update", "-v", check=7)
    says(finished, "no answer for *** ")
    shown = [str(finished), *(str(site.releaser(command)) for command in ("status --json", "logs", "history"))]
    shown += [path.read_text("utf-8", "replace") for path in site.state.rglob("*") if path.suffix in (".json", ".log")]
    assert [text for text in shown if PASSWORD in text or "a-token-in-json" in text] == []


#: What is wrong with the file, and words of the refusal.
WRONG = {"missing": "does not exist", "for others": "Other users", "a directory": "is no file"}


@pytest.mark.slow
@pytest.mark.parametrize("how", WRONG)
def test_law_30_an_environment_file_that_cannot_be_used_is_refused(make_site: SiteFactory, how: str) -> None:
    site = make_site.live(**SITE, due="1.1.0")
    settle(site)
    path = site.outer / "service.env"
    path.chmod(0o666)
    if how != "for others":
        path.unlink()
    if how == "a directory":
        path.mkdir()
    for command in ("update", "run -- true"):
        says(refused(site, *command.split(" ", 1)), WRONG[how], "environment_file" if how == "missing" else path)


@pytest.mark.slow
def test_law_03_a_changed_environment_file_stops_the_run(make_site: SiteFactory) -> None:
    site = make_site.live(files={"site_tests.py": WAITING_TESTS}, due="1.1.0")
    settle(site)
    live = site.live()
    with during_tests(site, code=3) as update:
        (site.outer / "service.env").write_text(FILE + "MORE=1\n", encoding="utf-8")
    says(update.end(), "service.env` was changed")
    assert site.live() == live


@pytest.mark.slow
@pytest.mark.parametrize("shadow", mostly_slow(["auto", "off"], "off"))
def test_law_01_41_a_question_asks_the_service_s_database_and_makes_none(make_site: SiteFactory, shadow: str) -> None:
    manage = "import os, sqlite3, sys\nif sys.argv[1] == 'showmigrations':\n"
    manage += "    with sqlite3.connect(os.environ.get('DB_NAME', 'phantom.db')) as database:\n"
    manage += "        done = [row[0] for row in database.execute('SELECT name FROM sqlite_master')]\n"
    manage += "        database.execute('CREATE TABLE IF NOT EXISTS asked (id)')\n"
    manage += "    print('[X]' if 'applied' in done else '[ ]', ' tea.0001_initial')\n"
    site = make_site.live(packages={"alpha": "1.0.0", "django": "5.0"}, due="1.1.0")
    site.push_from_elsewhere({"manage.py": manage})
    database = site.outer / "tea.db"
    site.write_dotenv({"DB_NAME": str(database)}, shadow=shadow)
    says(refused(site, "update", code=5), "tea.0001_initial")
    assert not [*site.outer.glob("*.db"), *site.path.glob("*.db")]
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE applied (id)")
    connection.close()
    before = database.read_bytes()
    site.releaser("update", check=0)
    assert (database.read_bytes(), list(site.path.glob("*.db"))) == (before, [])
