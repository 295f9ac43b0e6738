"""Checkouts and remotes from which nothing may be built, as far as only real git tells; see the tests of preflight."""

from collections.abc import Iterator

import pytest

from releaser.system.words import strip_control
from tests.e2e.refusals import everything, locked_remote, on_controlling_terminal, refused, script, unfit
from tests.support.commands import git_executable, run
from tests.support.guards import require
from tests.support.sites import SampleSite, SiteFactory


@pytest.mark.story
def test_the_wrong_branch_and_untracked_files_are_refused_and_not_all_are_shown(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.git("switch", "--quiet", "--create", "feature/main")
    site.edit("\x1b[2Jlive: changed\n", "mine\n")
    for number in range(200):
        site.edit(f"file{number:03}", "mine\n")
    refusal = refused(site)
    refusal.says(site.path, "the checkout is on feature/main, not main", "git switch main", "`branch`")
    refusal.says("not clean", "live: changed", "file000", "196 more")
    assert len(refusal.problems) == 2
    assert not [text for text in ("\x1b", "\nlive: changed", "file100") if text in refusal.finished.stderr]


def test_a_pulled_commit_that_makes_the_project_unfit_is_taken_back(make_site: SiteFactory) -> None:
    site = make_site.adopted()
    site.push_from_elsewhere({"uv.lock": "garbage\n"})
    refused(site).says("uv.lock", "not a valid lock")
    site.push_from_elsewhere({"pyproject.toml": "[project\n"})
    refused(site).says("pyproject.toml", "not valid TOML")


# A remote that asks


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return make_site()


@pytest.fixture
def door(site: SampleSite) -> Iterator[tuple[str, list[str]]]:
    """A remote that wants a password; the site pulls from it."""
    exec_path = run([git_executable(), "--exec-path"], cwd=site.outer, env=site.env).stdout.strip()
    require((site.outer / exec_path / "git-remote-http").exists(), "git must be able to speak HTTP")
    with locked_remote() as (url, requests):
        site.git("remote", "set-url", "origin", url)
        yield url, requests


def test_a_password_in_the_url_is_never_shown(site: SampleSite, door: tuple[str, list[str]]) -> None:
    site.git("remote", "set-url", "origin", door[0].replace("://", "://deploy:hunter2secret@"))
    refusal = refused(site, timeout=60)
    refusal.says_only("origin", "password", "127.0.0.1", "credential helper")
    assert door[1], "nobody asked the server"
    shown = refusal.finished.stdout + refusal.finished.stderr
    logs = [path.read_text(encoding="utf-8") for path in (site.state_dir / "logs").iterdir()]
    mails = [str(mail) for mail in site.outbox_mails()]
    assert logs
    assert mails
    assert not [text for text in [shown, *logs, *mails] if "hunter2secret" in text]


ASKING_SSH = """\
if (: < /dev/tty) 2> /dev/null; then
    echo "Are you sure you want to continue connecting?" > /dev/tty
    read answer < /dev/tty
fi
echo "Host key verification failed." >&2
exit 255
"""


@pytest.mark.parametrize("is_ssh", [False, True])
def test_nobody_is_asked_on_a_terminal(site: SampleSite, door: tuple[str, list[str]], is_ssh: bool) -> None:
    if is_ssh:
        site.git("config", "core.sshCommand", script(site.outer / "ssh", ASKING_SSH))
        site.git("remote", "set-url", "origin", "ssh://nowhere.invalid/site.git")
    before = everything(site)
    finished = on_controlling_terminal(site, "update")
    assert finished.returncode == 3, str(finished)
    shown = " ".join(strip_control(finished.stdout).split())
    assert "asks for a password, a key or a trusted host key" in shown
    assert not [text for text in ("Username for", "Password for", "Are you sure") if text in shown]
    assert everything(site) == before


def test_a_program_that_asks_is_not_started(site: SampleSite, door: tuple[str, list[str]]) -> None:
    asked = site.outer / "asked"
    asker = script(site.outer / "ask", f"touch '{asked}'\necho secret")
    site.git("config", "core.askPass", str(asker))
    env = {"GIT_ASKPASS": str(asker), "SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    unfit(site, env=env).says_only("origin", "password")
    assert not asked.exists()
