"""Checkouts and remotes from which nothing may be built: the wrong commit, unfinished work, nobody to pull from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.e2e.refusals import everything, locked_remote, on_controlling_terminal, refused, script, seem_no_bug
from tests.support.commands import git_executable, run
from tests.support.guards import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sites import SampleSite, SiteFactory


@pytest.fixture
def site(make_site: SiteFactory) -> SampleSite:
    return make_site(venv=True)


@pytest.fixture
def door(site: SampleSite) -> Iterator[tuple[str, list[str]]]:
    """A remote that wants a password; the site pulls from it."""
    exec_path = run([git_executable(), "--exec-path"], cwd=site.outer, env=site.env).stdout.strip()
    require((site.outer / exec_path / "git-remote-http").exists(), "git must be able to speak HTTP")
    with locked_remote() as (url, requests):
        site.git("remote", "set-url", "origin", url)
        yield url, requests


@pytest.mark.parametrize("branch", ["work", "feature/main", "main2"])
@pytest.mark.story
@pytest.mark.story
def test_the_wrong_branch(site: SampleSite, branch: str) -> None:
    site.git("switch", "--quiet", "--create", branch)
    refused(site).says_only(site.path, f"branch {branch} ", "not main", "git switch main", "`branch`")


def test_the_wrong_branch_where_another_one_is_set(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"branch": "deploy"})
    refusal = refused(site)
    refusal.says("branch main ", "not deploy")
    refusal.says("origin", "no branch deploy")


def test_a_detached_head(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--detach", "main")
    refused(site).says_only(site.path, "HEAD is detached", "git switch main")


def test_no_commit_yet(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--orphan", "fresh")
    site.git("branch", "--quiet", "--delete", "--force", "main")
    site.git("symbolic-ref", "HEAD", "refs/heads/main")
    site.git("checkout", "--quiet", "origin/main", "--", ".")
    site.git("reset", "--quiet")
    finished = site.releaser("update", check=3)
    assert "there is no commit yet" in finished.stderr
    assert not site.link.is_symlink()
    seem_no_bug(finished)


def test_no_repository(site: SampleSite) -> None:
    (site.path / ".git").rename(site.outer / "git")
    finished = site.releaser("update", check=3)
    assert "not a git repository" in finished.stderr
    assert not site.link.is_symlink()
    seem_no_bug(finished)


def _modify(site: SampleSite) -> None:
    site.edit("site_settings.py", "# nothing\n")


def _stage(site: SampleSite) -> None:
    site.edit("site_settings.py", "# nothing\n")
    site.git("add", "site_settings.py")


def _stage_and_take_back(site: SampleSite) -> None:
    text = (site.path / "site_settings.py").read_text(encoding="utf-8")
    _stage(site)
    site.edit("site_settings.py", text)


def _delete(site: SampleSite) -> None:
    (site.path / "site_settings.py").unlink()


def _rename(site: SampleSite) -> None:
    site.git("mv", "site_settings.py", "site_settings.py.old")


def _change_mode(site: SampleSite) -> None:
    (site.path / "site_settings.py").chmod(0o755)


def _edit_the_lock(site: SampleSite) -> None:
    site.edit("uv.lock", site.lock_text() + "\n# site_settings.py\n")


DIRT = (_modify, _stage, _stage_and_take_back, _delete, _rename, _change_mode)


@pytest.mark.parametrize("dirty", DIRT, ids=lambda function: function.__name__)
def test_a_dirty_tree(site: SampleSite, dirty: object) -> None:
    assert callable(dirty)
    dirty(site)
    refused(site).says_only(site.path, "not clean", "site_settings.py", "Commit, ignore or remove")


def test_a_lock_that_was_changed_by_hand(site: SampleSite) -> None:
    _edit_the_lock(site)
    refused(site).says_only("not clean", "uv.lock")


@pytest.mark.parametrize("option", ["--skip-worktree", "--assume-unchanged"])
def test_an_edit_that_git_is_told_to_overlook(site: SampleSite, option: str) -> None:
    """The tests would run without it, and visitors would get it."""
    site.git("update-index", option, "site_settings.py")
    site.releaser("check", check=0)
    site.edit("site_settings.py", "# only here\n")
    refused(site).says_only("hides edits from `git status`: site_settings.py", "--no-skip-worktree")


def test_what_a_sparse_checkout_leaves_out_is_no_hidden_edit(site: SampleSite) -> None:
    site.commit("Add much", {"much/more.txt": "more"})
    site.push()
    site.git("sparse-checkout", "set", "--no-cone", "/*", "!/much/")
    assert not (site.path / "much").exists()
    site.releaser("check", check=0)


@pytest.mark.parametrize("name", ["notes.txt", "a b ü.txt", "deep/er/file"])
@pytest.mark.story
@pytest.mark.story
def test_an_untracked_file(site: SampleSite, name: str) -> None:
    site.git("config", "status.showUntrackedFiles", "no")
    site.edit(name, "mine\n")
    refused(site).says_only(site.path, "not clean", name)


def test_an_untracked_file_whose_name_could_write_on_the_terminal(site: SampleSite) -> None:
    site.edit("\x1b[2Jlive: changed\n", "mine\n")
    refusal = refused(site)
    refusal.says_only("not clean", "live: changed")
    assert "\x1b" not in refusal.finished.stderr
    assert "\nlive: changed" not in refusal.finished.stderr


def test_many_untracked_files_are_not_all_listed(site: SampleSite) -> None:
    for number in range(200):
        site.edit(f"file{number:03}", "mine\n")
    refusal = refused(site)
    refusal.says_only("file000", "195 more")
    assert "file100" not in refusal.finished.stderr


def _conflict(site: SampleSite, *words: str) -> None:
    """Stop in the middle of an operation that combines two changes of one line."""
    site.git("switch", "--quiet", "--create", "theirs")
    site.commit("Theirs", {"site_settings.py": "# theirs\n"})
    site.git("switch", "--quiet", "main")
    site.commit("Ours", {"site_settings.py": "# ours\n"})
    stopped = run([git_executable(), *words], cwd=site.path, env=site.env)
    assert stopped.returncode != 0, str(stopped)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("rebase", "theirs"), "a rebase"),
        (("rebase", "--apply", "theirs"), "a rebase"),
        (("merge", "theirs"), "a merge"),
        (("cherry-pick", "theirs"), "a cherry-pick"),
    ],
)
def test_an_operation_in_progress(site: SampleSite, words: tuple[str, ...], name: str) -> None:
    _conflict(site, *words)
    refusal = refused(site)
    refusal.says(site.path, f"{name} is in progress", "abort")
    refusal.says("not clean", "site_settings.py")


def test_a_merge_that_only_waits_for_its_commit(site: SampleSite) -> None:
    site.git("switch", "--quiet", "--create", "theirs")
    site.git("commit", "--quiet", "--allow-empty", "--message", "Theirs")
    site.git("switch", "--quiet", "main")
    site.git("merge", "--quiet", "--no-ff", "--no-commit", "theirs")
    refused(site).says_only(site.path, "a merge is in progress")


def test_a_bisection_at_the_commit_of_main(site: SampleSite) -> None:
    site.git("bisect", "start")
    refused(site).says_only(site.path, "a bisection is in progress")


def test_no_remote(site: SampleSite) -> None:
    site.git("remote", "remove", "origin")
    refused(site).says_only(site.path, "no remote", "git remote add origin", "git_pull")


def test_no_remote_is_fine_where_nothing_is_pulled_or_pushed(make_site: SiteFactory) -> None:
    site = make_site(venv=True, settings={"git_pull": False, "git_push": False})
    site.git("remote", "remove", "origin")
    site.releaser("check", check=0)


def test_a_remote_without_the_branch(site: SampleSite) -> None:
    run([git_executable(), "branch", "--move", "main", "trunk"], cwd=site.remote, env=site.env, check=0)
    refusal = refused(site)
    refusal.says_only("origin", "no branch main", "git push origin main")
    assert refused(site, command="check").problems == refusal.problems


def _diverge(site: SampleSite) -> None:
    site.push_from_elsewhere({"theirs.txt": "theirs\n"})
    site.commit("Ours", {"ours.txt": "ours\n"})


@pytest.mark.parametrize("adopted", [False, True])
def test_a_diverged_remote(site: SampleSite, adopted: bool) -> None:
    if adopted:
        site.releaser("init", check=0)
    _diverge(site)
    refused(site).says_only("main", "origin", "diverged", "git pull --rebase origin main")


UNFIT_COMMITS = {
    "broken TOML": ({"pyproject.toml": "[project\n"}, ("pyproject.toml", "not valid TOML")),
    "a broken lock": ({"uv.lock": "garbage\n"}, ("uv.lock", "not a lock")),
    "an unknown setting": ({"pyproject.toml": "[project]\n[tool.releaser]\nkep = 3\n"}, ("kep", "Did you mean keep?")),
}


@pytest.mark.parametrize("kind", UNFIT_COMMITS)
def test_a_pulled_commit_that_makes_the_project_unfit_is_taken_back(site: SampleSite, kind: str) -> None:
    site.releaser("init", check=0)
    files, words = UNFIT_COMMITS[kind]
    site.push_from_elsewhere(files)
    for _ in range(2):
        refused(site).says(*words)


def test_a_diverged_remote_is_found_by_a_check_once_it_was_fetched(site: SampleSite) -> None:
    _diverge(site)
    site.git("fetch", "--quiet")
    refused(site, command="check").says_only("diverged")


@pytest.mark.parametrize("command", ["update", "check"])
def test_a_remote_that_asks_for_a_password(site: SampleSite, door: tuple[str, list[str]], command: str) -> None:
    begun = time.monotonic()
    refusal = refused(site, command=command)
    assert time.monotonic() - begun < 15
    refusal.says_only("origin", "password", "127.0.0.1", "credential helper")
    assert door[1], "nobody asked the server"


def test_a_password_in_the_url_is_never_shown(site: SampleSite, door: tuple[str, list[str]]) -> None:
    site.git("remote", "set-url", "origin", door[0].replace("://", "://deploy:hunter2secret@"))
    refusal = refused(site)
    refusal.says_only("origin", "password")
    shown = refusal.finished.stdout + refusal.finished.stderr
    logs = [path.read_text(encoding="utf-8") for path in (site.state_dir / "logs").iterdir()]
    mails = [str(mail) for mail in site.outbox_mails()]
    assert logs
    assert mails
    assert not [text for text in [shown, *logs, *mails] if "hunter2secret" in text]


@pytest.mark.parametrize("command", ["update", "check"])
def test_nobody_is_asked_for_a_password_on_a_terminal(
    site: SampleSite, door: tuple[str, list[str]], command: str
) -> None:
    before = everything(site)
    shown = on_controlling_terminal(site, command)
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
    refused(site, env=env).says_only("origin", "password")
    assert not asked.exists()


@pytest.mark.parametrize("adopted", [False, True])
def test_a_remote_that_is_gone(site: SampleSite, adopted: bool) -> None:
    if adopted:
        site.releaser("init", check=0)
    site.remote.rename(site.outer / "moved.git")
    refused(site, code=4).says_only("origin", "does not appear to be a git repository", "URL", "next run")
    refused(site, command="check").says_only("origin", "does not appear to be a git repository")


def test_a_remote_on_a_host_that_does_not_answer(site: SampleSite, dead_port: int) -> None:
    site.git("remote", "set-url", "origin", f"http://127.0.0.1:{dead_port}/site.git")
    refused(site, code=4).says_only("origin", str(dead_port), "network")
