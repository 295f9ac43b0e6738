"""What starts the updates, with the real crontab of a user; and units for a user, which root alone writes."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.people import OWNER, STRANGER, People, made
from tests.support.commands import run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory
from tests.support.templates import Templates

OTHERS = "# mine\n\nMAILTO=ada@example.org\n  5 4 * * *  echo 100\\%\n"


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    with made() as found:
        yield found


@pytest.fixture(scope="module")
def owned(people: People, templates: Templates, everybodys: Path) -> SampleSite:
    site = SiteFactory(people.base, templates)()
    site.env["PATH"] = f"{everybodys / 'bin'}:{site.env['PATH']}"
    people.give(site, OWNER)
    return site


@pytest.fixture
def crontab(people: People) -> Iterator[Callable[..., str]]:
    """The program, for the crontab of the owner, with lines of the owner's; their crontab is empty at the end."""
    require(shutil.which("crontab"), "cron is not installed")

    def call(*words: str, text: str | None = None) -> str:
        env = {"PATH": "/usr/bin:/bin"}
        return run(["crontab", "-u", OWNER, *words], cwd=people.base, env=env, input=text).stdout

    call("-", text=OTHERS)
    yield call
    call("-r")


def test_the_line_is_in_the_crontab_of_the_owner_once_whoever_asks(
    people: People, owned: SampleSite, crontab: Callable[..., str]
) -> None:
    def cron(name: str, *words: str, check: int = 0) -> str:
        return people.by(name, owned, "schedule", "cron", *words, check=check).stdout

    planned = cron(OWNER, "--install", "--dry-run")
    assert crontab("-l") == OTHERS
    cron(OWNER, "--install")
    line = crontab("-l").removeprefix(OTHERS)
    assert line.strip() in planned
    assert cron(OWNER) == line
    again = json.loads(cron("root", "--install", "--json"))
    assert (crontab("-l"), again["changed"]) == (OTHERS + line, False)
    cron(STRANGER, "--install", check=3)
    cron("root", "--remove")
    assert crontab("-l") == OTHERS
    crontab("-r")
    cron(OWNER, "--install")
    cron(OWNER, "--remove")
    assert not crontab("-l")


def test_mail_settings_of_the_line_move_to_where_commands_by_hand_find_them(
    people: People, owned: SampleSite, crontab: Callable[..., str]
) -> None:
    line = people.by(OWNER, owned, "schedule", "cron", check=0).stdout
    *when, command = line.split(" ", 5)
    settings = "RELEASER_SMTP_HOST=mail.example.org RELEASER_SMTP_PASSWORD='correct horse'"
    by_hand = f"{OTHERS}{' '.join(when)} {settings} {command}"
    crontab("-", text=by_hand)
    env_file = owned.outer / ".env"
    before = env_file.read_text()
    env_file.chmod(0o644)
    refused = people.by(OWNER, owned, "schedule", "cron", "--install", check=3)
    assert f"chmod 600 {env_file}" in refused.stderr
    assert (crontab("-l"), env_file.read_text()) == (by_hand, before)
    env_file.chmod(0o600)
    planned = people.by(OWNER, owned, "schedule", "cron", "--install", "--dry-run", check=0).stdout
    assert "RELEASER_SMTP_HOST, RELEASER_SMTP_PASSWORD" in planned
    assert "correct horse" not in planned
    people.by(OWNER, owned, "schedule", "cron", "--install", check=0)
    assert crontab("-l") == OTHERS + line
    moved = "RELEASER_SMTP_HOST='mail.example.org'\nRELEASER_SMTP_PASSWORD='correct horse'\n"
    assert env_file.read_text() == before + moved
    env_file.write_text(before)


def test_units_are_those_of_the_owner_or_of_the_system_for_root(people: People, owned: SampleSite) -> None:
    def units(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(people.by(name, owned, "schedule", "systemd", "--json", check=0).stdout)
        return found

    by_root, own = units("root"), units(OWNER)
    service = next(text for path, text in by_root["units"].items() if path.endswith(".service"))
    assert all(path.startswith("/etc/systemd/system/releaser-") for path in by_root["units"])
    assert f"User={OWNER}\n" in service
    assert f"ReadWritePaths={owned.outer} -" in service
    assert all(path.startswith(f"{people.of(OWNER).pw_dir}/.config/systemd/user/") for path in own["units"])
    assert not any("User=" in text for text in own["units"].values())
    assert "loginctl enable-linger" in " ".join(own["advice"])
