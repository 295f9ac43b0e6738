"""What people, cron and log files hear of a run, and what nobody may hear."""

import os
import re
from collections.abc import Mapping

import pytest

from tests.e2e.scenes import everything_said, on_terminal
from tests.support.sites import SampleSite, SiteFactory
from tests.support.smtp import PASSWORD, USER, Behaviour, mail_server

COLOUR = re.compile(r"\x1b\[[0-9;]*[1-9][0-9;]*m")
SECRET = "hunter2-of-the-index"
CHATTY_TESTS = "import os, sys\nprint(sorted(os.environ.items()))\nsys.exit(1)\n"


def shown(site: SampleSite, *words: str, status: int = 0, env: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Run releaser on a terminal; return what it shows with its colours, and without."""
    code, text = on_terminal(site, *words, env=env)
    assert code == status
    return text, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def last_line(plain: str) -> str:
    return [line for line in plain.replace("\r", "\n").splitlines() if line.strip()][-1]


@pytest.mark.story
def test_a_terminal_shows_steps_changes_failures_and_a_last_line_and_the_log_has_everything(
    make_site: SiteFactory,
) -> None:
    site = make_site.adopted()
    _, plain = shown(site, "update")
    assert last_line(plain) == "releaser update: site: everything is up to date"
    old = [site.state_dir / "logs" / f"20200101T0000{number:02}Z-1.log" for number in range(40)]
    for number, log in enumerate(old):
        log.write_text("old", encoding="utf-8")
        os.utime(log, (number, number))
    site.publish("alpha", "1.1.0")
    text, plain = shown(site, "update")
    for name in ("preflight", "resolve", "build", "test", "flip", "collectstatic", "restart", "commit", "push"):
        assert re.search(rf"✓ {name} +\d+\.\d s", plain), name
    assert re.search(r"alpha +1\.0\.0 +1\.1\.0 +minor", plain)
    assert last_line(plain) == f"releaser update: site: updated to {site.live_id()}: 1 package changed"
    assert COLOUR.search(text)
    logs = sorted((site.state_dir / "logs").glob("*.log"))
    assert len(logs) == 30
    assert old[10] not in logs
    assert old[-1] in logs
    logged = logs[-1].read_text(encoding="utf-8")
    for words in ("DEBUG", "step build", "uv --no-progress", "test_packages ... ok", "push --quiet"):
        assert words in logged
    _, plain = shown(site, "list")
    assert site.live_id() in plain
    _, plain = shown(site, "prune", "--dry-run", env={"COLUMNS": "80"})
    assert re.search(rf"keep +{site.live_id()} +live", plain)
    assert max(map(len, plain.splitlines())) <= 80
    site.publish("alpha", "2.0.0", broken=True)
    _, plain = shown(site, "update", status=5, env={"RELEASER_CULPRITS": "off"})
    assert re.search(r"✗ test ", plain)
    assert "alpha 2.0.0 breaks the site" in plain
    assert "live: unchanged" in plain
    headline, advice = plain.replace("\r", "").rpartition("releaser update: ")[2].split("  what to do: ")
    assert "this update is the cause" in " ".join(headline.split())
    assert "not tried again" in " ".join(advice.split())


# Secrets


def said_of(site: SampleSite, *, check: int, env: Mapping[str, str] | None = None) -> str:
    finished = site.releaser("update", "--json", "-v", check=check, env=env)
    return everything_said(site, finished.stdout, finished.stderr)


@pytest.mark.story
def test_the_password_of_the_mail_server_and_of_the_environment_is_never_shown(make_site: SiteFactory) -> None:
    gossip = Behaviour(refuse=lambda _: True, rcpt_reply=f"550 I know that {USER} uses {PASSWORD}")
    with mail_server(gossip) as server:
        to = {"RELEASER_SMTP_HOST": "127.0.0.1", "RELEASER_SMTP_PORT": str(server.port)}
        secret = {"RELEASER_SMTP_PASSWORD": PASSWORD}
        site = make_site.adopted(files={"run_tests.py": CHATTY_TESTS}, dotenv={**to, **secret}, due="1.1.0")
        names = ("RELEASER_SMTP_PASSWORD", "UV_INDEX_PRIVATE_PASSWORD")
        passed = {
            **secret,
            "RELEASER_CULPRITS": "off",
            "UV_INDEX_PRIVATE_PASSWORD": SECRET,
            "RELEASER_TEST_ENVIRONMENT": ",".join(names),
        }
        said = said_of(site, check=5, env=passed)
    for name in names:
        assert f"'{name}', " in said  # the tests printed it
    assert "I know that releaser uses ***" in said
    assert PASSWORD not in said
    assert SECRET not in said


def test_credentials_of_an_index_are_never_shown(make_site: SiteFactory, dead_port: int) -> None:
    url = f"http://{SECRET}@127.0.0.1:{dead_port}/simple"
    site = make_site(venv=True, extra_toml=f'\n[[tool.uv.index]]\nname = "private"\nurl = "{url}"\n')
    text = (site.path / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace("no-index = true\n", "").replace('"beta"', '"beta", "ghost"')
    site.push_commit("Use the private index", {"pyproject.toml": text})
    said = said_of(site, check=4, env={"UV_HTTP_RETRIES": "0"})
    assert f"127.0.0.1:{dead_port}" in said
    assert SECRET not in said


def test_credentials_in_the_url_of_a_remote_are_never_shown(make_site: SiteFactory, dead_port: int) -> None:
    site = make_site.adopted(due="1.1.0")
    site.git("remote", "set-url", "origin", f"http://bot:{SECRET}@127.0.0.1:{dead_port}/shop.git")
    for pulls, code in (("true", 4), ("false", 7)):
        said = said_of(site, check=code, env={"RELEASER_GIT_PULL": pulls})
        assert f"127.0.0.1:{dead_port}" in said
        assert SECRET not in said
