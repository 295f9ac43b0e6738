"""Checkouts and remotes from which nothing may be built: the wrong commit, unfinished work, nobody to pull from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import everything, fit, locked_remote, on_controlling_terminal, refused, script, unfit
from tests.support.commands import git_executable, run
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.sites import SampleSite, SiteFactory


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


@pytest.mark.story
def test_the_wrong_branch_is_refused(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.git("switch", "--quiet", "--create", "feature/main")
    refused(site).says_only(site.path, "branch feature/main ", "not main", "git switch main", "`branch`")


def test_the_wrong_branch_where_another_one_is_set(make_site: SiteFactory) -> None:
    found = unfit(make_site(settings={"branch": "deploy"}))
    found.says("branch main ", "not deploy")
    found.says("origin", "no branch deploy")


def _detach(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--detach", "main")


def _begin_afresh(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--orphan", "fresh")
    site.git("branch", "--quiet", "--delete", "--force", "main")
    site.git("symbolic-ref", "HEAD", "refs/heads/main")
    site.git("checkout", "--quiet", "origin/main", "--", ".")
    site.git("reset", "--quiet")


def _lose_the_repository(site: SampleSite) -> None:
    (site.path / ".git").rename(site.outer / "git")


def _merge_without_commit(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--create", "theirs")
    site.git("commit", "--quiet", "--allow-empty", "--message", "Theirs")
    site.git("switch", "--quiet", "main")
    site.git("merge", "--quiet", "--no-ff", "--no-commit", "theirs")


def _bisect(site: SampleSite) -> None:
    site.git("bisect", "start")


def _lose_the_remote(site: SampleSite) -> None:
    site.git("remote", "remove", "origin")


def _rename_the_remote_branch(site: SampleSite) -> None:
    run([git_executable(), "branch", "--move", "main", "trunk"], cwd=site.remote, env=site.env, check=0)


STATES: dict[str, tuple[Callable[[SampleSite], None], tuple[str, ...]]] = {
    "detached": (_detach, ("HEAD is detached", "git switch main")),
    "no commit": (_begin_afresh, ("there is no commit yet",)),
    "no repository": (_lose_the_repository, ("not a git repository",)),
    "merge": (_merge_without_commit, ("a merge is in progress",)),
    "bisection": (_bisect, ("a bisection is in progress",)),
    "no remote": (_lose_the_remote, ("no remote", "git remote add origin", "git_pull")),
    "no branch there": (_rename_the_remote_branch, ("origin", "no branch main", "git push origin main")),
}


@pytest.mark.parametrize("kind", STATES)
def test_a_checkout_in_the_wrong_state(site: SampleSite, kind: str) -> None:
    make, words = STATES[kind]
    make(site)
    unfit(site).says(*words)


def _modify(site: SampleSite) -> None:
    site.edit("site_settings.py", "# nothing\n")


def _stage_and_take_back(site: SampleSite) -> None:
    text = (site.path / "site_settings.py").read_text(encoding="utf-8")
    _modify(site)
    site.git("add", "site_settings.py")
    site.edit("site_settings.py", text)


def _delete(site: SampleSite) -> None:
    (site.path / "site_settings.py").unlink()


def _rename(site: SampleSite) -> None:
    site.git("mv", "site_settings.py", "site_settings.py.old")


def _change_mode(site: SampleSite) -> None:
    (site.path / "site_settings.py").chmod(0o755)


@pytest.mark.parametrize("make_dirty", [_modify, _stage_and_take_back, _delete, _rename, _change_mode])
def test_a_dirty_tree(site: SampleSite, make_dirty: Callable[[SampleSite], None]) -> None:
    make_dirty(site)
    unfit(site).says_only(site.path, "not clean", "site_settings.py", "Commit, ignore or remove")


def test_a_lock_that_was_changed_by_hand(site: SampleSite) -> None:
    site.edit("uv.lock", site.lock_text() + "\n# mine\n")
    unfit(site).says_only("not clean", "uv.lock")


@pytest.mark.parametrize("option", ["--skip-worktree", "--assume-unchanged"])
def test_an_edit_that_git_is_told_to_overlook(site: SampleSite, option: str) -> None:
    """The tests would run without it, and visitors would get it."""
    site.git("update-index", option, "site_settings.py")
    fit(site)
    site.edit("site_settings.py", "# only here\n")
    unfit(site).says_only("hides edits from `git status`: site_settings.py", "--no-skip-worktree")


def test_what_a_sparse_checkout_leaves_out_is_no_hidden_edit(site: SampleSite) -> None:
    site.commit("Add much", {"much/more.txt": "more"})
    site.push()
    site.git("sparse-checkout", "set", "--no-cone", "/*", "!/much/")
    assert not (site.path / "much").exists()
    fit(site)


@pytest.mark.parametrize("name", ["notes.txt", "a b ü.txt", "deep/er/file"])
def test_an_untracked_file(site: SampleSite, name: str) -> None:
    site.git("config", "status.showUntrackedFiles", "no")
    site.edit(name, "mine\n")
    unfit(site).says_only(site.path, "not clean", name)


def test_untracked_files_are_shown_safely_and_not_all(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    site.edit("\x1b[2Jlive: changed\n", "mine\n")
    for number in range(200):
        site.edit(f"file{number:03}", "mine\n")
    refusal = refused(site)
    refusal.says_only("not clean", "live: changed", "file000", "196 more")
    assert "\x1b" not in refusal.finished.stderr
    assert "\nlive: changed" not in refusal.finished.stderr
    assert "file100" not in refusal.finished.stderr


@pytest.mark.parametrize("words", ["rebase", "rebase --apply", "merge", "cherry-pick"])
def test_an_operation_in_progress(site: SampleSite, words: str) -> None:
    """It stops in the middle of combining two changes of one line."""
    site.git("switch", "--quiet", "--create", "theirs")
    site.commit("Theirs", {"site_settings.py": "# theirs\n"})
    site.git("switch", "--quiet", "main")
    site.commit("Ours", {"site_settings.py": "# ours\n"})
    stopped = run([git_executable(), *words.split(), "theirs"], cwd=site.path, env=site.env)
    assert stopped.returncode != 0, str(stopped)
    found = unfit(site)
    found.says(site.path, f"a {words.partition(' ')[0]} is in progress", "abort")
    found.says("not clean", "site_settings.py")


def test_no_remote_is_fine_where_nothing_is_pulled_or_pushed(make_site: SiteFactory) -> None:
    site = make_site(settings={"git_pull": False, "git_push": False})
    site.git("remote", "remove", "origin")
    fit(site)


def _diverge(site: SampleSite) -> None:
    site.push_from_elsewhere({"theirs.txt": "theirs\n"})
    site.commit("Ours", {"ours.txt": "ours\n"})


def test_a_diverged_remote(make_site: SiteFactory) -> None:
    site = make_site(venv=True)
    _diverge(site)
    refused(site).says_only("main", "origin", "diverged", "git pull --rebase origin main")


UNFIT_COMMITS = {
    "broken TOML": ({"pyproject.toml": "[project\n"}, ("pyproject.toml", "not valid TOML")),
    "a broken lock": ({"uv.lock": "garbage\n"}, ("uv.lock", "not a lock")),
    "an unknown setting": ({"pyproject.toml": "[project]\n[tool.releaser]\nkep = 3\n"}, ("kep", "Did you mean keep?")),
}


@pytest.mark.parametrize("kind", UNFIT_COMMITS)
def test_a_pulled_commit_that_makes_the_project_unfit_is_taken_back(make_site: SiteFactory, kind: str) -> None:
    site = make_site.adopted()
    files, words = UNFIT_COMMITS[kind]
    site.push_from_elsewhere(files)
    refused(site).says(*words)


def test_a_diverged_remote_is_found_by_a_check_once_it_was_fetched(site: SampleSite) -> None:
    _diverge(site)
    site.git("fetch", "--quiet")
    unfit(site).says_only("diverged")


def test_a_password_in_the_url_is_never_shown(site: SampleSite, door: tuple[str, list[str]]) -> None:
    site.git("remote", "set-url", "origin", door[0].replace("://", "://deploy:hunter2secret@"))
    begun = time.monotonic()
    refusal = refused(site)
    assert time.monotonic() - begun < 15
    refusal.says_only("origin", "password", "127.0.0.1", "credential helper")
    assert door[1], "nobody asked the server"
    shown = refusal.finished.stdout + refusal.finished.stderr
    logs = [path.read_text(encoding="utf-8") for path in (site.state_dir / "logs").iterdir()]
    mails = [str(mail) for mail in site.outbox_mails()]
    assert logs
    assert mails
    assert not [text for text in [shown, *logs, *mails] if "hunter2secret" in text]


def test_nobody_is_asked_for_a_password_on_a_terminal(site: SampleSite, door: tuple[str, list[str]]) -> None:
    before = everything(site)
    shown = on_controlling_terminal(site, "update")
    assert shown.returncode == 3, str(shown)
    assert "asks for a password" in shown.stdout
    assert "Username for" not in shown.stdout
    assert "Password for" not in shown.stdout
    assert everything(site) == before


ASKING_SSH = """\
if (: < /dev/tty) 2> /dev/null; then
    echo "Are you sure you want to continue connecting?" > /dev/tty
    read answer < /dev/tty
fi
echo "Host key verification failed." >&2
exit 255
"""


def test_ssh_finds_no_terminal_on_which_it_could_ask(site: SampleSite) -> None:
    site.git("config", "core.sshCommand", str(script(site.outer / "ssh", ASKING_SSH)))
    site.git("remote", "set-url", "origin", "ssh://nowhere.invalid/site.git")
    before = everything(site)
    shown = on_controlling_terminal(site, "update")
    assert shown.returncode == 3, str(shown)
    assert "a trusted host key" in shown.stdout
    assert "Are you sure" not in shown.stdout
    assert everything(site) == before


def test_a_program_that_asks_is_not_started(site: SampleSite, door: tuple[str, list[str]]) -> None:
    asked = site.outer / "asked"
    asker = script(site.outer / "ask", f"touch '{asked}'\necho secret")
    site.git("config", "core.askPass", str(asker))
    env = {"GIT_ASKPASS": str(asker), "SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    unfit(site, env=env).says_only("origin", "password")
    assert not asked.exists()


def test_a_remote_that_is_gone_or_does_not_answer(make_site: SiteFactory, dead_port: int) -> None:
    site = make_site(venv=True)
    site.remote.rename(site.outer / "moved.git")
    refused(site, code=4).says_only("origin", "does not appear to be a git repository", "URL", "next run")
    unfit(site).says_only("origin", "does not appear to be a git repository")
    site.git("remote", "set-url", "origin", f"http://127.0.0.1:{dead_port}/site.git")
    refused(site, code=4).says_only("origin", str(dead_port), "network")
